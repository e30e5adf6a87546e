"""The published face encoders on an IR-SE trunk: pSp, e4e, ReStyle and their W form.

Richardson et al., "Encoding in Style" (pSp, arXiv 2008.00951), Tov et al., "Designing an Encoder for StyleGAN Image
Manipulation" (e4e, arXiv 2102.02766), Alaluf et al., "ReStyle" (arXiv 2104.02699). They differ in which map each code
is read from, in whether codes are absolute or differences from the first, and in how many pictures go in. Modules have
the names of the published files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .irse import STAGES, Trunk, TrunkConfig, trunk_config
from .ops import at_least_float32

SIDE = 256
"""Height and width of the pictures they take."""
LEAKY_SLOPE = 0.01
"""Of the style heads: PyTorch's default and not StyleGAN2's 0.2."""
RESTYLE_STEPS = 5
"""How often ReStyle's authors let it look."""
COARSEST_CONVOLUTIONS = 4
"""Convolutions of a head on the last map; each finer map needs one more."""
MEANS = ("file", "generator", "none")


@dataclass(frozen=True)
class PspConfig:
    """Architecture of an encoder."""

    num_ws: int
    """Codes in W+: 14 for generators of 256 px, 16 for 512, 18 for 1024."""
    w_dim: int = 512
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    levels: tuple[int, ...] = ()
    """Per code, how much finer than the last map the one it is read from is: 0, 1 or 2 doublings. Empty: one W code for
    all layers, from the mean of the last map."""
    deltas: bool = False
    """Whether codes after the first are differences from it (e4e)."""
    mean: str = "file"
    """What is added to the codes: "file" the `mean_latent` it was saved with, "generator" the generator's own (the file
    says that a mean is added and holds none), "none" nothing."""
    resolution: int = SIDE
    """Height and width of the pictures it takes."""
    architecture: str = "psp"
    """Tells this configuration from our own encoder's in a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(int(level) for level in self.levels))
        if isinstance(self.trunk, dict):
            object.__setattr__(self, "trunk", TrunkConfig(**self.trunk))
        if self.levels and len(self.levels) != self.num_ws:
            raise ValueError(f"An encoder of {self.num_ws} codes has {len(self.levels)} style heads.")
        if self.levels and (self.levels[0] != 0 or not set(self.levels) <= {0, 1, 2}):
            raise ValueError(f"Style heads read the last three maps, the first head the last; not {self.levels}.")
        if self.mean not in MEANS:
            raise ValueError(f"Unknown mean {self.mean!r}; choose one of {', '.join(MEANS)}.")

    @property
    def iterative(self) -> bool:
        """Whether it compares two pictures (ReStyle): the face and what the generator made of it last."""
        return self.trunk.in_channels == 6


class EqualLinear(nn.Module):
    """A linear layer whose weight is scaled by 1 / sqrt(inputs) when it is used."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (1 / math.sqrt(self.weight.shape[1])), self.bias)


class StyleHead(nn.Module):
    """One code `[N, w_dim]` from a map `[N, width, H, W]`, halved by convolutions to a single cell."""

    def __init__(self, width: int, w_dim: int, convolutions: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers.append(nn.Conv2d(width if index == 0 else w_dim, w_dim, 3, stride=2, padding=1))
            layers.append(nn.LeakyReLU(LEAKY_SLOPE))
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1))


class PspEncoder(Trunk):
    """`image [N, 3, 256, 256]` in -1..1 `-> w_plus [N, num_ws, w_dim]` float32, the mean latent added.

    `mean_latent [num_ws, w_dim]` is zero where the configuration says that none is added, or the generator's.
    """

    mean_latent: Tensor

    def __init__(self, config: PspConfig) -> None:
        super().__init__(config.trunk)
        self.config = config
        width, finer = config.trunk.widths[-1], max(config.levels, default=0)
        if config.levels:
            self.styles = nn.ModuleList(
                StyleHead(width, config.w_dim, COARSEST_CONVOLUTIONS + level) for level in config.levels
            )
        else:
            self.linear = EqualLinear(width, config.w_dim)
        if finer >= 1:
            self.latlayer1 = nn.Conv2d(config.trunk.widths[-2], width, 1)
        if finer >= 2:
            self.latlayer2 = nn.Conv2d(config.trunk.widths[-3], width, 1)
        self.register_buffer("mean_latent", torch.zeros(config.num_ws, config.w_dim))

    def forward(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """The codes of faces.

        Args:
            image: `[N, 3, 256, 256]`, -1..1; for ReStyle also both pictures as `[N, 6, 256, 256]`.
            previous: `[N, 3, 256, 256]`, for ReStyle alone: the generator's picture of the mean latent, of which this
                gives the first correction. `refine` goes on from there.
        """
        if previous is not None:
            image = torch.cat([image, previous.to(image)], dim=1)
        return self.mean_latent + self.delta(image)

    def delta(self, pictures: Tensor) -> Tensor:
        """What the network itself says about `pictures [N, 3 or 6, 256, 256]`: `[N, num_ws, w_dim]` float32."""
        channels, side = self.config.trunk.in_channels, self.config.resolution
        if pictures.ndim == 4 and self.config.iterative and pictures.shape[1] == 3:
            raise ValueError(
                "This is a ReStyle encoder: it compares a face with what the generator made of it, so that it needs a "
                "generator. Invert with both."
            )
        if pictures.ndim != 4 or tuple(pictures.shape[1:]) != (channels, side, side):
            raise ValueError(
                f"This encoder takes pictures of shape [N, {channels}, {side}, {side}], not {list(pictures.shape)}."
            )
        maps = self.maps(pictures)
        if not self.config.levels:
            code = at_least_float32(self.linear(maps[-1].mean(dim=(2, 3))))
            return code[:, None].expand(-1, self.config.num_ws, -1)
        heads = zip(self.styles, self._per_head(maps), strict=True)
        codes = at_least_float32(torch.stack([head(x) for head, x in heads], dim=1))
        if not self.config.deltas:
            return codes
        return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1)

    def _per_head(self, maps: list[Tensor]) -> list[Tensor]:
        """The map that each head reads: a feature pyramid of the last three."""
        pyramid = [maps[-1]]
        for level in range(1, max(self.config.levels) + 1):
            side = (self.latlayer1, self.latlayer2)[level - 1](maps[STAGES - 1 - level])
            up = F.interpolate(pyramid[-1], size=side.shape[2:], mode="bilinear", align_corners=True)
            pyramid.append(up + side)
        return [pyramid[level] for level in self.config.levels]


def psp_config(state: dict[str, Tensor], num_ws: int, deltas: bool, mean: str) -> PspConfig:
    """The architecture of an encoder, from the shapes in its state dict.

    Args:
        state: tensors by the names of `PspEncoder`.
        num_ws: codes in W+, used where there is one W code for all layers; style heads are counted.
        deltas: pSp and e4e have the same shapes, so this has to be known.
        mean: see `PspConfig.mean`.

    Raises:
        LookupError, ValueError: it is no such encoder.
    """
    trunk = trunk_config(state)
    if "styles.0.linear.weight" not in state:
        return PspConfig(num_ws, state["linear.weight"].shape[0], trunk, (), False, mean)
    heads = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("styles."))
    convolutions = [sum(1 for name in state if _is_convolution_of(name, head)) for head in range(heads)]
    levels = tuple(count - COARSEST_CONVOLUTIONS for count in convolutions)
    return PspConfig(heads, state["styles.0.linear.weight"].shape[0], trunk, levels, deltas, mean)


def _is_convolution_of(name: str, head: int) -> bool:
    return name.startswith(f"styles.{head}.convs.") and name.endswith(".weight")

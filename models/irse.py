"""IR-SE trunks and the ArcFace embedding: the residual network that face encoders and identity measures are built on.

Deng et al., "ArcFace" (arXiv 1801.07698), with the squeeze-and-excitation of Hu et al. (arXiv 1709.01507), in the
arrangement whose weights pSp, e4e and ReStyle publish. Modules have the names of those files, so that a state dict is
read and written as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ops import at_least_float32

STAGES = 4
"""Stages of a trunk; each halves the picture."""
ARCFACE_SIDE = 112
"""Height and width of the picture that the embedding network takes."""
ALIGNED_SIDE = 256
"""Height and width at which the face is cut out of an FFHQ-aligned picture for the embedding."""
FACE_ROWS, FACE_COLUMNS = slice(35, 223), slice(32, 220)
"""The face in an FFHQ-aligned picture of 256 px, as pSp's identity loss cuts it."""


@dataclass(frozen=True)
class TrunkConfig:
    """Architecture of an IR or IR-SE trunk; the defaults are IR-SE50."""

    in_channels: int = 3
    """3, or 6 where two pictures are compared (ReStyle)."""
    stem: int = 64
    """Width of the input layer."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Width of each stage."""
    units: tuple[int, ...] = (3, 4, 14, 3)
    """Residual units of each stage."""
    squeeze: tuple[int, ...] = (4, 8, 16, 32)
    """Width of each stage's squeeze-and-excitation bottleneck, 0 for none."""

    def __post_init__(self) -> None:
        for name in ("widths", "units", "squeeze"):
            value = tuple(int(number) for number in getattr(self, name))
            object.__setattr__(self, name, value)
            if len(value) != STAGES:
                raise ValueError(f"A trunk has {STAGES} stages; `{name}` has {len(value)} numbers.")


class SqueezeExcitation(nn.Module):
    """`x [N, C, H, W]`, each channel scaled by a number in 0..1 that all of them decide."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * torch.sigmoid(scale)


class ResidualUnit(nn.Module):
    """`x [N, I, H, W] -> [N, O, H / stride, W / stride]`."""

    def __init__(self, before: int, after: int, stride: int, squeeze: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
        ]
        if squeeze:
            layers.append(SqueezeExcitation(after, squeeze))
        self.res_layer = nn.Sequential(*layers)
        self.stride = stride
        self.shortcut_layer: nn.Sequential | None = None
        if before != after:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(before, after, 1, stride=stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        # Where the width stays, the shortcut takes every second pixel: a max pooling of one pixel in the original.
        short = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        return self.res_layer(x) + short


class Trunk(nn.Module):
    """`pictures [N, in_channels, H, W]` in -1..1 -> the maps after each stage, at 1/2, 1/4, 1/8, 1/16 of the size."""

    def __init__(self, config: TrunkConfig) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(config.in_channels, config.stem, 3, padding=1, bias=False),
            nn.BatchNorm2d(config.stem),
            nn.PReLU(config.stem),
        )
        units: list[ResidualUnit] = []
        before = config.stem
        for width, count, squeeze in zip(config.widths, config.units, config.squeeze, strict=True):
            for index in range(count):
                units.append(ResidualUnit(before, width, 2 if index == 0 else 1, squeeze))
                before = width
        self.body = nn.Sequential(*units)
        self._last = [sum(config.units[: stage + 1]) - 1 for stage in range(STAGES)]

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The maps after each stage."""
        x = self.input_layer(pictures.to(next(self.parameters()).dtype))
        maps = []
        for index, unit in enumerate(self.body):
            x = unit(x)
            if index in self._last:
                maps.append(x)
        return maps


@dataclass(frozen=True)
class ArcFaceConfig:
    """Architecture of an embedding network."""

    trunk: TrunkConfig = TrunkConfig()
    side: int = ARCFACE_SIDE
    """Height and width of the picture it takes, a multiple of 16."""
    embedding: int = 512
    """Length of the result."""

    def __post_init__(self) -> None:
        if isinstance(self.trunk, dict):
            object.__setattr__(self, "trunk", TrunkConfig(**self.trunk))

    @property
    def num_ws(self) -> None:
        """No codes of a generator."""
        return None

    @property
    def w_dim(self) -> None:
        """No codes of a generator."""
        return None

    @property
    def resolution(self) -> int:
        """Height and width of the picture it takes."""
        return self.side


class ArcFace(Trunk):
    """`face [N, 3, 112, 112]` in -1..1 -> `[N, 512]` of unit length; the closer two are, the more alike the people."""

    def __init__(self, config: ArcFaceConfig) -> None:
        super().__init__(config.trunk)
        self.config = config
        width, cells = config.trunk.widths[-1], config.side // 16
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(width * cells * cells, config.embedding),
            nn.BatchNorm1d(config.embedding),
        )

    def forward(self, face: Tensor) -> Tensor:
        side = self.config.side
        if face.ndim != 4 or tuple(face.shape[1:]) != (3, side, side):
            raise ValueError(
                f"The embedding network takes faces of shape [N, 3, {side}, {side}], not {list(face.shape)}. "
                "`crop_for_arcface` cuts them out of aligned pictures."
            )
        return F.normalize(at_least_float32(self.output_layer(self.maps(face)[-1])), dim=1)

    def describe(self, pictures: Tensor) -> Tensor:
        """The embeddings `[N, 512]` of FFHQ-aligned pictures `[N, 3, S, S]`."""
        return self(crop_for_arcface(pictures, self.config.side))

    @staticmethod
    def similarity(embeddings: Tensor, others: Tensor) -> Tensor:
        """Their cosine. `[..., D] -> [...]`."""
        return (embeddings * others).sum(dim=-1)


def crop_for_arcface(pictures: Tensor, side: int = ARCFACE_SIDE) -> Tensor:
    """The face in FFHQ-aligned `pictures [N, 3, S, S]`, as `[N, 3, side, side]`; differentiable.

    The cut and the pooling are those of pSp's identity loss (arXiv 2008.00951), which the published numbers use.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"Pictures have shape {list(pictures.shape)}; give aligned square faces [N, 3, S, S].")
    if pictures.shape[2] != ALIGNED_SIDE:
        pictures = F.adaptive_avg_pool2d(pictures, (ALIGNED_SIDE, ALIGNED_SIDE))
    return F.adaptive_avg_pool2d(pictures[:, :, FACE_ROWS, FACE_COLUMNS], (side, side))


def trunk_config(state: dict[str, Tensor]) -> TrunkConfig:
    """The architecture of a trunk, from the shapes in its state dict.

    A stage begins where a shortcut changes the width, which it does in every published trunk but at the first unit.

    Raises:
        LookupError, ValueError: it is no IR or IR-SE trunk of four stages.
    """
    stem = state["input_layer.0.weight"]
    count = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("body."))
    starts = sorted({0} | {i for i in range(count) if f"body.{i}.shortcut_layer.0.weight" in state})
    if len(starts) != STAGES:
        raise ValueError(f"its trunk has {len(starts)} stages and not {STAGES}")
    ends = [*starts[1:], count]
    squeezed = [state.get(f"body.{i}.res_layer.5.fc1.weight") for i in starts]
    return TrunkConfig(
        in_channels=stem.shape[1],
        stem=stem.shape[0],
        widths=tuple(state[f"body.{i}.res_layer.1.weight"].shape[0] for i in starts),
        units=tuple(end - start for start, end in zip(starts, ends, strict=True)),
        squeeze=tuple(0 if weight is None else weight.shape[0] for weight in squeezed),
    )


def arcface_config(state: dict[str, Tensor]) -> ArcFaceConfig:
    """The architecture of an embedding network, from the shapes in its state dict."""
    trunk = trunk_config(state)
    embedding, features = state["output_layer.3.weight"].shape
    return ArcFaceConfig(trunk, 16 * math.isqrt(features // trunk.widths[-1]), embedding)

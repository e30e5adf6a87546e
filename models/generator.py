"""StyleGAN2 generator: mapping network, and a synthesis network with skip connections to RGB.

Shapes: `z [N, z_dim] -> w [N, w_dim] -> w_plus [N, num_ws, w_dim] -> image [N, 3, R, R]` (about -1..1, unclamped),
with `num_ws = 2 * log2(R) - 2`. Index of a layer's code in `w_plus`: conv1 at 4x4 is 0 and its to_rgb 1; block k >= 1
has conv0 = 2k - 1, conv1 = 2k, to_rgb = 2k + 1 (to_rgb shares its code with the next block's conv0).

Parameters are stored in float32 with the values that public checkpoints store; run it under `torch.autocast` for
bfloat16 or float16. The style, demodulation and RGB sums stay in float32.

Source: Karras et al., CVPR 2020 and *Training Generative Adversarial Networks with Limited Data*, NeurIPS 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .ops import (
    EqualConv2d,
    EqualLinear,
    StyledConv,
    ToRGB,
    at_least_float32,
    compute_dtype,
    normalise_second_moment,
    upsample,
)

Noise = Literal["const", "random", "none"] | Sequence[Tensor]
ARCHITECTURES = ("skip", "resnet", "orig")


def resolutions_up_to(resolution: int) -> tuple[int, ...]:
    """4, 8, ..., `resolution`. Raises ValueError unless it is a power of two of at least 4."""
    if resolution < 4 or resolution & (resolution - 1):
        raise ValueError(f"The resolution must be a power of two of at least 4, and is {resolution}.")
    return tuple(2**k for k in range(2, int(math.log2(resolution)) + 1))


def channel_widths(resolution: int, channel_base: int, channel_max: int, channel_min: int = 1) -> tuple[int, ...]:
    """Widths at 4, 8, ..., `resolution`: `channel_base // r` kept within `channel_min` and `channel_max`."""
    return tuple(max(channel_min, min(channel_base // r, channel_max)) for r in resolutions_up_to(resolution))


@dataclass(frozen=True)
class GeneratorConfig:
    """Architecture of a generator; everything needed to build one that fits a set of weights."""

    resolution: int
    """Height and width of the picture, a power of two."""
    channels: tuple[int, ...]
    """Width at 4, 8, ..., resolution."""
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    """Learning rate of the mapping network relative to the rest."""
    c_dim: int = 0
    """Length of the condition (class label); 0 where the generator is unconditional."""
    conv_clamp: float | None = None
    """Limit of the absolute output of each convolution; 256 in files trained in float16."""
    architecture: str = "skip"
    """"skip" adds up an RGB picture of each resolution, as all published face generators do; "resnet" adds each block's
    upsampled input to its output and draws RGB once, at the end; "orig" draws it once without that sum."""

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                f"A generator's architecture is one of {', '.join(ARCHITECTURES)}, and {self.architecture!r} was given."
            )
        count = len(resolutions_up_to(self.resolution))
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if len(self.channels) != count:
            raise ValueError(
                f"A generator at {self.resolution} px needs {count} channel widths (4 px to {self.resolution} px), "
                f"and {len(self.channels)} were given."
            )

    @classmethod
    def make(
        cls,
        resolution: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        channel_min: int = 1,
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mapping_lr_multiplier: float = 0.01,
        c_dim: int = 0,
        conv_clamp: float | None = None,
    ) -> GeneratorConfig:
        """A configuration from the usual width rule, `min(channel_base // r, channel_max)`."""
        return cls(
            resolution=resolution,
            channels=channel_widths(resolution, channel_base, channel_max, channel_min),
            z_dim=z_dim,
            w_dim=w_dim,
            mapping_layers=mapping_layers,
            mapping_lr_multiplier=mapping_lr_multiplier,
            c_dim=c_dim,
            conv_clamp=conv_clamp,
        )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., resolution."""
        return resolutions_up_to(self.resolution)

    @property
    def num_ws(self) -> int:
        """Number of codes in W+."""
        return 2 * len(self.channels)


class MappingNetwork(nn.Module):
    """`z [N, z_dim]`, and `c [N, c_dim]` where conditional, `-> w [N, w_dim]`; float32 throughout.

    A `z_dim` of 0 makes it a network of the condition alone, as conditional discriminators have.
    """

    def __init__(self, z_dim: int, w_dim: int, layers: int = 8, lr_multiplier: float = 0.01, c_dim: int = 0) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.embed = EqualLinear(c_dim, w_dim) if c_dim else None
        inputs = [z_dim + (w_dim if c_dim else 0)] + [w_dim] * (layers - 1)
        self.layers = nn.ModuleList(
            EqualLinear(size, w_dim, lr_multiplier=lr_multiplier, activate=True) for size in inputs[:layers]
        )

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        parts = []
        if self.z_dim:
            if z is None:
                raise ValueError("This network maps `z`, and none was given.")
            parts.append(normalise_second_moment(at_least_float32(z)))
        if self.embed is not None:
            if c is None:
                raise ValueError("This network is conditional: give the condition `c` too.")
            parts.append(normalise_second_moment(self.embed(c)))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x


class SynthesisBlock(nn.Module):
    """One resolution: an upsampling convolution (absent at 4x4, which starts from a learned constant), a convolution
    and, in the skip architecture and at the top, a projection to RGB."""

    conv0: StyledConv | None
    skip: EqualConv2d | None
    to_rgb: ToRGB
    """Only where `draws`."""

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        w_dim: int,
        resolution: int,
        conv_clamp: float | None,
        draws: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        if in_channels is None:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
            self.conv0 = None
        else:
            self.conv0 = StyledConv(in_channels, out_channels, w_dim, resolution, up=True, clamp=conv_clamp)
        self.conv1 = StyledConv(out_channels, out_channels, w_dim, resolution, clamp=conv_clamp)
        self.draws = draws
        if draws:
            self.to_rgb = ToRGB(out_channels, w_dim, clamp=conv_clamp)
        self.skip = None
        if residual and in_channels is not None:
            self.skip = EqualConv2d(in_channels, out_channels, 1, bias=False, activate=False)

    def forward(
        self, x: Tensor, image: Tensor, codes: Tensor, noises: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """Features `[N, C, r, r]` and the picture so far, empty before the first projection.

        `codes [N, 2 or 3, w_dim]`: one for each convolution and one for the projection, which the next block shares.
        """
        # A 1x1 convolution before the filter is the same as after it, at a quarter of the work.
        shortcut = None if self.skip is None else upsample(self.skip(x, gain=math.sqrt(0.5)))
        index = 0
        if self.conv0 is not None:
            x = self.conv0(x, codes[:, 0], noises[0])
            index = 1
        x = self.conv1(x, codes[:, index], noises[index])
        if shortcut is not None:
            x = shortcut + x * math.sqrt(0.5)
        if self.draws:
            rgb = self.to_rgb(x, codes[:, index + 1])
            image = upsample(image) + rgb if image.numel() else rgb
        return x, image


class SynthesisNetwork(nn.Module):
    """`w_plus [N, num_ws, w_dim] -> image [N, 3, R, R]` float32, unclamped."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        self.checkpointing = False
        """Whether training computes a block's activations again instead of keeping them."""
        widths: list[int | None] = [None, *config.channels[:-1]]
        self.blocks = nn.ModuleList(
            SynthesisBlock(
                before,
                width,
                config.w_dim,
                resolution,
                config.conv_clamp,
                draws=config.architecture == "skip" or resolution == config.resolution,
                residual=config.architecture == "resnet",
            )
            for before, width, resolution in zip(widths, config.channels, config.resolutions, strict=True)
        )

    @property
    def noise_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shape `[1, 1, r, r]` of the noise of each convolution, in order of use (one at 4x4, then two each)."""
        return tuple((1, 1, *conv.noise_const.shape) for conv in self.convolutions())

    def convolutions(self) -> list[StyledConv]:
        """The modulated convolutions that take noise, in order of use."""
        found = []
        for block in self.each_block():
            if block.conv0 is not None:
                found.append(block.conv0)
            found.append(block.conv1)
        return found

    def each_block(self) -> list[SynthesisBlock]:
        """The blocks, from 4x4 up."""
        return cast("list[SynthesisBlock]", list(self.blocks))

    def noise_const(self) -> tuple[Tensor, ...]:
        """Copies of the constant noise buffers, each `[1, 1, r, r]`."""
        return tuple(conv.noise_const[None, None].clone() for conv in self.convolutions())

    def _noise_inputs(
        self, noise: Noise, batch: int, generator: torch.Generator | None, like: Tensor
    ) -> list[Tensor | None]:
        convolutions = self.convolutions()
        if isinstance(noise, str):
            if noise == "none":
                return [None] * len(convolutions)
            if noise == "const":
                return [conv.noise_const for conv in convolutions]
            if noise != "random":
                raise ValueError(f"Noise must be const, random, none or a list of tensors, and is {noise!r}.")
            # Noise is drawn where its random generator lives, so that a seed means the same on every device.
            where = like.device if generator is None else generator.device
            return [
                torch.randn((batch, 1, *conv.noise_const.shape), generator=generator, device=where).to(like.device)
                for conv in convolutions
            ]
        if len(noise) != len(convolutions):
            raise ValueError(f"This generator takes {len(convolutions)} noise tensors, and {len(noise)} were given.")
        return [tensor.to(like.device) for tensor in noise]

    def forward(
        self,
        w_plus: Tensor,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
        return_features: bool = False,
    ) -> Tensor | tuple[Tensor, dict[int, Tensor]]:
        """Pictures of `w_plus`.

        Args:
            w_plus: `[N, num_ws, w_dim]`.
            noise: "const" uses the stored buffers; "random" draws fresh noise for each picture; "none" adds none; or
                one tensor per convolution that broadcasts to `[N, 1, r, r]` (see `noise_shapes`).
            generator: source of "random" noise; None means PyTorch's default.
            return_features: also return `{r: [N, C_r, r, r]}`, what each resolution's second convolution gave (in the
                autocast dtype; the tensors of the forward pass themselves, so they cost nothing).
        """
        if w_plus.ndim != 3 or w_plus.shape[1] != self.num_ws or w_plus.shape[2] != self.config.w_dim:
            raise ValueError(
                f"This generator takes W+ codes of shape [N, {self.num_ws}, {self.config.w_dim}], "
                f"and {list(w_plus.shape)} was given."
            )
        batch = w_plus.shape[0]
        noises = iter(self._noise_inputs(noise, batch, generator, w_plus))
        const = self.each_block()[0].const
        x = const.to(compute_dtype(const)).expand(batch, -1, -1, -1)
        if x.device.type == "cpu" or x.dtype != torch.float32:
            x = x.contiguous(memory_format=torch.channels_last)  # the layout these kernels are fast in

        image = x.new_empty(0)
        features: dict[int, Tensor] = {}
        index = 0
        for block in self.each_block():
            count = 1 if block.conv0 is None else 2
            codes = w_plus[:, index : index + count + 1]
            given = [next(noises) for _ in range(count)]
            if self.checkpointing and torch.is_grad_enabled():
                # No random state to restore: noise is drawn before the blocks.
                x, image = checkpoint(block, x, image, codes, given, use_reentrant=False, preserve_rng_state=False)
            else:
                x, image = block(x, image, codes, given)
            index += count
            if return_features:
                features[block.resolution] = x
        return (image, features) if return_features else image


class Generator(nn.Module):
    """Mapping network, synthesis network and the mean latent that truncation moves towards."""

    mean_latent: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(
            config.z_dim, config.w_dim, config.mapping_layers, config.mapping_lr_multiplier, config.c_dim
        )
        self.synthesis = SynthesisNetwork(config)
        self.register_buffer("mean_latent", torch.zeros(config.w_dim))

    @property
    def num_ws(self) -> int:
        """Number of codes in W+: `2 * log2(resolution) - 2`."""
        return self.config.num_ws

    @property
    def noise_shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """Shape of the noise tensor of each convolution, in order of use."""
        return self.synthesis.noise_shapes

    def broadcast(self, w: Tensor) -> Tensor:
        """`w [N, w_dim]` or `[N, num_ws, w_dim]` as W+ `[N, num_ws, w_dim]`."""
        return w if w.ndim == 3 else w[:, None].expand(-1, self.num_ws, -1)

    def truncate(self, w: Tensor, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """W+ moved towards the mean latent: `mean + psi * (w - mean)`, for the first `cutoff` codes (None: all).

        w: `[N, w_dim]` or `[N, num_ws, w_dim]`; returns `[N, num_ws, w_dim]`.
        """
        w_plus = self.broadcast(w)
        if psi == 1:
            return w_plus
        cutoff = self.num_ws if cutoff is None else cutoff
        near = self.mean_latent.lerp(w_plus[:, :cutoff], psi)
        return torch.cat([near, w_plus[:, cutoff:]], dim=1)

    def style_mix(self, w_a: Tensor, w_b: Tensor, crossover: int) -> Tensor:
        """W+ with the first `crossover` codes of `w_a` and the others of `w_b` (each W or W+)."""
        return torch.cat([self.broadcast(w_a)[:, :crossover], self.broadcast(w_b)[:, crossover:]], dim=1)

    @torch.no_grad()
    def estimate_mean_latent(self, samples: int = 10_000, seed: int = 0) -> Tensor:
        """Mean of `w` over seeded normal `z`, `[w_dim]`; for files that do not store it. Does not store it either."""
        z = torch.randn(samples, self.config.z_dim, generator=torch.Generator().manual_seed(seed))
        device = self.mean_latent.device
        total = torch.zeros(self.config.w_dim, dtype=torch.float64)
        for part in z.split(1000):
            c = torch.zeros(len(part), self.config.c_dim, device=device) if self.config.c_dim else None
            total += self.mapping(part.to(device), c).cpu().double().sum(dim=0)
        return (total / samples).float().to(device)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise: Noise = "const",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`z [N, z_dim] -> image [N, 3, R, R]`; see `truncate` and `SynthesisNetwork.forward` for the arguments."""
        w_plus = self.truncate(self.mapping(z, c), truncation_psi, truncation_cutoff)
        return self.synthesis(w_plus, noise=noise, generator=generator)

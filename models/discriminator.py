"""StyleGAN2's residual discriminator: `image [N, 3, R, R]` in -1..1 `-> logits [N, 1]`.

Source: Karras et al., CVPR 2020 (residual nets, section 4.1); minibatch standard deviation from Karras et al., ICLR
2018; conditional projection from Miyato & Koyama, ICLR 2018.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .generator import MappingNetwork, channel_widths, resolutions_up_to
from .ops import EqualConv2d, EqualLinear, at_least_float32, compute_dtype


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Architecture of a discriminator; everything needed to build one that fits a set of weights."""

    resolution: int
    """Height and width of the picture, a power of two."""
    channels: tuple[int, ...]
    """Width at 4, 8, ..., resolution."""
    mbstd_group: int = 4
    """Pictures per group of the minibatch standard deviation; the largest divisor of the batch up to it is used."""
    c_dim: int = 0
    """Length of the condition; 0 where unconditional."""
    architecture: str = "resnet"
    """Only "resnet" exists here; it is stored so that files say it."""
    conv_clamp: float | None = None
    """Limit of the absolute output of each convolution; 256 in files trained in float16."""

    def __post_init__(self) -> None:
        count = len(resolutions_up_to(self.resolution))
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if len(self.channels) != count:
            raise ValueError(
                f"A discriminator at {self.resolution} px needs {count} channel widths (4 px to {self.resolution} px), "
                f"and {len(self.channels)} were given."
            )
        if self.architecture != "resnet":
            raise ValueError(f"Only the resnet discriminator is supported, and {self.architecture!r} was asked for.")

    @classmethod
    def make(
        cls,
        resolution: int,
        channel_base: int = 32768,
        channel_max: int = 512,
        channel_min: int = 1,
        mbstd_group: int = 4,
        c_dim: int = 0,
        conv_clamp: float | None = None,
    ) -> DiscriminatorConfig:
        """A configuration from the usual width rule, `min(channel_base // r, channel_max)`."""
        return cls(
            resolution=resolution,
            channels=channel_widths(resolution, channel_base, channel_max, channel_min),
            mbstd_group=mbstd_group,
            c_dim=c_dim,
            conv_clamp=conv_clamp,
        )


class DiscriminatorBlock(nn.Module):
    """Residual block from `resolution` to half of it."""

    def __init__(self, in_channels: int, out_channels: int, resolution: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.resolution = resolution
        self.conv0 = EqualConv2d(in_channels, in_channels, 3, clamp=conv_clamp)
        self.conv1 = EqualConv2d(in_channels, out_channels, 3, down=True, clamp=conv_clamp)
        self.skip = EqualConv2d(in_channels, out_channels, 1, down=True, bias=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        half = math.sqrt(0.5)
        main = self.conv1(self.conv0(x), gain=half)
        return self.skip(x, gain=half).add_(main)


def minibatch_stddev(x: Tensor, group: int) -> Tensor:
    """Appends to `x [N, C, H, W]` one channel: the mean standard deviation over groups of pictures, `[N, C+1, H, W]`.

    Sample i belongs to group `i % (N / group)`, as in the public implementations; computed in float32.
    """
    batch, _, height, width = x.shape
    group = next(size for size in range(min(group, batch), 0, -1) if batch % size == 0)
    stacked = rearrange(at_least_float32(x), "(group n) c h w -> group n c h w", group=group)
    deviation = (stacked.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    extra = deviation.repeat(group)[:, None, None, None].expand(batch, 1, height, width)
    return torch.cat([x, extra.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """Residual discriminator.

    `from_rgb`, then `blocks` ordered from full resolution down to 8x8 (`blocks[0].resolution == R`), then `conv`, `fc`
    and `out` at 4x4. FreezeD (Mo et al., 2020) freezes the layers nearest the picture: `from_rgb` and the first blocks.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        """Whether training computes a block's activations again instead of keeping them."""
        clamp = config.conv_clamp
        widths = config.channels[::-1]
        resolutions = resolutions_up_to(config.resolution)[::-1]
        self.from_rgb = EqualConv2d(3, widths[0], 1, clamp=clamp)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(widths[i], widths[i + 1], resolutions[i], clamp) for i in range(len(widths) - 1)
        )
        width = widths[-1]
        self.mapping = MappingNetwork(0, width, c_dim=config.c_dim) if config.c_dim else None
        self.conv = EqualConv2d(width + 1, width, 3, clamp=clamp)
        self.fc = EqualLinear(width * 16, width, activate=True)
        self.out = EqualLinear(width, width if config.c_dim else 1)

    def forward(
        self, images: Tensor, c: Tensor | None = None, return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Logits of `images [N, 3, R, R]` (-1..1), higher for real; float32 `[N, 1]`.

        With `return_features` also the output of each block, from high to low resolution (in the autocast dtype; the
        tensors of the forward pass themselves). `c [N, c_dim]` is needed where the discriminator is conditional.
        """
        size = self.config.resolution
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != size or images.shape[3] != size:
            raise ValueError(
                f"This discriminator takes pictures of shape [N, 3, {size}, {size}], "
                f"and {list(images.shape)} was given."
            )
        x = images.to(compute_dtype(images))
        if x.device.type == "cpu" or x.dtype != torch.float32:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(x)
        features = []
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False)
            else:
                x = block(x)
            features.append(x)
        x = self.conv(minibatch_stddev(x, self.config.mbstd_group))
        logits = self.out(self.fc(x.flatten(1)))
        if self.mapping is not None:
            logits = (logits * self.mapping(None, c)).sum(dim=1, keepdim=True) / math.sqrt(logits.shape[1])
        return (logits, features) if return_features else logits

"""The fast stylizer: a picture of any size drawn in a style in one pass, with no generator and no inversion.

A small convolutional U-Net. It has no normalisation over the picture, so a tile is drawn as it would be in the whole,
and half its width sits at an eighth of the resolution with growing dilation, so it sees some 200 pixels around. Strokes
come from a medium (`media.py`): the network gets them as channels, at its entrance and again before its last layers.
How much style, 0 to 3 as in the pseudo-pairs, modulates every block; at 0 the picture comes back as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .media import FIELDS, MEDIA, PERIOD, fields

SLOPE = 0.1
STRIDE = 8
"""Pictures are padded to a multiple of this."""
MAX_LEVEL = 3.0
DILATIONS = (1, 2, 4, 8)
TILE = 480
OVERLAP = 48
"""Tiles of large pictures and what they share with their neighbours, in pixels; both multiples of `PERIOD`."""


@dataclass(frozen=True)
class FastStylizerConfig:
    """Architecture of a fast stylizer."""

    medium: str = "none"
    """What it draws with, one of `MEDIA`."""
    channels: tuple[int, ...] = (16, 32, 64, 96)
    """Width at full, half, quarter and eighth resolution."""
    head: int = 32
    """Width of the last layers."""
    embedding: int = 16
    """Width of what the level becomes before it modulates the blocks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if self.medium not in MEDIA:
            raise ValueError(f"There is no medium '{self.medium}'. Choose one of: {', '.join(MEDIA)}.")
        if len(self.channels) != 4 or min(*self.channels, self.head, self.embedding) < 1:
            raise ValueError("A fast stylizer needs four channel widths, and all its widths at least 1.")


class Block(nn.Module):
    """`x [N, C, H, W] -> x + scale * conv(act(modulated conv(act(x))))`."""

    def __init__(self, channels: int, embedding: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.3))
        self.modulation = nn.Linear(embedding, 2 * channels)
        nn.init.normal_(self.modulation.weight, std=0.01)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        gain, bias = self.modulation(level)[:, :, None, None].chunk(2, 1)
        y = self.conv0(F.leaky_relu(x, SLOPE))
        y = torch.addcmul(y + bias, y, gain)
        return torch.addcmul(x, self.conv1(F.leaky_relu(y, SLOPE)), self.scale)


class FastStylizer(nn.Module):
    """`pictures [N, 3, H, W]` in -1..1 and their level `[N]` in 0..3 `-> [N, 3, H, W]`, of any height and width.

    Values may leave -1..1 a little. See `draw` for large pictures.
    """

    def __init__(self, config: FastStylizerConfig) -> None:
        super().__init__()
        self.config = config
        full, half, quarter, eighth = config.channels
        seen = 3 + FIELDS[config.medium]
        wide = config.embedding
        self.embed = nn.Sequential(nn.Linear(3, wide), nn.SiLU(), nn.Linear(wide, wide), nn.SiLU())
        self.stem = nn.Conv2d(seen, full, 3, padding=1)
        self.down1 = nn.Conv2d(full, half, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(half, quarter, 3, stride=2, padding=1)
        self.down3 = nn.Conv2d(quarter, eighth, 3, stride=2, padding=1)
        self.block1 = Block(half, wide)
        self.block2 = Block(quarter, wide)
        self.middle = nn.ModuleList(Block(eighth, wide, dilation) for dilation in DILATIONS)
        self.up3 = nn.Conv2d(eighth, quarter, 1)
        self.up2 = nn.Conv2d(quarter, half, 1)
        self.up1 = nn.Conv2d(half, full, 1)
        self.block3 = Block(quarter, wide)
        self.block4 = Block(half, wide)
        self.head0 = nn.Conv2d(full + seen, config.head, 3, padding=1)
        self.head1 = nn.Conv2d(config.head, config.head, 1)
        self.head2 = nn.Conv2d(config.head, 3, 1)
        nn.init.normal_(self.head2.weight, std=0.02)
        nn.init.zeros_(self.head2.bias)

    def forward(self, pictures: Tensor, level: Tensor, laid: Tensor | None = None) -> Tensor:
        """`laid`: the medium's fields of the pictures, computed here when not given."""
        if laid is None:
            laid = fields(self.config.medium, pictures)
        height, width = pictures.shape[-2:]
        seen = torch.cat([pictures, laid], 1) if laid.shape[1] else pictures
        down, right = -height % STRIDE, -width % STRIDE
        if down or right:
            seen = F.pad(seen, (0, right, 0, down), mode="replicate")
        if seen.device.type == "cpu":
            seen = seen.contiguous(memory_format=torch.channels_last)
        share = (level.to(seen) / MAX_LEVEL)[:, None]
        code = self.embed(torch.cat([share, share * share, (1 - share) ** 2], 1))

        full = self.stem(seen)
        half = self.block1(self.down1(F.leaky_relu(full, SLOPE)), code)
        quarter = self.block2(self.down2(F.leaky_relu(half, SLOPE)), code)
        x = self.down3(F.leaky_relu(quarter, SLOPE))
        for block in self.middle:
            x = block(x, code)
        x = self.block3(quarter + _twice(self.up3(x)), code)
        x = self.block4(half + _twice(self.up2(x)), code)
        x = full + _twice(self.up1(x))
        x = F.leaky_relu(self.head0(torch.cat([F.leaky_relu(x, SLOPE), seen], 1)), SLOPE)
        change = self.head2(F.leaky_relu(self.head1(x), SLOPE))[..., :height, :width]
        # Below level 1 the change fades, so that 0 is exactly the picture.
        return pictures + change * level.to(seen).clamp(0, 1)[:, None, None, None]


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class FastStylizerModel:
    """A fast stylizer with what is known about it (socket FACE_STYLIZER)."""

    network: FastStylizer
    style: str = ""
    """Name of the style."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it came from: file, training settings, licence note. Shown to people, never interpreted."""

    @property
    def medium(self) -> str:
        """What it draws with."""
        return self.network.config.medium

    def to(self, device: torch.device | str) -> FastStylizerModel:
        """A copy on a device; this one stays where it is."""
        with torch.inference_mode(False):
            return self.replace(network=copy.deepcopy(self.network).to(device))

    def replace(self, **changes: Any) -> FastStylizerModel:
        """A copy with the given fields changed."""
        return replace(self, **changes)

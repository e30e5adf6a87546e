"""The fast stylizer: a picture of any size drawn in a style in one pass, with no generator and no inversion.

A small convolutional U-Net. It has no normalisation over the picture, so a tile is drawn as it would be in the whole,
and half its width sits at an eighth of the resolution with growing dilation, so it sees some 200 pixels around. Strokes
come from a medium (`media`): the network gets them as channels, at its entrance and again before its last layers.
How much style, 0 to 3 as in the pseudo-pairs, modulates every block; at 0 the picture comes back as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.pictures import finite, to_floats
from .media import FIELDS, MEDIA, medium_fields

SLOPE = 0.1
DIRECT_GAIN = 3.0
"""Makes the colour matrix learn faster than the network."""
STRIDE = 8
"""Pictures are padded to a multiple of this."""
MAX_LEVEL = 3.0
DILATIONS = (1, 2, 4, 8)
TILE = 480
OVERLAP = 96
"""Tiles of large pictures and what they share with their neighbours, in pixels; both multiples of `PERIOD`."""
LONGEST = 1024
"""Pictures with a longer side are drawn at this length and enlarged, unless asked otherwise."""


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
        self.direct = nn.Linear(wide, 3 * (seen + 1))
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
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        nn.init.normal_(self.head2.weight, std=0.02)
        if self.head2.bias is not None:
            nn.init.zeros_(self.head2.bias)

    def forward(self, pictures: Tensor, level: Tensor, fields: Tensor | None = None) -> Tensor:
        """`fields`: the medium's, of the pictures; computed here when not given."""
        if fields is None:
            fields = medium_fields(self.config.medium, pictures)
        height, width = pictures.shape[-2:]
        seen = torch.cat([pictures, fields], 1) if fields.shape[1] else pictures
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
        change = self.head2(F.leaky_relu(self.head1(x), SLOPE))
        # A colour matrix of the level takes away what the style does not keep, and lays the medium's own colours.
        matrix = DIRECT_GAIN * self.direct(code).unflatten(1, (3, -1))
        change = change + torch.einsum("noc,nchw->nohw", matrix[..., 1:], seen) + matrix[..., :1, None]
        change = change[..., :height, :width]
        # Below level 1 the change fades, so that 0 is exactly the picture.
        return pictures + change * level.to(seen).clamp(0, 1)[:, None, None, None]


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@torch.no_grad()
def draw(
    network: FastStylizer,
    pictures: Tensor,
    strength: float = 1.0,
    stroke_size: float = 0.0,
    on_tile: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Pictures of any size in the style.

    Args:
        network: on the device to draw on.
        pictures: `[N, 3, H, W]` in -1..1, or uint8 in 0..255, on any device.
        strength: 0 gives the pictures back, 1 is the whole style (level 3).
        stroke_size: strokes this many times as large: the picture is drawn smaller and enlarged. 0: 1, and on pictures
            longer than 1024 pixels what makes it 1024.
        on_tile: `(tiles done, of how many)`; may raise to interrupt.

    Returns:
        `[N, 3, H, W]` in -1..1 on the CPU.

    Raises:
        ValueError: strength lies outside 0..1 or stroke_size is below 0.
    """
    if not 0 <= strength <= 1 or stroke_size < 0:
        raise ValueError(f"strength is {strength} and stroke_size {stroke_size}; use 0 to 1, and 0 or more.")
    height, width = pictures.shape[-2:]
    if strength == 0 or pictures.numel() == 0:
        return to_floats(pictures).float().cpu().clone()
    size = stroke_size or max(1.0, max(height, width) / LONGEST)
    small = (max(STRIDE, round(height / size)), max(STRIDE, round(width / size)))
    tiles = [(y, x) for y in _starts(small[0]) for x in _starts(small[1])]
    weight = next(network.parameters())
    level = torch.full((1,), MAX_LEVEL * strength, device=weight.device)
    drawn = []
    for index, picture in enumerate(pictures):
        one = finite(to_floats(picture[None]).to(weight.device, torch.float32))
        if small != (height, width):
            one = F.interpolate(one, size=small, mode="bicubic", antialias=size > 1, align_corners=False).clamp(-1, 1)
        total = torch.zeros(3, *small)
        shares = torch.zeros(1, *small)
        for number, (y, x) in enumerate(tiles):
            part = one[:, :, y : y + TILE, x : x + TILE]
            fields = medium_fields(network.config.medium, part, (x, y))
            result = network(part.to(weight.dtype), level, fields.to(weight.dtype))[0].float().cpu()
            share = _ramp(result.shape[1], y > 0, y + TILE < small[0])[:, None]
            share = (share * _ramp(result.shape[2], x > 0, x + TILE < small[1])[None])[None]
            total[:, y : y + TILE, x : x + TILE] += result * share
            shares[:, y : y + TILE, x : x + TILE] += share
            if on_tile is not None:
                on_tile(index * len(tiles) + number + 1, len(pictures) * len(tiles))
        picture = total.div_(shares)
        if small != (height, width):
            picture = F.interpolate(picture[None], size=(height, width), mode="bicubic", align_corners=False)[0]
        drawn.append(picture.clamp_(-1, 1))
    return torch.stack(drawn) if len(drawn) > 1 else drawn[0][None]


def _starts(length: int) -> list[int]:
    """Where tiles begin along a side: at multiples of the media's period, the last reaching its end."""
    starts = [0]
    while starts[-1] + TILE < length:
        starts.append(starts[-1] + TILE - OVERLAP)
    return starts


def _ramp(length: int, before: bool, after: bool) -> Tensor:
    """A tile's share along one side: it fades where a neighbour takes over."""
    share = torch.ones(length)
    fade = (torch.arange(OVERLAP) + 0.5) / OVERLAP
    count = min(OVERLAP, length)
    if before:
        share[:count] = fade[:count]
    if after:
        share[length - count :] = torch.minimum(share[length - count :], fade.flip(0)[OVERLAP - count :])
    return share

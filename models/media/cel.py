"""The medium of the cartoon: a picture in even areas, a drawing of it in cut tones, and its ink; by rule.

Every filter here looks along or across the direction of the edge at hand, never in squares, so that borders come out
smooth: the oriented bilateral filter and the flow-based lines of Kyprianidis & Döllner ("Image abstraction by structure
adaptive filtering", 2008), after Kang et al. 2007 and Winnemöller et al. 2006.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import box_blur, luma, saturate, smoothstep
from .flow import flow

ROUNDS = 2
"""How often areas are evened; each round sees the last one's edges."""
REACH, SPREAD = 4, 2.6
"""Samples to each side of a pixel and their standard deviation, in pixels."""
ACROSS, ALONG = 0.07, 0.10
"""Differences of colour that are evened out (standard deviation, pictures in 0..1) across an edge and along it."""
TONES = 5.0
"""Tones between black and white."""
SATURATION = 1.35
DRAWING = slice(3, 6)
"""Which channels are the drawing."""
THIN, BOLD = (1.0, 2.0), (1.5, 3.0, 4.5, 6.0)
"""Where a line is averaged along itself, in pixels to both sides: short ones keep the eyes of small faces."""
INK = 0.15
"""Brightness of ink relative to the colour that it is drawn on."""


class Walk:
    """Values of pictures `k` pixels away from every pixel, in its own direction (radians `[N, 1, H, W]`, y down)."""

    def __init__(self, direction: Tensor) -> None:
        height, width = direction.shape[-2:]
        y, x = torch.meshgrid(
            (torch.arange(height, device=direction.device) + 0.5) * 2 / height - 1,
            (torch.arange(width, device=direction.device) + 0.5) * 2 / width - 1,
            indexing="ij",
        )
        self.place = torch.stack([x, y], -1)
        c, s = direction[:, 0].cos(), direction[:, 0].sin()
        self.along = torch.stack([c * 2 / width, s * 2 / height], -1)
        self.across = torch.stack([-s * 2 / width, c * 2 / height], -1)

    def __call__(self, picture: Tensor, k: float, across: bool = False) -> Tensor:
        grid = self.place + k * (self.across if across else self.along)
        return F.grid_sample(picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def cel(picture: Tensor) -> Tensor:
    """What the medium adds to pictures `[N, 3, H, W]` in -1..1: even areas (3), the whole drawing (3) and its ink (1),
    all in -1..1."""
    clean = (picture + 1) / 2
    even = even_areas(clean)
    ink = ink_lines(clean, even)
    return torch.cat([even, inked(cut_tones(even), ink), ink], 1) * 2 - 1


def even_areas(picture: Tensor) -> Tensor:
    """Pictures `[N, 3, H, W]` in 0..1 with texture and noise evened out between edges, and smooth edges."""
    for _ in range(ROUNDS):
        walk = Walk(flow(luma(picture), 2)[0])
        picture = _bilateral(picture, walk, True, ACROSS)
        picture = _bilateral(picture, walk, False, ALONG)
    return picture


def _bilateral(picture: Tensor, walk: Walk, across: bool, tolerance: float) -> Tensor:
    """The mean of the values along a line, those counting more that are near and of a like colour."""
    total, weights = picture.clone(), torch.ones_like(picture[:, :1])
    for k in range(1, REACH + 1):
        for place in (k, -k):
            value = walk(picture, place, across)
            difference = (value - picture).square_().sum(1, keepdim=True)
            weight = torch.exp(difference * (-0.5 / tolerance**2) - 0.5 * (k / SPREAD) ** 2)
            total.addcmul_(weight, value)
            weights += weight
    return total / weights


def cut_tones(even: Tensor) -> Tensor:
    """Even areas `[N, 3, H, W]` in a few tones with clear borders, and in richer colours, 0..1."""
    bright = luma(even)
    near = box_blur(box_blur(bright, 12), 12)
    # Tones are cut relative to the surroundings in part, so that a face in any light gets a lit and a shaded side.
    level = box_blur(0.7 * bright + 0.3 * (bright - near + 0.5), 1)
    position = level * TONES
    whole = position.floor()
    cut = (whole + smoothstep(0.34, 0.66, position - whole)) / TONES
    return saturate((even * ((cut + 0.15) / (level + 0.12)).clamp(0.5, 1.7)).clamp(0, 1), SATURATION)


def ink_lines(picture: Tensor, even: Tensor) -> Tensor:
    """Ink `[N, 1, H, W]` in 0..1 on the dark side of edges: thin lines of the picture, bold ones of its even areas."""
    grey, soft = luma(picture), luma(even)
    thin = _difference_across(grey, Walk(flow(grey, 1)[0]), 0.7, THIN)
    bold = _difference_across(soft, Walk(flow(grey, 2)[0]), 1.0, BOLD)
    return torch.maximum(smoothstep(0.02, 0.05, thin), smoothstep(0.02, 0.045, bold))


def _difference_across(grey: Tensor, walk: Walk, width: float, samples: tuple[float, ...]) -> Tensor:
    """How much darker than its surroundings a line of this width is, relative to them; averaged along the line."""
    wide = 1.6 * width
    fine_total, wide_total, fine_weight, wide_weight = grey.clone(), grey.clone(), 1.0, 1.0
    for k in range(1, math.ceil(2.4 * wide) + 1):
        value = walk(grey, k, True) + walk(grey, -k, True)
        fine_share, wide_share = math.exp(-0.5 * (k / width) ** 2), math.exp(-0.5 * (k / wide) ** 2)
        fine_total += fine_share * value
        wide_total += wide_share * value
        fine_weight, wide_weight = fine_weight + 2 * fine_share, wide_weight + 2 * wide_share
    around = wide_total / wide_weight
    edge = (around - fine_total / fine_weight) / (around + 0.12)
    shares = [math.exp(-place * place / 32) for place in samples]
    for _ in range(2):
        total = edge.clone()
        for place, share in zip(samples, shares, strict=True):
            total += share * (walk(edge, place) + walk(edge, -place))
        edge = total / (1 + 2 * sum(shares))
    return edge


def inked(toned: Tensor, ink: Tensor) -> Tensor:
    """Tones `[N, 3, H, W]` with ink `[N, 1, H, W]` on them, 0..1."""
    return torch.lerp(toned, toned * INK, 0.92 * ink)

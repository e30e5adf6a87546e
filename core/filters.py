"""Small picture filters that the drawn looks share; all take and return `[B, C, H, W]`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def shift(x: Tensor, right: int, down: int) -> Tensor:
    """The picture moved by whole pixels (at most its size), its border repeated."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0)), mode="replicate")
    return padded[..., max(-down, 0) : max(-down, 0) + height, max(-right, 0) : max(-right, 0) + width]


def box_blur(x: Tensor, radius: int) -> Tensor:
    """Mean over a square of `2 radius + 1` pixels, borders repeated."""
    if radius < 1:
        return x
    if x.device.type != "cpu" or x.dtype != torch.float32:
        x = F.avg_pool2d(F.pad(x, (radius, radius, 0, 0), mode="replicate"), (1, 2 * radius + 1), 1)
        return F.avg_pool2d(F.pad(x, (0, 0, radius, radius), mode="replicate"), (2 * radius + 1, 1), 1)
    # A sum of shifted views: to the bit what avg_pool2d gives, in a half to a quarter of its time.
    for axis, pad in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        padded, size = F.pad(x, pad, mode="replicate"), x.shape[axis]
        x = padded.narrow(axis, 0, size).clone()
        for first in range(1, 2 * radius + 1):
            x += padded.narrow(axis, first, size)
        x /= 2 * radius + 1
    return x


def dilate(x: Tensor, radius: int) -> Tensor:
    """Maximum over a square of `2 radius + 1` pixels."""
    if radius < 1:
        return x
    x = F.max_pool2d(x, (1, 2 * radius + 1), 1, (0, radius))
    return F.max_pool2d(x, (2 * radius + 1, 1), 1, (radius, 0))


def luma(picture: Tensor) -> Tensor:
    """Brightness `[B, 1, H, W]` of an sRGB picture."""
    weights = torch.tensor(LUMA, dtype=picture.dtype, device=picture.device).view(1, 3, 1, 1)
    return (picture * weights).sum(1, keepdim=True)


def saturate(picture: Tensor, amount: float | Tensor) -> Tensor:
    """Colours moved away from grey (`amount` > 1) or towards it."""
    grey = luma(picture)
    return (grey + (picture - grey) * amount).clamp(0, 1)


def smoothstep(low: float | Tensor, high: float | Tensor, x: Tensor) -> Tensor:
    """0 at `low`, 1 at `high`, smooth between; falling where `high` is below `low`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)

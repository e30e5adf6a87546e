"""Pixels of 8 bits as floats; and those that are no numbers (NaN or infinite), as a diffusion model in half precision
gives: found, and filled.

A photo of 100 megapixels is 1.2 GB as floats, so that what is done to all of one makes no second copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_floats(pictures: Tensor) -> Tensor:
    """uint8 in 0..255 as float32 in -1..1, contiguous; others stay as they are."""
    if pictures.dtype != torch.uint8:
        return pictures
    return pictures.to(torch.float32, memory_format=torch.contiguous_format).div_(255).mul_(2).sub_(1)


def all_numbers(pictures: Tensor) -> bool:
    """Whether all values are finite."""
    # A sum is, unless one of them is not or it overflows, and needs no memory.
    return bool(pictures.sum().isfinite()) or bool(are_numbers(pictures).all())


def are_numbers(pictures: Tensor) -> Tensor:
    """`[..., C, H, W]` to `[..., 1, H, W]`: whether every channel of a pixel is finite."""
    return pictures.isfinite().all(-3, keepdim=True)


def finite(pictures: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` or one `[C, H, W]`, any pixels that are no numbers filled.

    Without this a single one reaches every pixel of what is filtered, or clamped to the range of the picture.
    """
    if all_numbers(pictures):
        return pictures
    good = are_numbers(pictures)
    if pictures.ndim == 3:
        return fill(pictures[None], good[None])[0]
    return fill(pictures, good)


def fill(pictures: Tensor, good: Tensor) -> Tensor:
    """Pictures `[N, C, H, W]` whose pixels outside `good` `[N, 1, H, W]` take the mean of the nearest good ones.

    Nearest on a pyramid of halvings; a picture without any gets 0.
    """
    known = pictures.where(good, 0.0)
    if bool(good.all()) or max(pictures.shape[-2:]) <= 1:
        return known
    share = F.avg_pool2d(good.to(known), 2, ceil_mode=True)
    colours = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1e-6)
    coarse = fill(colours, share > 0)
    return known.where(good, F.interpolate(coarse, pictures.shape[-2:], mode="nearest"))

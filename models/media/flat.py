"""A picture in even areas with sharp borders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import luma


def flat(picture: Tensor) -> Tensor:
    """The picture in flat areas with sharp borders, small ones and larger ones: the filter of Kuwahara, `[N, 6]`."""
    return torch.cat([kuwahara(picture, 2), kuwahara(kuwahara(picture, 3), 5)], 1)


def kuwahara(picture: Tensor, radius: int) -> Tensor:
    """Each pixel becomes the mean of the most even of the four squares that it is a corner of, with soft choice.

    Kuwahara et al. 1976, with weights as in Papari et al. 2007.
    """
    size = radius + 1
    padded = F.pad(picture, (radius, radius, radius, radius), mode="replicate")
    mean = F.avg_pool2d(padded, size, 1)
    grey = luma(padded)
    spread = (F.avg_pool2d(grey * grey, size, 1) - F.avg_pool2d(grey, size, 1).square()).clamp(min=0) + 1e-5
    height, width = picture.shape[-2:]
    total, weights = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
    for dy in (0, radius):
        for dx in (0, radius):
            part = (..., slice(dy, dy + height), slice(dx, dx + width))
            weight = spread[part].pow(-4)
            weight = weight.clamp(max=1e18)
            total, weights = total + weight * mean[part], weights + weight
    return total / weights

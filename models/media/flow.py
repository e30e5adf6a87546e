"""Which way the edges of a picture run, what is drawn along them, and noise that depends on the place alone."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import box_blur

Origin = tuple[int, int]
"""Pixels (x, y) from the picture's top-left corner to that of the part at hand; multiples of `PERIOD`."""


def flow(grey: Tensor, radius: int, swirl: float = 0.0, origin: Origin = (0, 0)) -> tuple[Tensor, Tensor]:
    """Direction along edges (radians, y down) and how clear it is (0..1), each `[N, 1, H, W]`: the structure tensor
    averaged over a few pixels, over a wider neighbourhood where there is nothing near, and slow swirls in the void."""
    soft = box_blur(grey, 1)
    gx = F.pad(soft, (1, 1, 0, 0), mode="replicate")
    gx = gx[..., 2:] - gx[..., :-2]
    gy = F.pad(soft, (0, 0, 1, 1), mode="replicate")
    gy = gy[..., 2:, :] - gy[..., :-2, :]
    size = gx * gx + gy * gy
    tensor = torch.cat([gy * gy - gx * gx, -2 * gx * gy, size], 1)
    near = box_blur(box_blur(tensor, radius), radius)
    wide = box_blur(box_blur(near, 4 * radius), 4 * radius)
    total = near + 0.05 * wide
    if swirl:
        height, width = grey.shape[-2:]
        angle = swirls(height, width, origin).to(grey)
        total = total + swirl**2 * torch.cat([angle.cos(), angle.sin(), torch.zeros_like(angle)], 1)
    a, b = total[:, :1], total[:, 1:2]
    coherence = (near[:, :1].square() + near[:, 1:2].square()).sqrt() / (near[:, 2:] + 2e-3)
    return 0.5 * torch.atan2(b, a), coherence.clamp(0, 1)


@lru_cache(maxsize=8)
def swirls(height: int, width: int, origin: Origin) -> Tensor:
    """Twice the angle of slow swirls `[1, 1, height, width]`."""
    y, x = torch.meshgrid(torch.arange(height) + origin[1], torch.arange(width) + origin[0], indexing="ij")
    return (value_noise(x / 90, y / 90, 30) * 12)[None, None]


def smear(noise: Tensor, direction: Tensor, length: float, step: float = 1.5) -> Tensor:
    """The mean of the noise along a line of +-`length` pixels in each pixel's direction."""
    height, width = noise.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=noise.device) + 0.5, torch.arange(width, device=noise.device) + 0.5, indexing="ij"
    )
    dx, dy = direction[:, 0].cos(), direction[:, 0].sin()
    count = int(length / step)
    total = torch.zeros_like(noise)
    for k in range(-count, count + 1):
        grid = torch.stack([(x + k * step * dx) * 2 / width - 1, (y + k * step * dy) * 2 / height - 1], -1)
        total += F.grid_sample(noise, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return total / (2 * count + 1)


def hash_noise(i: Tensor, j: Tensor, seed: int) -> Tensor:
    """A number in 0..1 for every pair of whole numbers, the same on every device."""
    h = (i.long() * 374761393 + j.long() * 668265263 + (seed + 1) * 2246822519) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2654435761) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF).float() / 0xFFFFFF


def value_noise(x: Tensor, y: Tensor, seed: float) -> Tensor:
    """Smooth noise 0..1 with features one unit wide."""
    i, j = x.floor(), y.floor()
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    a, b = hash_noise(i, j, int(seed)), hash_noise(i + 1, j, int(seed))
    c, d = hash_noise(i, j + 1, int(seed)), hash_noise(i + 1, j + 1, int(seed))
    return torch.lerp(torch.lerp(a, b, u), torch.lerp(c, d, u), v)

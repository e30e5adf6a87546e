"""What cameras and files do to a picture: colour, blur, low resolution, noise, JPEG."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from PIL import Image
from torch import Tensor

from .backgrounds import uniform


def recolour(picture: Tensor, generator: torch.Generator, strength: float = 1.0) -> Tensor:
    """Random brightness, contrast, gamma and colour cast of a picture [3,H,W] in 0..1."""
    draw = (torch.rand(8, generator=generator) * 2 - 1) * strength
    gamma = math.exp(0.5 * float(draw[0]))
    result = picture.clamp(1e-4, 1) ** gamma
    result = (result - 0.5) * math.exp(0.4 * float(draw[1])) + 0.5 + 0.15 * float(draw[2])
    result = result * (1 + 0.2 * draw[3:6, None, None])
    grey = result.mean(0, keepdim=True)
    return torch.lerp(grey, result, min(1.4, 1 + 0.5 * float(draw[6]))).clamp(0, 1)


def degrade(canvas: Tensor, generator: torch.Generator) -> Tensor:
    """What cameras and files do to a picture [3,H,W] in 0..1: colour, blur, low resolution, noise, JPEG."""
    canvas = recolour(canvas, generator)
    if uniform(generator) < 0.12:
        canvas = canvas.mean(0, keepdim=True).expand(3, -1, -1)
    if uniform(generator) < 0.25:
        sigma = 0.4 + 1.4 * uniform(generator) ** 2
        canvas = gaussian_blur2d(canvas[None], (7, 7), (sigma, sigma))[0]
    if uniform(generator) < 0.15:
        extent = canvas.shape[1:]
        small = [max(8, round(side * (0.4 + 0.5 * uniform(generator)))) for side in extent]
        reduced = F.interpolate(canvas[None], size=small, mode="bilinear", antialias=True)
        canvas = F.interpolate(reduced, size=tuple(extent), mode="bilinear")[0]
    if uniform(generator) < 0.35:
        noise = torch.randn(canvas.shape, generator=generator)
        canvas = canvas + noise * (0.06 * uniform(generator) ** 2)
    if uniform(generator) < 0.4:
        canvas = jpeg(canvas, 25 + int(70 * uniform(generator)))
    return canvas


def jpeg(canvas: Tensor, quality: int) -> Tensor:
    """A picture [3,H,W] in 0..1 as it comes back from a JPEG file of the given quality (1..95)."""
    buffer = io.BytesIO()
    pixels = (canvas.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float() / 255

"""Affine maps between pictures: composing and inverting 2x3 matrices, and sampling a picture without aliasing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from kornia.geometry.transform import warp_affine
from torch import Tensor

_MAX_STEP = 2.0
"""Largest distance between samples, in source pixels, before the source is halved first (see `resample`)."""


def transform_points(matrices: Tensor, points: Tensor) -> Tensor:
    """Maps points [N,K,2] (x, y) through affine matrices [N,2,3]; returns [N,K,2]."""
    return points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]


def invert_affine(matrices: Tensor) -> Tensor:
    """The inverse of affine matrices [N,2,3], as [N,2,3]; computed in double precision, on the CPU (MPS has none)."""
    wide = matrices.cpu().double()
    linear = torch.linalg.inv(wide[:, :, :2])
    return torch.cat([linear, -linear @ wide[:, :, 2:]], dim=2).to(matrices)


def rescale_input(matrices: Tensor, factor: float) -> Tensor:
    """Matrices [N,2,3] for input coordinates that were multiplied by `factor` (the input picture was resized)."""
    return torch.cat([matrices[:, :, :2] / factor, matrices[:, :, 2:]], dim=2)


def scale_of(matrices: Tensor) -> Tensor:
    """How many output pixels one input pixel spans under matrices [N,2,3]: sqrt(|det|), [N]."""
    (a, b), (c, d) = matrices[:, :, :2].float().permute(1, 2, 0)
    return (a * d - b * c).abs().sqrt()


def warp(
    source: Tensor,
    output_to_source: Tensor,
    size: tuple[int, int],
    mode: str = "bilinear",
    padding_mode: str = "border",
) -> Tensor:
    """Samples a picture at one point per output pixel (aliases when it shrinks: see `resample`).

    Args:
        source: [N,C,H,W].
        output_to_source: [N,2,3], corner-origin coordinates.
        size: (height, width) of the output.
        mode: "bilinear", "bicubic" or "nearest".
        padding_mode: "border" or "zeros" beyond the source.

    Returns:
        [N,C,height,width].
    """
    # kornia puts the origin at the centre of the first pixel: p_kornia = p - 0.5 on both sides.
    half = output_to_source.new_full((1, 2, 1), 0.5)
    linear = output_to_source[:, :, :2]
    centred = torch.cat([linear, output_to_source[:, :, 2:] + linear @ half - half], dim=2)
    return warp_affine(source, invert_affine(centred), size, mode=mode, padding_mode=padding_mode, align_corners=True)


def resample(
    source: Tensor,
    output_to_source: Tensor,
    size: tuple[int, int],
    padding_mode: str = "border",
) -> Tensor:
    """Samples one picture without aliasing at any scale.

    Enlarging is bicubic. Shrinking halves the source by area until an output pixel spans less than four source
    pixels, samples on a grid fine enough to miss none of them, and averages that down with an anti-aliasing filter.

    Args:
        source: [C,H,W], values in any range; bicubic overshoot is clamped to the range found in the source.
        output_to_source: [2,3], corner-origin coordinates.
        size: (height, width) of the output.
        padding_mode: "border" or "zeros" beyond the source.

    Returns:
        [C,height,width].
    """
    picture = source[None]
    matrix = output_to_source[None].float()
    step = float(scale_of(matrix))
    while step > 2 * _MAX_STEP and min(picture.shape[-2:]) > 1:
        picture = halve(picture)
        matrix, step = matrix / 2, step / 2
    factor = max(1, math.ceil(step - 1e-3))
    fine = (size[0] * factor, size[1] * factor)
    mode = "bicubic" if step < 1 else "bilinear"
    sampled = warp(picture, rescale_input(matrix, factor), fine, mode=mode, padding_mode=padding_mode)
    if factor > 1:
        sampled = F.interpolate(sampled, size=size, mode="bicubic", align_corners=False, antialias=True)
    return sampled.clamp_(source.min(), source.max())[0]


def halve(picture: Tensor) -> Tensor:
    """Half size by 2x2 means [N,C,H,W] -> [N,C,ceil(H/2),ceil(W/2)]; an odd last row or column is repeated."""
    height, width = picture.shape[-2:]
    half = picture.new_empty(*picture.shape[:2], (height + 1) // 2, (width + 1) // 2)
    # Padding copies: some rows at a time.
    for top in range(0, height, 256):
        part = picture[:, :, top : top + 256]
        part = F.pad(part, (0, width % 2, 0, part.shape[2] % 2), mode="replicate")
        half[:, :, top // 2 : top // 2 + 128] = F.avg_pool2d(part, 2)
    return half


def reflect_index(start: int, stop: int, length: int, device: torch.device | None = None) -> Tensor:
    """Indices start..stop-1 folded into 0..length-1 by reflection at the first and last pixel, however far beyond."""
    index = torch.arange(start, stop, device=device)
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    folded = index.remainder(period)
    return torch.minimum(folded, period - folded)

"""How far a picture is from the target of its pair: by place, and, for strokes that may lie anywhere, by how they are.

A drawing compared with its target pixel by pixel learns the mean of all places where a stroke could be, which is no
stroke at all. So the comparison by place can be exchanged, as far as `freedom` says, for one of soft colours by place
and of details by their strength hereabouts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STROKE = 4
"""Pixels within which a stroke may be anywhere, in a picture of `STROKE_SIDE`; twice as many in one twice as large."""
STROKE_SIDE = 128
SCALES = 3
EPSILON = 1e-4
"""Under square roots, whose slope at 0 has no end."""


def importance(size: int) -> Tensor:
    """`[1, 1, size, size]` of mean 1: the face, which fills the middle of an aligned picture, counts five times as much
    as what lies around it."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    weight = 0.5 + 2.0 * torch.exp(-((x / 0.55) ** 4 + ((y - 0.1) / 0.6) ** 4))
    return (weight / weight.mean())[None, None]


def pixel_distance(prediction: Tensor, target: Tensor, weights: Tensor, freedom: float = 0.0) -> Tensor:
    """Mean absolute difference `[N]` of pictures `[N, 3, S, S]`: of pixels, or as far as `freedom` of soft colours."""
    difference = prediction - target
    exact = (difference.abs() * weights).mean((1, 2, 3))
    if not freedom:
        return exact
    size = _stroke(prediction)
    soft = (F.avg_pool2d(difference, size).abs() * F.avg_pool2d(weights, size)).mean((1, 2, 3))
    return torch.lerp(exact, soft, freedom)


def edge_distance(prediction: Tensor, target: Tensor, weights: Tensor, freedom: float = 0.0) -> Tensor:
    """Difference `[N]` of the steps between neighbours over three scales, and `freedom` (0..1) of it of the steps of
    soft colours and of how strong steps are hereabouts, wherever exactly each lies."""
    difference = prediction - target
    exact = _edges(difference, weights)
    if not freedom:
        return exact
    size = _stroke(prediction)
    soft = _edges(F.avg_pool2d(difference, size), F.avg_pool2d(weights, size))
    return torch.lerp(exact, soft + _energies(prediction, target, weights, size), freedom)


def feature_distance(prediction: list[Tensor], target: list[Tensor], freedom: float = 0.0) -> Tensor:
    """Mean absolute difference `[N]` of feature maps `[N, C, s, s]`, summed over layers, and `freedom` (0..1) of it of
    their means and deviations in windows of a stroke's size."""
    total = prediction[0].new_zeros(len(prediction[0]))
    for a, b in zip(prediction, target, strict=True):
        a, b = a.float(), b.float()
        exact = (a - b).abs().mean((1, 2, 3))
        if freedom:
            window = min(max(2, STROKE * a.shape[-1] // STROKE_SIDE), a.shape[-1] // 2)
            exact = torch.lerp(exact, _moments_apart(a, b, window), freedom)
        total = total + exact
    return total


def _stroke(pictures: Tensor) -> int:
    return max(1, STROKE * pictures.shape[-1] // STROKE_SIDE)


def _edges(difference: Tensor, weights: Tensor) -> Tensor:
    """`[N]`: mean absolute differences of neighbours across and down, summed over the scales."""
    total = difference.new_zeros(len(difference))
    for scale in range(SCALES):
        if scale:
            difference, weights = F.avg_pool2d(difference, 2), F.avg_pool2d(weights, 2)
        across = (difference[..., :, 1:] - difference[..., :, :-1]).abs() * weights[..., :, 1:]
        down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * weights[..., 1:, :]
        total = total + across.mean((1, 2, 3)) + down.mean((1, 2, 3))
    return total


def _energies(prediction: Tensor, target: Tensor, weights: Tensor, size: int) -> Tensor:
    """`[N]`: how differently strong the steps between neighbours are in windows, over two scales."""
    total = prediction.new_zeros(len(prediction))
    for scale in range(SCALES - 1):
        if scale:
            prediction, target, weights = (F.avg_pool2d(x, 2) for x in (prediction, target, weights))
        for dim in (-1, -2):
            a, b = (
                F.avg_pool2d(x.diff(dim=dim).square(), size + 1, 2, size // 2).add(EPSILON).sqrt()
                for x in (prediction, target)
            )
            total = total + ((a - b).abs() * F.adaptive_avg_pool2d(weights, (a.shape[-2], a.shape[-1]))).mean((1, 2, 3))
    return total


def _moments_apart(a: Tensor, b: Tensor, size: int) -> Tensor:
    """`[N]`: differences of means and of deviations in overlapping windows of twice `size`."""
    means, deviations = [], []
    for x in (a, b):
        mean = F.avg_pool2d(x, 2 * size, size)
        means.append(mean)
        deviations.append((F.avg_pool2d(x * x, 2 * size, size) - mean * mean).clamp(min=0).add(EPSILON).sqrt())
    return sum(((x - y).abs().mean((1, 2, 3)) for x, y in (means, deviations)), a.new_zeros(len(a)))

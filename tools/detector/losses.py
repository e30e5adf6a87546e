"""What the face detector is asked for: which cell answers for which face, and how far its answers are off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...detection.embedded import STRIDES, cell_centres, decode
from ...detection.search import expected_place
from .scenes import Closeups

_LEVEL_RANGES = ((0.0, 44.0), (28.0, 100.0), (64.0, math.inf))
"""Face sizes in pixels each stride answers for; they overlap so that no size falls between two strides."""
_POSITIVE_RADIUS = 0.18
"""Cells this close to the middle of a face, in face sizes, answer for it; those up to twice as far are left free."""
_HEAT_WIDTH = 1.0
"""Standard deviation of a landmark's target distribution, in cells."""


def assign_cells(
    faces: Sequence[tuple[Tensor, Tensor]], height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which cell answers for which face.

    Args:
        faces: boxes [K,4] and landmarks [K,5,2] of each picture.
        height: of the pictures.
        width: of the pictures.

    Returns:
        For every cell: target score [B,C] (1 for a face, 0 for none, -1 where either will do), box [B,C,4],
        landmarks [B,C,5,2] and the face's size [B,C].
    """
    centres, strides = cell_centres(height, width)
    ranges = torch.tensor(_LEVEL_RANGES)[torch.log2(strides / STRIDES[0]).long()]
    low, high = ranges.unbind(1)
    cells = len(centres)
    score = torch.zeros(len(faces), cells)
    box = torch.zeros(len(faces), cells, 4)
    points = torch.zeros(len(faces), cells, 5, 2)
    size = torch.ones(len(faces), cells)
    for i, (boxes, landmarks) in enumerate(faces):
        if len(boxes) == 0:
            continue
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
        distance = torch.cdist(centres, middle)
        in_charge = (side >= low[:, None]) & (side < high[:, None])
        radius = torch.maximum(_POSITIVE_RADIUS * side[None], 0.75 * strides[:, None])
        relative = torch.where(in_charge, distance / radius, torch.full_like(distance, math.inf))
        nearest, chosen = relative.min(1)
        score[i] = torch.where(nearest < 1, 1.0, torch.where(nearest < 2, -1.0, 0.0))
        box[i], points[i], size[i] = boxes[chosen], landmarks[chosen], side[chosen]
    return score, box, points, size


def detector_losses(outputs: list[Tensor], faces: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The three terms: focal score loss (Lin et al., 2017), 1 - GIoU (Rezatofighi et al., 2019), landmark distance."""
    height, width = (side * STRIDES[0] for side in outputs[0].shape[-2:])
    target, box, points, size = assign_cells(faces, height, width)
    logits, boxes, landmarks = decode(outputs)
    positive = target == 1
    count = positive.sum().clamp(min=1)
    labelled = target >= 0
    entropy = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0), reduction="none")
    missed = (logits.sigmoid() - target).abs()
    weight = torch.where(positive, 0.6, 0.4) * missed.square()
    losses = {"score": 4 * (weight * entropy * labelled).sum() / count}
    overlap = generalised_iou(boxes[positive], box[positive])
    losses["box"] = (1 - overlap).sum() / count
    error = (landmarks[positive] - points[positive]) / size[positive][:, None, None]
    losses["landmarks"] = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.01, reduction="sum") / (count * 5)
    return losses


def closeup_losses(heat: Tensor, logits: Tensor, closeups: Closeups) -> dict[str, Tensor]:
    """Score, cross-entropy of the landmarks' distributions, and distance of their means in sides of the close-up."""
    places, present = closeups.places, closeups.present
    known = (present >= 0).float()
    score = F.binary_cross_entropy_with_logits(logits.float(), present.clamp(min=0), reduction="none")
    face = closeups.measured
    count = face.sum().clamp(min=1)
    height, width = heat.shape[-2:]
    x = (torch.arange(width) + 0.5)[None, None, None, :] - places[..., 0, None, None] * width
    y = (torch.arange(height) + 0.5)[None, None, :, None] - places[..., 1, None, None] * height
    target = (-(x.square() + y.square()) / (2 * _HEAT_WIDTH**2)).flatten(2).softmax(-1)
    entropy = -(target * heat.float().flatten(2).log_softmax(-1)).sum(-1).mean(1)
    error = F.smooth_l1_loss(expected_place(heat), places, beta=0.005, reduction="none").sum(-1).mean(1)
    return {
        "closeup_score": (score * known).sum() / known.sum().clamp(min=1),
        "closeup_heat": (entropy * face).sum() / count,
        "closeup_landmarks": (error * face).sum() / count,
    }


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU of corresponding boxes [K,4]: [K] in -1..1."""
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    shared, hull = shared.prod(1), hull.prod(1).clamp(min=1e-6)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    union = (areas - shared).clamp(min=1e-6)
    return shared / union - (hull - union) / hull

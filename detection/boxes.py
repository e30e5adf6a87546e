"""Boxes around faces: how far they overlap, and one for those that lie on the same face."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes [N,4] and [M,4] (left, top, right, bottom): [N,M] in 0..1."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    opposite = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    area, other_area = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (boxes, others))
    return shared / (area[:, None] + other_area[None] - shared).clamp(min=1e-9)


def fuse_overlapping(
    boxes: Tensor,
    landmarks: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression that averages instead of throwing away.

    The best candidate absorbs all that overlap it; those that agree with it closely (IoU above 0.6) share in its box
    and landmarks, weighted by score, which is steadier than any one of them.

    Args:
        boxes: [K,4] left, top, right, bottom.
        landmarks: [K,5,2].
        scores: [K].
        iou_threshold: overlap from which two boxes are one face.

    Returns:
        Boxes [M,4], landmarks [M,5,2] and scores [M], best first.
    """
    order = scores.argsort(descending=True)
    boxes, landmarks, scores = boxes[order], landmarks[order], scores[order]
    overlap = box_iou(boxes, boxes)
    # A small box inside a large one is the same face seen at two scales.
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1).clamp(min=1e-9)
    union = (areas[:, None] + areas[None]) / (1 + overlap.clamp(max=1))
    contained = overlap * union / torch.minimum(areas[:, None], areas[None])
    same = (overlap > iou_threshold) | (contained > 0.8)
    alive = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    fused = []
    for i in range(len(scores)):
        if not bool(alive[i]):
            continue
        weight = scores.square() * (alive & (overlap[i] > 0.6))
        weight[i] = scores[i].square().clamp(min=1e-12)
        weight = weight / weight.sum()
        fused.append(((boxes * weight[:, None]).sum(0), (landmarks * weight[:, None, None]).sum(0), scores[i]))
        alive &= ~same[i]
    if not fused:
        return boxes[:0], landmarks[:0], scores[:0]
    return torch.stack([f[0] for f in fused]), torch.stack([f[1] for f in fused]), torch.stack([f[2] for f in fused])

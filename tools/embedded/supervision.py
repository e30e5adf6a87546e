"""Losses and measures against the true picture of known parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...procedural import NUM_LABELS, Label
from ...training.losses.distances import gradients

REGION_WEIGHTS = {
    Label.EYE: 6.0,
    Label.BROW: 4.0,
    Label.UPPER_LIP: 4.0,
    Label.LOWER_LIP: 4.0,
    Label.MOUTH: 5.0,
    Label.GLASSES: 4.0,
    Label.NOSE: 2.0,
    Label.BEARD: 2.0,
    Label.CLOTH: 2.0,
    Label.HAIR: 0.9,
    Label.BACKGROUND: 0.5,
}


def region_weights(labels: Tensor) -> Tensor:
    """Weight per pixel `[B, 1, H, W]` of mean 1 from label maps `[B, H, W]`: small telling parts count for more."""
    table = torch.ones(NUM_LABELS)
    for label, weight in REGION_WEIGHTS.items():
        table[label] = weight
    weights = F.avg_pool2d(table[labels.long()][:, None], 3, 1, 1)
    return weights / weights.mean()


def reconstruction_terms(picture: Tensor, truth: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """`pixel`: region-weighted L1; `chroma`: the same of colour without brightness; `edges`: L1 of gradients at three
    scales. Pictures `[B, 3, H, W]` in -1..1."""
    weights = region_weights(labels)
    difference = (picture - truth).contiguous()  # planes, not channels last: neighbours are taken below
    pixel = (difference.abs() * weights).mean()
    chroma = ((difference - difference.mean(1, keepdim=True)).abs() * weights).mean()
    edges = picture.new_zeros(())
    for scale in range(3):
        across, down = gradients(difference)
        if scale == 0:
            across, down = across * weights[..., :, 1:], down * weights[..., 1:, :]
        edges = edges + across.abs().mean() + down.abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return {"pixel": pixel, "chroma": chroma, "edges": edges}


def reconstruction_loss(terms: dict[str, Tensor]) -> Tensor:
    """The weighted sum of `reconstruction_terms`."""
    return terms["pixel"] + 0.5 * terms["chroma"] + 0.6 * terms["edges"]

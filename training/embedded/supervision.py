"""Losses and measures against the true picture of known parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...procedural import NUM_LABELS, Label

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


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours, across and down."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


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


def face_box(x: Tensor) -> Tensor:
    """The part of an aligned picture that the face fills."""
    c = x.shape[-1] // 4
    return x[..., c : -(c // 2), c:-c]


@torch.no_grad()
def measure(pictures: Tensor, truth: Tensor) -> dict[str, float]:
    """L1 (0..1 scale) over picture and face, PSNR, and the gradient energy of the face relative to the truth's."""
    pictures = pictures.clamp(-1, 1)

    def energy(x: Tensor) -> float:
        return sum(float(g.square().mean()) for g in gradients(x))

    squared = ((pictures - truth) / 2).square().mean((1, 2, 3))
    return {
        "l1": float((pictures - truth).abs().mean()) / 2,
        "face_l1": float((face_box(pictures) - face_box(truth)).abs().mean()) / 2,
        "psnr": float((-10 * squared.clamp(min=1e-10).log10()).mean()),
        "gradient_energy": energy(face_box(pictures)) / energy(face_box(truth)),
    }


def grid(pictures: Tensor, columns: int) -> Tensor:
    """Pictures `[B, 3, H, W]` in -1..1 as one `[3, rows * H, columns * W]` in 0..1."""
    rows = -(-len(pictures) // columns)
    padding = rows * columns - len(pictures)
    pictures = torch.cat([pictures, pictures.new_ones(padding, *pictures.shape[1:])])
    b, c, h, w = pictures.shape
    return pictures.view(rows, columns, c, h, w).permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w) / 2 + 0.5

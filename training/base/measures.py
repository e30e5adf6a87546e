"""How near pictures are to portraits: as pictures, and as people."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.sheets import grid
from ...models.dlib import SAME_PERSON, DlibFace
from ...models.identity import IdentityNetwork
from ..losses.distances import measure as measure_pictures
from .people import descriptors

PREVIEWED, COLUMNS = 16, 8


def comparison(target: Tensor, prediction: Tensor, *rows: Tensor) -> Tensor:
    """`[3, H, W]` in 0..1: portraits, below each what is drawn of it, and below all of them rows of other pictures."""
    columns = min(COLUMNS, len(target))
    whole = len(target) // columns * columns
    pairs = zip(target[:whole].split(columns), prediction[:whole].split(columns), strict=True)
    return grid(torch.cat([*(torch.cat(pair) for pair in pairs), *(row[:columns] for row in rows)]), columns)


@torch.no_grad()
def measure(prediction: Tensor, target: Tensor, identity: IdentityNetwork | None) -> dict[str, float]:
    """`psnr` in dB and `gradient_energy` (1: as the target's); with an identity network the mean descriptor distance to
    the own portrait (`own`) and to the others (`others`), the share of those nearest to themselves (`top1`), and with
    dlib's that of distances below 0.6 (`same`). Pictures `[N, 3, S, S]` in -1..1."""
    pictures = measure_pictures(prediction, target)
    numbers = {name: pictures[name] for name in ("psnr", "gradient_energy")}
    if identity is None:
        return numbers
    apart = torch.cdist(descriptors(identity, prediction.clamp(-1, 1)), descriptors(identity, target))
    own, count = apart.diagonal(), len(apart)
    numbers |= {
        "own": float(own.mean()),
        "others": float((apart.sum() - own.sum()) / max(count * (count - 1), 1)),
        "top1": float((apart.argmin(1) == torch.arange(count)).float().mean()),
    }
    if isinstance(identity, DlibFace):
        numbers["same"] = float((own < SAME_PERSON).float().mean())
    return numbers


@torch.no_grad()
def nearest(known: Tensor, others: Tensor) -> float:
    """Median distance of descriptors `others [M, D]` to the nearest of those `known [N, D]`."""
    return float(torch.cdist(others, known).amin(1).median())

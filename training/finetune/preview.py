"""What a person sees of a fine-tuning while it runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.sheets import comparison_grid
from ..kit.precision import autocast
from ..reports.scoring import Draw

PREVIEW_FACES = 5


class FinetunePreview:
    """Draws the same faces again and again.

    Args:
        draw_source: the source generator's pictures.
        w_plus: `[5, num_ws, w_dim]` of the faces.
        pictures: `[N, 3, R, R]` in -1..1, of the style.
        precision: see `precision.autocast`.
    """

    def __init__(self, draw_source: Draw, w_plus: Tensor, pictures: Tensor, precision: str) -> None:
        self._draw_source, self._w_plus, self._pictures, self._precision = draw_source, w_plus, pictures, precision
        self._source: Tensor | None = None

    @torch.no_grad()
    def __call__(self, now: Draw, kept: Draw) -> Tensor:
        """A grid `[3, 4R, 5R]` in 0..1; rows: source, the network now, what would be given, nearest style picture."""
        if self._source is None:
            self._source = self._drawn(self._draw_source)
        chosen = self._drawn(kept)
        rows = [self._source, self._drawn(now), chosen, self._nearest_styles(chosen)]
        return comparison_grid(*rows, faces=PREVIEW_FACES)

    def _drawn(self, draw: Draw) -> Tensor:
        with autocast(self._precision, self._w_plus.device):
            return draw(self._w_plus)

    def _nearest_styles(self, pictures: Tensor) -> Tensor:
        """For each picture the style picture that is nearest when both are seen from afar (16 px)."""
        seen, known = (F.adaptive_avg_pool2d(p.float(), 16).flatten(1) for p in (pictures, self._pictures))
        return self._pictures[torch.cdist(seen, known).argmin(1)]

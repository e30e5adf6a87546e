"""How good a style is while it is learned: two distances, which snapshot they favour, and when to stop.

Both are of the averaged weights, the ones that a training gives, on the same faces every time.

style       sliced Wasserstein distance of small patches to pictures of the style, best to ones held out of training
            (`distances.sliced_patch_distance`): 0 for the same pictures, in picture units.
structure   how far faces are from their own source faces, measured by how far they are from other people's: the parts'
            belonging together, read off the source's discriminator from 8 to 32 px. 0: nothing moved. 1: a face has no
            more to do with its source than with anybody. A style that changes every face alike therefore costs little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...latents.encoding import resize
from ...models.discriminator import Discriminator
from ..losses.distances import STRUCTURE_SIZES, PatchJudge
from ..losses.reconstruction import discriminator_features
from ..losses.semantic import self_similarity_distance

FACES = 16
MOST_PICTURES = 64
"""No more style pictures are compared with: a score has to cost less than two steps."""
LARGEST_SIDE = 256
"""Larger pictures are compared at this size; patches of 7 px at three scales see lines and grain there too."""
PART = 4

Draw = Callable[[Tensor], Tensor]
"""`w_plus [N, num_ws, w_dim]` to pictures `[N, 3, R, R]`."""


@dataclass(frozen=True)
class Score:
    """The two distances after a step."""

    step: int
    style_distance: float
    structure_distance: float

    def order(self, structure_limit: float) -> tuple[float, float]:
        """Smaller is better: within the limit on structure the style decides, beyond it who is nearer to the limit."""
        style, structure = (
            value if math.isfinite(value) else math.inf for value in (self.style_distance, self.structure_distance)
        )
        return max(structure - structure_limit, 0.0), style


class Scorer:
    """Scores a network against a source and pictures of a style; what stays the same is computed once.

    Args:
        draw_source: the source generator's pictures.
        discriminator: the source's discriminator, which nothing trains.
        w_plus: `[N, num_ws, w_dim]`, N at least 2: the faces that are scored.
        pictures: `[M, 3, R, R]` in -1..1, of the style.
    """

    def __init__(self, draw_source: Draw, discriminator: Discriminator, w_plus: Tensor, pictures: Tensor) -> None:
        self._discriminator, self._w_plus = discriminator, w_plus
        self._judge = PatchJudge(_reduced(_spread(pictures, MOST_PICTURES)))
        with torch.no_grad():
            self._source_maps = self._maps(_drawn(draw_source, w_plus))

    @torch.no_grad()
    def __call__(self, draw: Draw) -> tuple[float, float]:
        """(style distance, structure distance) of a network's pictures of the same faces."""
        pictures = _drawn(draw, self._w_plus)
        own = others = 0.0
        for source, styled in zip(self._source_maps, self._maps(pictures), strict=True):
            own += float(self_similarity_distance(styled, source))
            others += float(self_similarity_distance(styled, source.roll(1, 0)))
        return self._judge(_reduced(pictures)), own / others if others else 0.0

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        """The discriminator's feature maps from 8 to 32 px, each `[N, C, r, r]`."""
        smallest, largest = STRUCTURE_SIZES
        parts = [discriminator_features(self._discriminator, part) for part in pictures.split(PART)]
        maps = [torch.cat(same).float() for same in zip(*parts, strict=True)]
        return [found for found in maps if smallest <= found.shape[2] <= largest]


class ScoreHistory:
    """The scores of one run: which was best, and whether waiting for a better one is over.

    Args:
        structure_limit: snapshots whose structure distance is above it lose against any that is within.
        patience: so many scores in a row without a new best end the run; 0 never does.
    """

    def __init__(self, structure_limit: float, patience: int) -> None:
        self.structure_limit, self.patience = structure_limit, patience
        self.all: list[Score] = []

    def add(self, score: Score) -> bool:
        """Takes a score; whether it is the best so far. A tie goes to the earlier one."""
        self.all.append(score)
        return self.best is score

    @property
    def best(self) -> Score | None:
        """The best so far."""
        return min(self.all, key=lambda score: score.order(self.structure_limit), default=None)

    @property
    def out_of_patience(self) -> bool:
        """Whether the last `patience` scores brought nothing better."""
        if not self.patience or self.best is None:
            return False
        return len(self.all) - 1 - self.all.index(self.best) >= self.patience

    def state_dict(self) -> list[dict[str, Any]]:
        """The scores as plain values."""
        return [asdict(score) for score in self.all]

    def load_state_dict(self, state: Sequence[dict[str, Any]]) -> None:
        """Continues from what `state_dict` gave."""
        self.all = [Score(**row) for row in state]


def _drawn(draw: Draw, w_plus: Tensor) -> Tensor:
    """Float pictures, a few at a time: scoring must not need more memory than training."""
    return torch.cat([draw(part).float().clamp(-1.0, 1.0) for part in w_plus.split(PART)])


def _spread(pictures: Tensor, most: int) -> Tensor:
    """No more than `most` of them, spread evenly."""
    if len(pictures) <= most:
        return pictures
    return pictures[torch.linspace(0, len(pictures) - 1, most).round().long()]


def _reduced(pictures: Tensor) -> Tensor:
    """On the CPU, where the judge's random numbers are, at no more than `LARGEST_SIDE`."""
    return resize(pictures, min(pictures.shape[2], LARGEST_SIDE)).cpu()

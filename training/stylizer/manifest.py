"""Pseudo-pairs as the pictures a fast stylizer learns from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...models.types import FaceGenerator
from ..kit.fingerprint import generator_fingerprint
from ..pairs.renderer import PairRenderer
from ..pairs.types import StylePairs, pairs_fingerprint
from .dataset import Pair

BATCH = 16


def shown_pairs(pairs: StylePairs, source: FaceGenerator, target: FaceGenerator) -> dict[str, Any]:
    """What decides the batches of a source of `pair_pictures`, see `identity`; drawn pictures differ in their last bits
    from machine to machine."""
    return {
        "pairs": pairs_fingerprint(pairs),
        "source": generator_fingerprint(source, discriminator=False),
        "target": generator_fingerprint(target, discriminator=False),
    }


def pair_pictures(pairs: StylePairs, source: FaceGenerator, target: FaceGenerator) -> Iterator[Pair]:
    """Every pair of a manifest, drawn by the generators it was made with.

    Raises:
        ValueError: the pairs were made with other generators.
    """
    renderer = PairRenderer(pairs, source, target)
    for start in range(0, len(pairs), BATCH):
        rows = list(range(start, min(start + BATCH, len(pairs))))
        before, after = renderer(rows)
        for row, one, other in zip(rows, before.cpu(), after.cpu(), strict=True):
            yield one, other, float(pairs.level[row])

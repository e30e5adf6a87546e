"""Which pseudo-pairs are dropped, and why: pure functions of their scores, so that the same pairs always go."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .settings import PairsConfig
from .types import PAIR_LEVELS, PAIR_ORIGINS

REASONS = ("kept", "reconstruction", "saturated", "flat", "duplicate", "identity", "quality", "structure", "surplus")
"""In the order in which filters look; a pair is dropped by the first that objects, and counted there."""
SYNTHETIC, PHOTO, ANCHOR = (PAIR_ORIGINS.index(origin) for origin in ("synthetic", "photo", "anchor"))


def filter_pairs(
    level: Tensor, origin: Tensor, scores: Mapping[str, Tensor], repeated: Tensor, config: PairsConfig
) -> Tensor:
    """`[N]` int64 into `REASONS`: 0 for pairs that stay.

    Args:
        level, origin: `[N]` as in `StylePairs`.
        scores: `[N]` each by name; a pair without a score (NaN) is not dropped for it.
        repeated: `[N]` bool, faces that an earlier pair shows already.
        config: the thresholds.

    The shares of `quality` and `structure` are of each level and origin by itself, of what filters before have left;
    equal scores at the boundary all stay. The quality of true pictures is not questioned: anchors, photos at level 0.
    """
    verdict = torch.zeros(len(level), dtype=torch.long)

    def drop(reason: str, bad: Tensor) -> None:
        verdict[(verdict == 0) & bad] = REASONS.index(reason)

    drop("reconstruction", scores["reconstruction_error"] > config.max_reconstruction_error)
    drop("saturated", scores["saturation"] > config.max_saturated)
    drop("flat", scores["contrast"] < config.min_contrast)
    drop("duplicate", repeated)
    for k, least in config.min_identity.items():
        drop("identity", (level == k) & (scores["identity"] < least))
    groups = [(level == k) & (origin == o) for k in PAIR_LEVELS for o in range(len(PAIR_ORIGINS))]
    for group in groups:
        questioned = group & (origin != ANCHOR) & ~((origin == PHOTO) & (level == 0))
        drop("quality", _worst(-scores["quality"], questioned & (verdict == 0), config.drop_quality))
    for group in groups:
        drop("structure", _worst(scores["structure"], group & (verdict == 0), config.drop_structure))
    for group in groups:
        mine = group & (origin == SYNTHETIC) & (verdict == 0)
        drop("surplus", mine & (mine.cumsum(0) > config.count))
    return verdict


def _worst(badness: Tensor, among: Tensor, share: float) -> Tensor:
    """`[N]` bool: the `share` of `among` with the greatest badness, without those that equal the best who stay."""
    judged = among & ~torch.isnan(badness)
    values = badness[judged].sort(descending=True).values
    going = int(share * len(values))
    if going == 0:
        return torch.zeros_like(among)
    return judged & (badness > values[going])


def drop_counts(level: Tensor, origin: Tensor, verdict: Tensor) -> list[dict[str, int | str]]:
    """A row for each level and origin that was made: how many, how many each filter dropped, how many are kept."""
    rows: list[dict[str, int | str]] = []
    for k in PAIR_LEVELS:
        for o, name in enumerate(PAIR_ORIGINS):
            mine = verdict[(level == k) & (origin == o)]
            if len(mine):
                tally = {reason: int((mine == i).sum()) for i, reason in enumerate(REASONS)}
                rows.append({"level": k, "origin": name, "made": len(mine), **tally})
    return rows

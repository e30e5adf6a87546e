"""Pseudo-pairs, as they travel between nodes (socket STYLE_PAIRS)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...models.types import FaceGenerator
from ..kit.fingerprint import fingerprint

PAIR_LEVELS = (0, 1, 2, 3)
"""How much style a pseudo-pair's target has: none, colour and texture, parts, all of it."""
PAIR_ORIGINS = ("synthetic", "photo", "anchor")
"""Where a pseudo-pair's face comes from: the source generator, a photo of a person, a picture of the style."""


@dataclass(frozen=True)
class GeneratorReference:
    """Which generator some pairs were made with."""

    w_space: str
    """Its `FaceGenerator.w_space`."""
    digest: str
    """Its `FaceGenerator.digest`."""
    style: str
    resolution: int

    @classmethod
    def of(cls, generator: FaceGenerator) -> GeneratorReference:
        """The reference to a generator."""
        return cls(generator.w_space, generator.digest, generator.style, generator.resolution)


@dataclass(frozen=True, eq=False)
class StylePairs:
    """Pseudo-pairs: faces before and after a style, as latents from which the pictures are drawn (STYLE_PAIRS).

    Pair i shows, before: `photos[picture[i]]` where its origin is a photo, else `G_s(w_plus[i])`. After: the same
    picture at level 0; `style_pictures[picture[i]]` where its origin is an anchor; else `B_k(target_w_plus[i])`, the
    blend of source and target generator of its level. Both sides are then mirrored and moved alike.
    """

    w_plus: Tensor
    """`[N, num_ws, w_dim]`: the face before the style; for a photo, the code that was found for it."""
    target_w_plus: Tensor | None
    """`[N, num_ws, w_dim]`: the face after it, where an anchor's input code has other colours; None: all are equal."""
    level: Tensor
    """`[N]` int64 in 0..3, see `PAIR_LEVELS`."""
    origin: Tensor
    """`[N]` int64, an index into `PAIR_ORIGINS`."""
    picture: Tensor
    """`[N]` int64: index into `photos` or `style_pictures`, -1 for synthetic pairs."""
    flip: Tensor
    """`[N]` bool: both sides are mirrored."""
    affine: Tensor
    """`[N, 4]` float32, of both sides: rotation in degrees, scale, and shift right and down in parts of the side."""
    scores: Mapping[str, Tensor]
    """`[N]` float32 each, NaN where a pair was not judged; `training/pairs/scores.py` says what they are."""
    photos: Tensor
    """`[P, 3, R, R]` uint8."""
    style_pictures: Tensor
    """`[A, 3, R, R]` uint8."""
    source: GeneratorReference
    target: GeneratorReference
    blend: Mapping[int, Mapping[int, float]]
    """For levels 1 and 2: share of the target generator per block resolution."""
    whole_palette: bool
    """Whether blends take every projection to RGB from the target generator."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Settings, and what each filter dropped: plain values, for people."""

    def __len__(self) -> int:
        return self.w_plus.shape[0]

    def select(self, chosen: Tensor) -> StylePairs:
        """The pairs that a mask `[N]` bool keeps, or those at indices `[M]` in that order; pictures go with them."""
        rows = torch.nonzero(chosen)[:, 0] if chosen.dtype == torch.bool else chosen.long()
        if chosen.dtype == torch.bool and chosen.shape != (len(self),):
            raise ValueError(f"A mask of shape {list(chosen.shape)} cannot choose from {len(self)} pairs.")
        rows = rows.to(self.level.device)
        origin, picture = self.origin[rows], self.picture[rows].clone()
        stores = {}
        for name, kind in (("photos", "photo"), ("style_pictures", "anchor")):
            mine = origin == PAIR_ORIGINS.index(kind)
            used, place = torch.unique(picture[mine], return_inverse=True)
            picture[mine] = place
            stores[name] = getattr(self, name)[used]
        return self.replace(
            w_plus=self.w_plus[rows],
            target_w_plus=None if self.target_w_plus is None else self.target_w_plus[rows],
            level=self.level[rows],
            origin=origin,
            picture=picture,
            flip=self.flip[rows],
            affine=self.affine[rows],
            scores={name: values[rows] for name, values in self.scores.items()},
            **stores,
        )

    def replace(self, **changes: Any) -> StylePairs:
        """A copy with the given fields changed."""
        return replace(self, **changes)


NOT_LEARNED_FROM = ("scores", "report", "source", "target")
"""Of pairs: what was measured and noted about them. Their generators have fingerprints of their own."""


def pairs_fingerprint(pairs: StylePairs) -> str:
    """Of everything in pairs that decides what they look like."""
    return fingerprint({name: value for name, value in vars(pairs).items() if name not in NOT_LEARNED_FROM})

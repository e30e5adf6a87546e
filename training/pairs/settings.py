"""Settings of pseudo-pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import AUTOMATIC, any_seed, share

# The same as `models/types.py: PAIR_LEVELS`; importing that would load torch, and nodes read their widgets from here.
LEVELS = (0, 1, 2, 3)

APPEARANCE_LAYER = 7
"""The first code of W+ that changes appearance and not shape, from 128 px up (MindTheGap, Zhu et al., arXiv 2110.08398;
DualStyleGAN, Yang et al., arXiv 2203.13248)."""
APPEARANCE_LAYER_64 = 5


@dataclass(frozen=True)
class PairsConfig:
    """Multi-level pseudo-pairs: faces before and after a style, made with the generators before and after it."""

    count: int = setting(
        2000,
        "Synthetic pairs per level. More faces are drawn, so that this many are left after filtering.",
        (0, 1_000_000, 50),
        unit="pairs",
    )
    levels: str = setting(
        "0,1,2,3", "Levels of style to make. 0: none (both sides equal). 1: colour and texture. 2: parts. 3: all of it."
    )
    truncation_min: float = setting(
        0.5, "Smallest truncation psi of the synthetic faces; near 0 they resemble the average face.", (0.0, 1.5, 0.05)
    )
    truncation_max: float = setting(
        0.7,
        "Largest truncation psi of the synthetic faces; near 1 they are diverse, and some are broken.",
        (0.0, 1.5, 0.05),
    )
    drop_quality: float = setting(
        0.2,
        "Share of each level to drop: the pairs that the target's discriminator finds least like the style.",
        (0.0, 0.95, 0.05),
        unit="of each level",
    )
    drop_structure: float = setting(
        0.2,
        "Share of each level to drop: the pairs whose two sides differ most in structure.",
        (0.0, 0.95, 0.05),
        unit="of each level",
    )
    max_saturated: float = share(
        0.6, "Pairs in which a larger share of a picture is clipped to black, white or full colour are dropped."
    )
    min_contrast: float = setting(
        0.08,
        "Pairs with less contrast are dropped: standard deviation of brightness, in -1..1.",
        (0.0, 1.0, 0.01),
        place="text",
    )
    duplicate_bits: int = setting(
        4,
        "Faces whose 16 x 16 brightness patterns differ in at most this many bits count as one; -1 keeps them all.",
        (-1, 64, 1),
        unit="of 256 bits",
        place="text",
    )
    max_reconstruction_error: float = setting(
        0.06, "Photos with a larger reconstruction error are dropped: mean squared error, in -1..1.", (0.0, 4.0, 0.01)
    )
    min_identity_1: float = setting(
        0.4,
        "With an identity network: smallest likeness of the two sides at level 1 (1: the same face, 0: strangers).",
        (-1.0, 1.0, 0.05),
        place="text",
    )
    min_identity_2: float = setting(
        0.3, "With an identity network: smallest likeness of the two sides at level 2.", (-1.0, 1.0, 0.05), place="text"
    )
    min_identity_3: float = setting(
        0.2, "With an identity network: smallest likeness of the two sides at level 3.", (-1.0, 1.0, 0.05), place="text"
    )
    anchor_variants: int = setting(
        4, "Pairs per style picture, each with other random colours on the input side.", (1, 64, 1), place="advanced"
    )
    keep_anchor_colours: bool = setting(
        False,
        "The first pair of each style picture keeps the colours of its latent. Turn on if those are not the style's "
        "colours.",
        place="advanced",
    )
    appearance_layer: int = setting(
        AUTOMATIC,
        "First code of W+ that the random colours of style pictures replace. -1: 7, or 5 for generators of 64 px.",
        (-1, 26, 1),
        place="text",
    )
    flip_prob: float = share(0.5, "Share of pairs that are mirrored, both sides alike.", place="advanced")
    affine_prob: float = share(0.5, "Share of pairs that are rotated, enlarged and shifted a little, both sides alike.")
    max_rotation: float = setting(
        5.0, "Largest rotation of these pairs.", (0.0, 45.0, 1.0), unit="degrees", place="text"
    )
    max_scaling: float = setting(
        0.05,
        "Largest enlargement of these pairs, beyond the little that hides their borders.",
        (0.0, 0.5, 0.01),
        place="text",
    )
    max_shift: float = setting(
        0.02, "Largest shift of these pairs, as a share of the picture's side.", (0.0, 0.5, 0.01), place="text"
    )
    level_1_resolution: int = setting(
        64,
        "Level 1 takes blocks of this resolution and finer from the target generator.",
        (4, 4096, 4),
        unit="px",
        place="text",
    )
    level_2_resolution: int = setting(
        16,
        "Level 2 takes blocks of this resolution and finer from the target generator.",
        (4, 4096, 4),
        unit="px",
        place="text",
    )
    smoothness: float = setting(
        0.0,
        "Width of the soft edge between the source's and the target's blocks; 0 is a hard edge.",
        (0.0, 8.0, 0.25),
        unit="octaves",
        place="text",
    )
    whole_palette: bool = setting(
        True,
        "Take all projections to RGB from the target at levels 1 and 2, so that no tint of the source is left.",
        place="advanced",
    )
    batch_size: int = setting(8, "Faces drawn at once.", (1, 256, 1), unit="faces", place="text")
    seed: int = any_seed("Same seed, same generators, same settings: same pairs.")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.truncation_min > self.truncation_max:
            raise ValueError(
                f"`truncation_min` is {self.truncation_min} and `truncation_max` {self.truncation_max}; swap them."
            )
        if self.level_1_resolution < self.level_2_resolution:
            raise ValueError(
                f"`level_1_resolution` is {self.level_1_resolution} and `level_2_resolution` "
                f"{self.level_2_resolution}; level 1 changes less than level 2, so its resolution has to be higher."
            )
        _ = self.chosen_levels

    @property
    def chosen_levels(self) -> tuple[int, ...]:
        """The levels, ascending.

        Raises:
            ValueError: `levels` cannot be read.
        """
        parts = [part.strip() for part in self.levels.split(",") if part.strip()]
        known = {str(level): level for level in LEVELS}
        if not parts or any(part not in known for part in parts):
            raise ValueError(f"`levels` is {self.levels!r}; write some of 0, 1, 2 and 3 with commas between them.")
        return tuple(sorted({known[part] for part in parts}))

    @property
    def min_identity(self) -> dict[int, float]:
        """Least likeness by level; level 0 has none, its sides are equal."""
        return {1: self.min_identity_1, 2: self.min_identity_2, 3: self.min_identity_3}

    def appearance_from(self, num_ws: int) -> int:
        """`appearance_layer` for a generator with so many codes."""
        if self.appearance_layer != AUTOMATIC:
            return min(self.appearance_layer, num_ws)
        return APPEARANCE_LAYER if num_ws >= 12 else min(APPEARANCE_LAYER_64, num_ws // 2 + 1)

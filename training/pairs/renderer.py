"""The pictures of pseudo-pairs, drawn when they are asked for.

The same pairs, generators, machine and call give the same pictures to the bit. (Other groupings of pairs into calls may
differ in the last bit, as matrix products of other sizes do.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...latents.sampling import synthesise
from ...models.blending import blend_generators, swap_weights
from ...models.types import FaceGenerator, FaceLatent, device_of, name_of
from .settings import PairsConfig
from .types import PAIR_ORIGINS, GeneratorReference, StylePairs

BATCH = 8
IDENTITY = (0.0, 1.0, 0.0, 0.0)
"""The row of `StylePairs.affine` that moves nothing."""
PHOTO, ANCHOR = PAIR_ORIGINS.index("photo"), PAIR_ORIGINS.index("anchor")


def level_blends(config: PairsConfig, resolutions: Sequence[int]) -> dict[int, dict[int, float]]:
    """For levels 1 and 2: share of the target generator per block resolution, Toonify's layer swap.

    A generator too small for a level's resolution gives its finest block.
    """
    finest = max(resolutions)
    splits = {1: config.level_1_resolution, 2: config.level_2_resolution}
    return {
        level: swap_weights(resolutions, min(split, finest), smoothness=config.smoothness)
        for level, split in splits.items()
    }


def level_generators(
    source: FaceGenerator, target: FaceGenerator, blend: Mapping[int, Mapping[int, float]], whole_palette: bool
) -> tuple[FaceGenerator, ...]:
    """The generators of levels 0 to 3: the source, two blends, the target itself."""
    palette = 1.0 if whole_palette else None
    return (source, *(blend_generators(source, target, blend[level], palette) for level in (1, 2)), target)


class PairRenderer:
    """Draws pairs made with these two generators; build it once where many are drawn.

    Raises:
        ValueError: the pairs were made with other generators.
    """

    def __init__(
        self, pairs: StylePairs, source: FaceGenerator, target: FaceGenerator, batch_size: int = BATCH
    ) -> None:
        check_generators(pairs, source, target)
        self.pairs, self.batch_size = pairs, batch_size
        self.levels = level_generators(source, target, pairs.blend, pairs.whole_palette)
        self.device = device_of(source)

    def __call__(self, indices: Tensor | Sequence[int], move: bool = True) -> tuple[Tensor, Tensor]:
        """Both sides of the pairs at `indices [M]`: `[M, 3, R, R]` float32 on the source's device, not clamped.

        move: mirror and move them as the manifest says; without it they are as the generators draw them.
        """
        rows = torch.as_tensor(indices, dtype=torch.long).reshape(-1)
        # ComfyUI runs nodes in inference mode, whose tensors no training could use.
        with torch.inference_mode(False), torch.no_grad():
            before = self._first_sides(rows)
            after = self._second_sides(rows, before)
            if move:
                before, after = (move_pictures(side, self.pairs, rows) for side in (before, after))
        return before, after

    def targets(self, indices: Tensor | Sequence[int]) -> Tensor:
        """The second sides alone, moved; nothing is drawn of the first ones."""
        rows = torch.as_tensor(indices, dtype=torch.long).reshape(-1)
        with torch.inference_mode(False), torch.no_grad():
            return move_pictures(self._second_sides(rows), self.pairs, rows)

    def _first_sides(self, rows: Tensor) -> Tensor:
        pairs, sides = self.pairs, self._empty(rows)
        is_photo = pairs.origin[rows] == PHOTO
        sides[is_photo] = from_bytes(pairs.photos[pairs.picture[rows[is_photo]]]).to(self.device)
        sides[~is_photo] = self._paint(0, pairs.w_plus[rows[~is_photo]])
        return sides

    def _second_sides(self, rows: Tensor, first_sides: Tensor | None = None) -> Tensor:
        pairs, sides, level = self.pairs, self._empty(rows), self.pairs.level[rows]
        same = level == 0
        sides[same] = self._first_sides(rows[same]) if first_sides is None else first_sides[same]
        is_anchor = (pairs.origin[rows] == ANCHOR) & ~same
        sides[is_anchor] = from_bytes(pairs.style_pictures[pairs.picture[rows[is_anchor]]]).to(self.device)
        codes = pairs.w_plus if pairs.target_w_plus is None else pairs.target_w_plus
        for k in (1, 2, 3):
            chosen = (level == k) & ~is_anchor
            sides[chosen] = self._paint(k, codes[rows[chosen]])
        return sides

    def _empty(self, rows: Tensor) -> Tensor:
        size = self.pairs.source.resolution
        return torch.empty(len(rows), 3, size, size, device=self.device)

    def _paint(self, level: int, codes: Tensor) -> Tensor:
        return synthesise(self.levels[level], FaceLatent(codes), self.batch_size).to(self.device)


def move_pictures(pictures: Tensor, pairs: StylePairs, indices: Tensor | Sequence[int]) -> Tensor:
    """`pictures [M, 3, R, R]` mirrored and moved as the pairs at `indices` are; differentiable.

    Whoever compares a generator's own picture of a pair's code with the pair's target moves it the same way.
    Pictures that the manifest does not move come back as they were, to the bit.
    """
    rows = torch.as_tensor(indices, dtype=torch.long).reshape(-1)
    flip, affine = pairs.flip[rows], pairs.affine[rows]
    if bool(flip.any()):
        pictures = torch.where(flip.to(pictures.device)[:, None, None, None], pictures.flip(3), pictures)
    still = (affine == torch.tensor(IDENTITY)).all(1)
    if bool(still.all()):
        return pictures
    grid = F.affine_grid(_matrices(affine), list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid.to(pictures), mode="bicubic", padding_mode="reflection", align_corners=False)
    return torch.where(still.to(pictures.device)[:, None, None, None], pictures, moved)


def _matrices(affine: Tensor) -> Tensor:
    """`[M, 2, 3]`: where each place of the moved picture is looked up in the picture, in -1..1."""
    radians = affine[:, 0] * (math.pi / 180.0)
    scale, shift = affine[:, 1], 2.0 * affine[:, 2:]
    cosine, sine = torch.cos(radians) / scale, torch.sin(radians) / scale
    turn = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    return torch.cat([turn, -(turn @ shift[:, :, None])], 2)


def to_bytes(pictures: Tensor) -> Tensor:
    """`[N, 3, R, R]` in -1..1 as uint8 on the CPU."""
    return ((pictures.detach().float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8).cpu()


def from_bytes(pictures: Tensor) -> Tensor:
    """`[N, 3, R, R]` uint8 as float32 in -1..1."""
    return pictures.float() / 127.5 - 1.0


def check_generators(pairs: StylePairs, source: FaceGenerator, target: FaceGenerator) -> None:
    """Raises ValueError unless these are the two generators that the pairs were made with."""
    for role, made_with, given in (("source", pairs.source, source), ("target", pairs.target, target)):
        reference = GeneratorReference.of(given)
        if (reference.w_space, reference.digest) == (made_with.w_space, made_with.digest):
            continue
        whose = f"'{made_with.style}'" if made_with.style else "without a style"
        raise ValueError(
            f"These pairs were made with another {role} generator ({whose}, {made_with.resolution} px) than "
            f"{name_of(given)} ({given.resolution} px), which would draw other pictures. Load the one they were made "
            "with, or make pairs anew."
        )

"""What a fast stylizer learns from: rendered twins, pictures drawn by rule, and pairs that somebody made.

Batch number n depends on the seed and n alone, so a resumed run goes on with the pictures it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import box_blur, saturate
from ...models.media import medium_fields
from ...models.stylizer import MAX_LEVEL
from ...models.types import FaceGenerator
from ...procedural.backgrounds import draw_background, draw_shapes, uniform
from ...procedural.labels import Label
from ..kit.fingerprint import fingerprint, generator_fingerprint
from ..kit.randomness import at_step
from ..pairs.renderer import PairRenderer
from ..pairs.types import StylePairs, pairs_fingerprint
from . import randomise
from .randomise import between
from .rendered_pairs import Layers
from .targets import Target

FEATURES = (Label.EYE, Label.BROW, Label.UPPER_LIP, Label.LOWER_LIP, Label.MOUTH, Label.GLASSES)
DRAWN_AT_ONCE = 16
STUDIO_SHARE = 0.25
"""Enough for a sketch to leave the paper behind a face in a studio white; no other share was tried."""
Pair = tuple[Tensor, Tensor, float]
"""Source and target `[3, H, W]` in -1..1, and the level 0..3 of the target."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One iteration's pictures, all in -1..1."""

    input: Tensor
    """`[N, 3, S, S]`, what the network sees."""
    fields: Tensor
    """`[N, F, S, S]`, the medium's fields of it."""
    target: Tensor
    """`[N, 3, S, S]`, what it should draw."""
    level: Tensor
    """`[N]`, 0..3."""


Source = Callable[[int], Batch]
"""Batch number n, counted from 1."""


def rendered_pair_batches(
    twins: Layers,
    pictures: Sequence[Tensor],
    target: Target,
    medium: str,
    size: int,
    count: int,
    degrade: float,
    seed: int,
    twin_share: float = 0.55,
    studio_share: float = STUDIO_SHARE,
) -> Source:
    """Batches of twins and of other pictures, their targets made by a rule of `targets.py`.

    Args:
        twins: from `load_twins`; empty for none.
        pictures: uint8 `[3, H, W]`, photographs of anything; none will do.
        target, medium: of the look.
        size: side of the squares in pixels.
        count: squares in a batch.
        degrade: see `StylizerConfig`.
        seed: of everything.
        twin_share: share of rendered faces.
        studio_share: how many of those are shown as they were rendered: their own background, no other light, nothing
            before them, no pores; only the camera is bad. Their targets are made like all others.
    """

    share = twin_share if twins else 0.0

    def batch(step: int) -> Batch:
        generator = at_step(seed, step)
        inputs, targets, levels, fields = [], [], [], []
        for _ in range(count):
            layers: dict[str, Tensor] | None = None
            if uniform(generator) < share:
                clean, layers = twin_scene(twins, pictures, size, generator, studio_share)
            else:
                clean = other_scene(pictures, size, generator)
            seen = clean
            if layers is not None and not layers["studio"] and uniform(generator) < 0.7:
                seen = randomise.pores(seen, layers["figure"][0], generator)
            seen = randomise.degrade(seen, degrade, generator)[None] * 2 - 1
            field = medium_fields(medium, seen)
            full = target(clean[None], seen, field, layers)
            level = MAX_LEVEL if uniform(generator) < 0.7 else MAX_LEVEL * uniform(generator)
            inputs.append(seen)
            fields.append(field)
            targets.append(at_level(clean[None], full, level) * 2 - 1)
            levels.append(level)
        return Batch(torch.cat(inputs), torch.cat(fields), torch.cat(targets), torch.tensor(levels))

    return batch


def shown_twins(
    look: str, twins: Layers, pictures: Sequence[Tensor], studio_share: float = STUDIO_SHARE
) -> dict[str, Any]:
    """What decides the batches of a `rendered_pair_batches`, see `identity`."""
    return {
        "look": look,
        "faces": len(twins["photo"]) if twins else 0,
        "as_rendered": studio_share,
        "twins": fingerprint(twins),
        "pictures": fingerprint(pictures),
    }


def at_level(clean: Tensor, full: Tensor, level: float) -> Tensor:
    """How far the style goes at a level 0..3: first its texture over the picture's colours, then all of it (0..1)."""
    peak = box_blur(clean, 2).amax(1, keepdim=True)
    tint = saturate((clean + 0.08) / (peak + 0.08), 1.2)
    grey = full.amax(1, keepdim=True) - full.amin(1, keepdim=True)
    # A drawing without colour takes the photo's at level 2; a coloured one is what it is.
    coloured = torch.where(grey.mean((2, 3), keepdim=True) < 0.08, (full * tint).clamp(0, 1), full)
    if level >= 2:
        return torch.lerp(coloured, full, level - 2)
    return torch.lerp(clean, coloured, level / 2)


def twin_scene(
    twins: Layers, pictures: Sequence[Tensor], size: int, generator: torch.Generator, studio_share: float = STUDIO_SHARE
) -> tuple[Tensor, dict[str, Tensor]]:
    """A rendered face somewhere in a square `[3, S, S]`, and its layers `[1, C, S, S]` in 0..1.

    Of these `plain` (the background is the render's) and `studio` (nothing was changed) are `[1, 1, 1, 1]`, 0 or 1.
    """
    index = int(torch.randint(len(twins["photo"]), (1,), generator=generator))
    names = [name for name in twins if name != "label"]
    label = twins["label"][index].float()
    hair = (label == int(Label.HAIR)).float()
    brow = (label == int(Label.BROW)).float()
    features = sum((label == int(part)).float() for part in FEATURES)
    stack = torch.cat([twins[name][index].float() / 255 for name in names] + [hair, brow, torch.as_tensor(features)])
    side = stack.shape[-1]
    studio = uniform(generator) < studio_share
    plain = studio or uniform(generator) < 0.35
    # Pixels of the square per pixel of the render: heads from 60 to 350 pixels high.
    scale = math.exp(between(math.log(0.45), math.log(1.7), generator)) * min(1.0, size / 144)
    if scale < 0.6:
        stack, side, scale = F.avg_pool2d(stack[None], 2)[0], side // 2, scale * 2
    turn = between(-0.45, 0.45, generator) * (uniform(generator) < 0.6)
    mirror = -1.0 if uniform(generator) < 0.5 else 1.0
    reach = size / side / scale
    c, s = math.cos(turn) * reach, math.sin(turn) * reach
    loose = max(0.25, abs(1 - reach))
    x0, y0 = between(-loose, loose, generator) * 0.8, between(-loose, loose, generator) * 0.8
    matrix = torch.tensor([[[c * mirror, -s, x0], [s * mirror, c, y0]]])
    grid = F.affine_grid(matrix, [1, 1, size, size], align_corners=False)
    moved = F.grid_sample(stack[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    parts, start = {}, 0
    for name in [*names, "hair", "brow", "features"]:
        width = 3 if name in ("photo", "cartoon") else 1
        parts[name] = moved[:, start : start + width]
        start += width
    picture, figure = parts.pop("photo")[0], parts["figure"][0]
    parts["plain"], parts["studio"] = (torch.full((1, 1, 1, 1), float(flag)) for flag in (plain, studio))
    parts["known"] = torch.ones(1, 1, size, size)
    if studio:
        return picture, parts
    if not plain:
        picture = torch.lerp(randomise.place_background(size, size, pictures, generator), picture, figure)
    if uniform(generator) < 0.7:
        picture = randomise.add_strands(picture, parts["hair"][0], generator)
    if uniform(generator) < 0.8:
        picture = randomise.relight(picture, generator)
    if uniform(generator) < 0.25:
        picture = randomise.cast_shadow(picture, generator)
    if uniform(generator) < 0.3:
        picture, covered = randomise.occlude(picture, generator)
        parts["known"] = 1 - covered[None]
    return picture, parts


def other_scene(pictures: Sequence[Tensor], size: int, generator: torch.Generator) -> Tensor:
    """Anything but a face `[3, S, S]`: part of a picture where there are any, shapes and patterns."""
    if pictures and uniform(generator) < 0.7:
        scene = randomise.cut(pictures, size, size, generator)
    else:
        scene = draw_shapes(draw_background(size, size, generator), 2 + int(10 * uniform(generator)), generator)
        if uniform(generator) < 0.5:
            scene = box_blur(scene[None], 1)[0]
    scene = randomise.relight(scene, generator) if uniform(generator) < 0.6 else scene
    return randomise.cast_shadow(scene, generator) if uniform(generator) < 0.15 else scene


def pair_batches(
    pairs: Iterable[Pair], medium: str, size: int, count: int, degrade: float, pair_share: float, seed: int
) -> Source:
    """Batches cut out of pairs. `pair_share` of them are seen as they are, the others through a bad camera.

    Raises:
        ValueError: there are no pairs, or a source and its target differ in size.
    """
    kept = []
    for source, target, level in pairs:
        if source.shape != target.shape or source.ndim != 3 or source.shape[0] != 3:
            raise ValueError(
                f"A pair has pictures {list(source.shape)} and {list(target.shape)}; both must be [3, height, width]."
            )
        both = ((torch.stack([source, target]).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        kept.append((both, float(level)))
    if not kept:
        raise ValueError("There are no pairs to learn from. Give at least one picture and its stylised version.")

    def batch(step: int) -> Batch:
        generator = at_step(seed, step)
        inputs, targets, levels = [], [], []
        for _ in range(count):
            both, level = kept[int(torch.randint(len(kept), (1,), generator=generator))]
            square = _square(both.float() / 255, size, generator)
            clean = square[0]
            if uniform(generator) >= pair_share:
                clean = randomise.degrade(clean, degrade, generator)
            inputs.append(clean * 2 - 1)
            targets.append(square[1] * 2 - 1)
            levels.append(level)
        stacked = torch.stack(inputs)
        return Batch(stacked, medium_fields(medium, stacked), torch.stack(targets), torch.tensor(levels))

    return batch


def shown_pictures(pairs: Sequence[Pair]) -> dict[str, Any]:
    """What decides the batches of a `pair_batches`, see `identity`."""
    return {"pairs": fingerprint(pairs)}


def _square(both: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The same random square `[2, 3, size, size]` of a source and its target, mirrored half the time."""
    rows, columns = both.shape[-2:]
    shorter = min(rows, columns)
    side = max(1, min(shorter, int(size * math.exp(between(-0.35, 0.5, generator)))))
    if shorter <= 1.4 * size and uniform(generator) < 0.5:
        side = shorter
    top = int(torch.randint(rows - side + 1, (1,), generator=generator))
    left = int(torch.randint(columns - side + 1, (1,), generator=generator))
    part = both[..., top : top + side, left : left + side]
    part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=side > size, align_corners=False)
    return part.flip(3) if uniform(generator) < 0.5 else part


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
    for start in range(0, len(pairs), DRAWN_AT_ONCE):
        rows = list(range(start, min(start + DRAWN_AT_ONCE, len(pairs))))
        before, after = renderer(rows)
        for row, one, other in zip(rows, before.cpu(), after.cpu(), strict=True):
            yield one, other, float(pairs.level[row])

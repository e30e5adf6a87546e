"""Rendered people for benchmarks: held-out people in every look, and pictures of each look that no training sees.

Drawing them takes minutes a look, so a folder keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..procedural import LOOKS, Renderer, can_compile, parameters_from_z, sample_parameters
from ..training.embedded.config import EmbeddedConfig
from ..training.embedded.dataset import HELD_OUT_SEED, shard_z
from ..training.embedded.styles import STYLE_SEED
from ..training.loop import write_atomically

PEOPLE = 256
OTHERS_SEED = STYLE_SEED + 100
"""People of the pictures a style is compared with; they are in no style set."""


@dataclass(frozen=True, eq=False)
class Renders:
    """What one look shows, as pictures `[N, 3, S, S]` in -1..1. The photo look has no style pictures."""

    look: str
    held: Tensor
    """The same held-out people in every look, in the same order: pictures of two looks are true twins."""
    labels: Tensor
    """Their label maps `[N, S, S]`."""
    style: Tensor
    """The pictures an embedded style is trained on."""
    others: Tensor
    """Pictures of the look that nothing is trained on."""


def renders(look: str, size: int, folder: Path) -> Renders:
    """A look's renders from `folder`, or drawn now and kept there."""
    path = folder / f"{look}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        drawn = _draw(look, size)
        write_atomically(path, lambda file: torch.save(drawn, file))
    known = torch.load(path, weights_only=True)
    none = torch.empty(0, 3, size, size)
    return Renders(look, known["held"], known["labels"].long(), known.get("style", none), known.get("others", none))


def _draw(look: str, size: int) -> dict[str, Tensor]:
    renderer = Renderer(compiled=can_compile())
    held = renderer.render(parameters_from_z(shard_z(HELD_OUT_SEED, PEOPLE)), size, look, fast=True)
    drawn = {"held": held.image, "labels": held.labels}
    if look != "photo":
        number = list(LOOKS).index(look)
        sets = ("style", STYLE_SEED, EmbeddedConfig().style_images), ("others", OTHERS_SEED, PEOPLE)
        for name, seed, count in sets:
            people = sample_parameters(count, torch.Generator().manual_seed(seed + number))
            drawn[name] = renderer.render(people, size, look, fast=True).image
    return drawn

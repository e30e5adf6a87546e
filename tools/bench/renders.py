"""Rendered people for benchmarks: held-out people in every look, and pictures of each look that no training sees.

Drawing them takes minutes a look, so a folder keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...core.files import write_atomically
from ...procedural import LOOKS, Renderer, can_compile, parameters_from_z, sample_parameters
from ..embedded.config import EmbeddedConfig
from ..embedded.dataset import HELD_OUT_SEED, shard_z
from ..embedded.styles import STYLE_SEED

PEOPLE = 256
OTHERS_SEED = STYLE_SEED + 100
"""People of the pictures a style is compared with; they are in no style set."""


@dataclass(frozen=True, eq=False)
class Renders:
    """What one look shows, as pictures `[N, 3, S, S]` in -1..1. The photo look has no `others`."""

    look: str
    held: Tensor
    """The same held-out people in every look, in the same order: pictures of two looks are true twins."""
    labels: Tensor
    """Their label maps `[N, S, S]`."""
    style: Tensor
    """The pictures an embedded style is trained on."""
    others: Tensor
    """Pictures of the look that nothing is trained on."""
    landmarks: Tensor = torch.empty(0, 68, 2)
    """Of the held-out people `[N, 68, 2]`, in pixels."""


def renders(look: str, size: int, folder: Path, people: int = PEOPLE) -> Renders:
    """A look's renders from `folder`, or drawn now and kept there; the first `people` of held-out ones and of others.

    Fewer than all are taken from the file of all where it is there, and drawn without the style pictures where not.
    """
    path = folder / f"{look}.pt"
    if people < PEOPLE and not path.exists():
        path = folder / f"{look}-{size}-{people}.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        drawn = _draw(look, size, people)
        write_atomically(path, lambda file: torch.save(drawn, file))
    known = torch.load(path, weights_only=True)
    held, labels = known["held"][:people], known["labels"][:people].long()
    style, others = (known.get(name, torch.empty(0, 3, size, size)) for name in ("style", "others"))
    return Renders(look, held, labels, style, others[:people], known["landmarks"][:people])


def _draw(look: str, size: int, count: int) -> dict[str, Tensor]:
    whole = count == PEOPLE
    # Compiling takes minutes, and makes rendering several times faster.
    renderer = Renderer(compiled=whole and can_compile())
    held = renderer.render(parameters_from_z(shard_z(HELD_OUT_SEED, PEOPLE)[:count]), size, look, fast=True)
    drawn = {"held": held.image, "labels": held.labels, "landmarks": held.landmarks}
    number = list(LOOKS).index(look)
    sets = {"style": (STYLE_SEED, EmbeddedConfig().style_images)} if whole else {}
    if look != "photo":
        sets["others"] = OTHERS_SEED, count
    for name, (seed, people) in sets.items():
        parameters = sample_parameters(people, torch.Generator().manual_seed(seed + number))
        drawn[name] = renderer.render(parameters, size, look, fast=True).image
    return drawn

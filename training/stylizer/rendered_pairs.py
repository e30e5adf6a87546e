"""Rendered faces with what each medium needs to draw their twins, kept on disk as bytes.

A finished twin would fix where its strokes lie. Layers leave that open: tone, drawn features and outlines of the
sketch, the flat picture of the cartoon, the label map. A medium lays strokes over them on the same grid as over
the network's input, at any size of the face, so that every stroke of the target can be foreseen.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.files import write_atomically
from ...procedural import Renderer, can_compile, parameters_from_z, sample_z, select
from ...procedural.camera import make_scene
from ...procedural.labels import Label
from ...procedural.looks.cartoon import CARTOON
from ...procedural.looks.sketch import background_tone, features, outlines, pencil_tone

CHUNK = 4
SUPERSAMPLE = 2
FORMAT = 1
WORTH_COMPILING = 16
"""So many faces and more are rendered by compiled kernels, where a C++ compiler is there."""
TWIN_SEED = 120_000
"""The people of the twins; no other set shows them."""

Layers = dict[str, Tensor]
"""uint8: `photo` and `cartoon` `[N, 3, S, S]`, `label` `[N, 1, S, S]` (values of `Label`), and 0..255 for 0..1
`[N, 1, S, S]`: `figure` (coverage), `tone` (255 is paper), `marks` (darkness of lids, lips and brows), `line` (of
outlines), `eye` (of the open eye) and `open_eye` (its coverage)."""


@torch.no_grad()
def render_layers(renderer: Renderer, z: Tensor, size: int) -> Layers:
    """The layers of the people of z `[N, Z_DIM]`, `size` pixels square."""
    parts: list[Layers] = []
    people = parameters_from_z(z)
    fine = size * SUPERSAMPLE
    footprint = 2.2 / fine
    for start in range(0, len(z), CHUNK):
        s = make_scene(select(people, slice(start, start + CHUNK)))
        g = renderer.gbuffer(s, fine)
        photo, label = renderer.shade("photo", s, g, footprint)
        eye, open_eye, marks = features(s, g, label, footprint)
        figure = (label != int(Label.BACKGROUND)).float()
        tone = torch.where(figure > 0, pencil_tone(s, g, label, photo), background_tone(s, g))
        # The cartoon's own proportions would leave a network nothing to follow on a photo.
        cartoon, _ = CARTOON.shade(s, renderer.gbuffer(s, fine, CARTOON.texture), footprint)
        soft = {
            "photo": photo,
            "cartoon": cartoon,
            "figure": figure,
            "tone": tone,
            "marks": marks,
            "line": outlines(s, g),
            "eye": eye * open_eye,
            "open_eye": open_eye,
        }
        part = {
            name: (F.avg_pool2d(layer.float(), SUPERSAMPLE) * 255).round().clamp(0, 255).to(torch.uint8)
            for name, layer in soft.items()
        }
        part["label"] = label[..., SUPERSAMPLE // 2 :: SUPERSAMPLE, SUPERSAMPLE // 2 :: SUPERSAMPLE].to(torch.uint8)
        parts.append(part)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def load_twins(
    folder: Path,
    count: int,
    size: int,
    seed: int = TWIN_SEED,
    renderer: Renderer | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    shard: int = 16,
) -> Layers:
    """Layers of `count` people, rendered where they are not in `folder` yet, in files of `shard` people each."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Layers] = []
    for start in range(0, count, shard):
        path = folder / f"twins-{FORMAT}-{size}-{shard}-{seed + start}.pt"
        if not path.exists():
            # Compiling takes minutes, and makes rendering several times faster.
            renderer = renderer or Renderer(compiled=count >= WORTH_COMPILING and can_compile())
            z = sample_z(shard, torch.Generator().manual_seed(seed + start))
            layers = render_layers(renderer, z, size)
            write_atomically(path, lambda file, layers=layers: torch.save(layers, file))  # type: ignore[misc]
        parts.append(torch.load(path, weights_only=True))
        if on_progress is not None:
            on_progress(min(start + shard, count), count)
    return {name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]}

"""The embedded styles: stage 1 of the method on unpaired rendered pictures of each look."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models import checkpoints
from ...models.types import FaceGenerator
from ...procedural import LOOKS, render, sample_parameters
from ..config import FinetuneConfig, from_mapping, to_mapping
from ..finetune import digest, finetune
from ..loop import Callbacks, write_atomically
from .config import EmbeddedConfig

STYLE_SEED = 70_000
"""The people of the style sets; no other set shows them."""

SETTINGS: Mapping[str, Any] = {
    "batch_size": 4, "learning_rate": 1e-4, "discriminator_learning_rate": 2e-3, "r1_gamma": 0.4, "augment": "off",
    "semantic_weight": 1.5,
}
"""Many cheap steps, and a generator slow enough for its narrow discriminator to keep up."""

STYLE_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cartoon": {"match_palette": False},
    "chibi": {"match_palette": False, "keep_shape": 0.3},
    # Nothing of a photo survives in a sketch: the discriminator wins at once unless it is held back.
    "sketch": {
        "learning_rate": 3e-4, "discriminator_learning_rate": 1e-3, "r1_gamma": 3.0, "freeze_palette": True,
        "semantic_weight": 4.0, "steps": 500,
    },
    "impasto": {"learning_rate": 2e-4, "semantic_weight": 3.0, "steps": 700},
    "fantasy": {"learning_rate": 2e-4, "steps": 1000},
}
"""What a look needs on top; the drawn ones have a photo's palette."""


def style_pictures(look: str, count: int, size: int) -> Tensor:
    """`count` unpaired pictures of a look `[N, 3, size, size]` -1..1: other people in every look."""
    offset = list(LOOKS).index(look)
    people = sample_parameters(count, torch.Generator().manual_seed(STYLE_SEED + offset))
    return render(people, size, look).image


def style_settings(look: str, config: EmbeddedConfig) -> FinetuneConfig:
    """The settings a look is fine-tuned with."""
    settings = {"steps": config.style_steps, **SETTINGS, **STYLE_SETTINGS.get(look, {})}
    settings["steps"] = min(settings["steps"], config.style_steps)
    return from_mapping(FinetuneConfig, {"style_name": look, "seed": config.seed, **settings})


def recipe(source: FaceGenerator, look: str, config: EmbeddedConfig) -> str:
    """A short hash of all that decides how a look's style comes out, apart from the renderer."""
    parts = [
        digest(source.generator.state_dict().values()),
        digest(source.discriminator.state_dict().values()) if source.discriminator is not None else "",
        to_mapping(style_settings(look, config)),
        config.style_images,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def train_style(
    source: FaceGenerator, look: str, config: EmbeddedConfig, work_dir: Path, callbacks: Callbacks | None = None
) -> FaceGenerator:
    """The source fine-tuned to a look, resumable in `work_dir`; its provenance names its `recipe`."""
    pictures_path = work_dir / f"style-{look}-{config.style_images}-{config.resolution}.pt"
    if not pictures_path.exists():
        drawn = style_pictures(look, config.style_images, config.resolution)
        write_atomically(pictures_path, lambda file: torch.save(drawn, file))
    pictures = torch.load(pictures_path, weights_only=True)
    made_by = recipe(source, look, config)
    run_dir = work_dir / f"run-style-{look}-{made_by}"
    style = finetune(source, pictures, style_settings(look, config), callbacks, run_dir, resume=True).generator
    return style.replace(provenance={**style.provenance, "recipe": made_by})


def save_style(style: FaceGenerator, look: str, assets_dir: Path, minutes: float, config: EmbeddedConfig) -> None:
    """Writes `style-<look>.safetensors`: the generator alone, in half precision."""
    bare = dataclasses.replace(style, discriminator=None, style=look)
    metadata = {
        "licence": "MIT; rendered faces, no photographs were used",
        "description": LOOKS[look].description,
        "style_pictures": str(config.style_images),
        "minutes": f"{minutes:.1f}",
        "recipe": style.provenance.get("recipe", ""),
    }
    checkpoints.save_generator(bare, assets_dir / f"style-{look}.safetensors", metadata, half=True)


def is_current(path: Path, made_by: str) -> bool:
    """Whether a style's file is there and was made by this `recipe`."""
    try:
        return checkpoints.inspect(path).metadata.get("recipe") == made_by
    except checkpoints.CheckpointError:
        return False


def train_styles(
    source: FaceGenerator, config: EmbeddedConfig, work_dir: Path, assets_dir: Path, callbacks: Callbacks | None = None
) -> None:
    """One style per look, each skipped when its file says that the same recipe made it."""
    for look in LOOKS:
        if look == "photo" or is_current(assets_dir / f"style-{look}.safetensors", recipe(source, look, config)):
            continue
        started = time.monotonic()
        style = train_style(source, look, config, work_dir, callbacks)
        save_style(style, look, assets_dir, (time.monotonic() - started) / 60, config)

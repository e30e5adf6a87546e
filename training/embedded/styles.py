"""The embedded styles: stage 1 of the method on unpaired rendered pictures of each look."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models import checkpoints
from ...models.types import FaceGenerator
from ...procedural import LOOKS, render, sample_parameters
from ..config import FinetuneConfig
from ..finetune import finetune
from ..loop import Callbacks
from .config import EmbeddedConfig

STYLE_SEED = 70_000
"""The people of the style sets; no other set shows them."""

STYLE_SETTINGS: Mapping[str, Mapping[str, Any]] = {}
"""What a look needs other than the defaults of `FinetuneConfig`."""


def style_pictures(look: str, count: int, size: int) -> Tensor:
    """`count` unpaired pictures of a look `[N, 3, size, size]` -1..1: other people in every look."""
    offset = list(LOOKS).index(look)
    people = sample_parameters(count, torch.Generator().manual_seed(STYLE_SEED + offset))
    return render(people, size, look).image


def train_style(
    source: FaceGenerator, look: str, config: EmbeddedConfig, work_dir: Path, callbacks: Callbacks | None = None
) -> FaceGenerator:
    """The source fine-tuned to a look, resumable in `work_dir`."""
    pictures_path = work_dir / f"style-{look}.pt"
    if not pictures_path.exists():
        torch.save(style_pictures(look, config.style_images, config.resolution), pictures_path)
    pictures = torch.load(pictures_path, weights_only=True)
    settings = FinetuneConfig(
        style_name=look, steps=config.style_steps, seed=config.seed, **STYLE_SETTINGS.get(look, {})
    )
    return finetune(source, pictures, settings, callbacks, work_dir / f"run-style-{look}", resume=True).generator


def save_style(style: FaceGenerator, look: str, assets_dir: Path, minutes: float, config: EmbeddedConfig) -> None:
    """Writes `style-<look>.safetensors`: the generator alone, in half precision."""
    bare = dataclasses.replace(style, discriminator=None, style=look)
    metadata = {
        "licence": "MIT; rendered faces, no photographs were used",
        "description": LOOKS[look].description,
        "style_pictures": str(config.style_images),
        "minutes": f"{minutes:.1f}",
    }
    checkpoints.save_generator(bare, assets_dir / f"style-{look}.safetensors", metadata, half=True)


def train_styles(
    source: FaceGenerator, config: EmbeddedConfig, work_dir: Path, assets_dir: Path, callbacks: Callbacks | None = None
) -> None:
    """One style per look, each skipped when its file is there and newer than the generator it starts from."""
    generator_file = assets_dir / "generator.safetensors"
    for look in LOOKS:
        path = assets_dir / f"style-{look}.safetensors"
        if look == "photo" or (path.exists() and path.stat().st_mtime > generator_file.stat().st_mtime):
            continue
        started = time.monotonic()
        style = train_style(source, look, config, work_dir, callbacks)
        save_style(style, look, assets_dir, (time.monotonic() - started) / 60, config)

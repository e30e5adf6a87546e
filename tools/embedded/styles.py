"""The embedded styles: both stages of the method on unpaired rendered pictures of each look.

The shipped encoder, which has seen photo-like renders only, reads the style pictures as the photos they would be of;
these codes and the pictures themselves are the pairs of stage 2.
"""

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

from ...core.callbacks import Callbacks
from ...core.files import write_atomically
from ...core.settings import from_mapping, to_mapping
from ...models import checkpoints
from ...models.types import FaceEncoder, FaceGenerator
from ...procedural import LOOKS, render, sample_parameters
from ...training.data.inputs import digest
from ...training.finetune.run import finetune
from ...training.finetune.settings import FinetuneConfig
from ...training.pairs.anchors import destylise
from ...training.pairs.making import make_pairs
from ...training.pairs.settings import PairsConfig
from ...training.pairs.supervise import supervise
from ...training.pairs.supervision_settings import PairSupervisionConfig
from .config import EmbeddedConfig

STYLE_SEED = 70_000
"""The people of the style sets; no other set shows them."""

SETTINGS: Mapping[str, Any] = {
    "batch_size": 4,
    "learning_rate": 5e-4,
    "discriminator_learning_rate": 2e-3,
    "r1_gamma": 0.4,
    "augment": "off",
    "match_palette": True,
    "semantic_weight": 1.5,
    "preview_interval": 0,
}
"""Stage 1: short, for it has only to bring palette and discriminator near the style before the pairs take over."""

STYLE_SETTINGS: Mapping[str, Mapping[str, Any]] = {"chibi": {"keep_shape": 0.3}, "sketch": {"freeze_palette": True}}

PAIR_SETTINGS: Mapping[str, Any] = {
    "batch_size": 4,
    "free_batch_size": 2,
    "learning_rate": 2e-3,
    "discriminator_learning_rate": 2e-3,
    "preview_interval": 50,
}
STYLE_PAIR_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cartoon": {
        "adversarial_weight": 1.0,
        "semantic_weight": 0.3,
        "discriminator_learning_rate": 5e-3,
        "stroke_freedom": 0.3,
    },
    "chibi": {"keep_shape": 0.3},
    "impasto": {"adversarial_weight": 1.0, "stroke_freedom": 1.0, "noise_strength": 0.1},
    "sketch": {
        "discriminator_learning_rate": 1e-3,
        "freeze_palette": True,
        "stroke_freedom": 0.5,
        "noise_strength": 0.05,
        "learn_noise": True,
    },
}
"""What was tried for each stands in decision 011. The cartoon's quick discriminator draws what pairs leave soft."""

ANCHORS = PairsConfig(
    count=0,
    levels="3",
    anchor_variants=2,
    keep_anchor_colours=True,
    affine_prob=0.0,
    drop_quality=0.0,
    drop_structure=0.05,
    max_saturated=1.0,
    min_contrast=0.0,
    duplicate_bits=-1,
)
"""Every style picture becomes a pair, as it is and perhaps mirrored; the few whose structure was missed go."""


def style_pictures(look: str, count: int, size: int, compiled: bool = False) -> Tensor:
    """`count` unpaired pictures of a look `[N, 3, size, size]` -1..1: other people in every look."""
    offset = list(LOOKS).index(look)
    people = sample_parameters(count, torch.Generator().manual_seed(STYLE_SEED + offset))
    return render(people, size, look, compiled=compiled).image


def style_settings(look: str, config: EmbeddedConfig) -> FinetuneConfig:
    """The settings a look is fine-tuned with."""
    settings = {"steps": config.style_steps, **SETTINGS, **STYLE_SETTINGS.get(look, {})}
    settings["steps"] = min(settings["steps"], config.style_steps)
    return from_mapping(FinetuneConfig, {"style_name": look, "seed": config.seed, **settings})


def pair_settings(look: str, config: EmbeddedConfig) -> PairSupervisionConfig:
    """The settings a look learns on with from pairs."""
    steps = config.style_pair_steps
    own = STYLE_PAIR_SETTINGS.get(look, {})
    values = {"steps": steps, "seed": config.seed, "discriminator_alone": min(20, steps - 1), **PAIR_SETTINGS, **own}
    return from_mapping(PairSupervisionConfig, values)


def recipe(source: FaceGenerator, look: str, config: EmbeddedConfig) -> str:
    """A short hash of what decides how a look's style comes out, apart from the renderer, the encoder and `ANCHORS`."""
    parts = [
        digest(source.generator.state_dict().values()),
        digest(source.discriminator.state_dict().values()) if source.discriminator is not None else "",
        to_mapping(style_settings(look, config)),
        to_mapping(pair_settings(look, config)),
        config.style_images,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def train_style(
    source: FaceGenerator,
    encoder: FaceEncoder,
    look: str,
    config: EmbeddedConfig,
    work_dir: Path,
    callbacks: Callbacks | None = None,
) -> FaceGenerator:
    """The source fine-tuned to a look in both stages, resumable in `work_dir`; its provenance names its `recipe`."""
    pictures_path = work_dir / f"style-{look}-{config.style_images}-{config.resolution}.pt"
    if not pictures_path.exists():
        drawn = style_pictures(look, config.style_images, config.resolution, config.compiled)
        write_atomically(pictures_path, lambda file: torch.save(drawn, file))
    pictures = torch.load(pictures_path, weights_only=True)
    made_by = recipe(source, look, config)
    run_dir = work_dir / f"run-style-{look}-{made_by}"
    first = finetune(source, pictures, style_settings(look, config), callbacks, run_dir, resume=True).generator
    anchors = destylise(source, None, pictures, encoder)
    pairs = make_pairs(source, first, ANCHORS, anchors)
    learned = supervise(source, first, pairs, pair_settings(look, config), callbacks, run_dir / "pairs", resume=True)
    style = learned.generator
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
    source: FaceGenerator,
    encoder: FaceEncoder,
    config: EmbeddedConfig,
    work_dir: Path,
    assets_dir: Path,
    callbacks: Callbacks | None = None,
) -> None:
    """One style per look, each skipped when its file says that the same recipe made it."""
    for look in LOOKS:
        if look == "photo" or is_current(assets_dir / f"style-{look}.safetensors", recipe(source, look, config)):
            continue
        started = time.monotonic()
        style = train_style(source, encoder, look, config, work_dir, callbacks)
        save_style(style, look, assets_dir, (time.monotonic() - started) / 60, config)

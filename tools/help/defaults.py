"""Defaults in the documentation, from the settings' declarations: between `<!-- NAME: begin -->` and its end."""

from __future__ import annotations

from pathlib import Path

from ...core.settings import fields_of
from ...training.base.settings import BaseTrainingConfig
from ...training.finetune.settings import FinetuneConfig
from ...training.inversion.settings import InversionConfig
from ...training.pairs.supervision_settings import PairSupervisionConfig
from ..bench.sections import fill_section
from .pages import written_default

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/method.md"
SECTIONS: dict[str, tuple[type, str]] = {
    "finetune": (
        FinetuneConfig,
        "semantic_weight keep_shape keep_structure keep_relations semantic_schedule learning_rate "
        "discriminator_learning_rate style_mixing_prob augment augment_probability ada_target ada_ramp r1_interval "
        "path_length_weight ema_decay match_palette match_texture",
    ),
    "train-pairs": (
        PairSupervisionConfig,
        "pair_weight anchor_weight level_1_weight level_2_weight level_3_weight edges_weight feature_weight "
        "adversarial_weight semantic_weight refine_codes stroke_freedom noise_strength learn_noise",
    ),
    "invert": (
        InversionConfig,
        "steps learning_rate pixel_weight feature_weight delta_penalty code_weight noise noise_regulariser w_share",
    ),
    "train-base": (BaseTrainingConfig, "perceptual_weight identity_weight adversarial_weight"),
}
"""The settings that a section of the page speaks of."""


def with_defaults(page: str) -> str:
    """The page with what the declarations say between its marks."""
    for name, (config, wanted) in SECTIONS.items():
        defaults = {spec.name: written_default(spec.default) for spec in fields_of(config)}
        line = ", ".join(f"`{field}` {defaults[field]}" for field in wanted.split())
        page = fill_section(page, name, [f"Defaults: {line}."])
    return page

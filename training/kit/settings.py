"""Settings that several trainings have, each with its range once; a training gives its default and its sentence."""

from __future__ import annotations

from typing import Any

from ...core.settings import setting

AUTOMATIC = -1
"""The value of `r1_gamma` and `freeze_d_blocks` that stands for "derive it from resolution and batch size"."""
SCHEDULES = ("cosine", "constant", "ramp_up")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
PIXELS = "Weight of the picture distance (mean absolute difference at several scales)."
FEATURES = "Weight of the distance in the discriminator's features; ignored if the generator has no discriminator."
AVERAGE = "Decay of the running average of the weights, which is the result; nearer 1 is smoother."


def weight(default: float, tooltip: str, *, step: float = 0.1, place: str = "text") -> Any:
    """The weight of a loss; 0 turns it off."""
    return setting(default, tooltip, (0.0, 100.0, step), place=place)


def share(default: float, tooltip: str, *, unit: str = "", place: str = "text") -> Any:
    """A probability, or a part of something."""
    return setting(default, tooltip, (0.0, 1.0, 0.05), unit=unit, place=place)


def interval(default: int, tooltip: str, limits: tuple[int, int, int]) -> Any:
    """Every how many iterations something is done."""
    return setting(default, tooltip, limits, unit="iterations", place="text")


def previews(default: int) -> Any:
    """`preview_interval`."""
    return interval(default, "A preview picture every this many iterations; 0: none.", (0, 10_000, 1))


def snapshots(default: int) -> Any:
    """`snapshot_interval`."""
    tooltip = "The state is saved every this many iterations, so that a killed run can resume."
    return interval(default, tooltip, (1, 10_000, 10))


def any_seed(tooltip: str, *, place: str = "shown") -> Any:
    """`seed`: all that `randomness.at_step` takes."""
    return setting(0, tooltip, (0, 2**63 - 1, 1), place=place)


def adam_rate(default: float, tooltip: str, *, place: str = "advanced") -> Any:
    """The learning rate of a network."""
    return setting(default, tooltip, (1e-6, 0.1, 1e-4), place=place)


def search_rate() -> Any:
    """`learning_rate` of a search for latents."""
    tooltip = "Adam learning rate, in standard deviations of the generator's w."
    return setting(0.1, tooltip, (1e-4, 1.0, 0.01), unit="standard deviations", place="text")


def decay(default: float, tooltip: str = f"{AVERAGE} Early steps use less.") -> Any:
    """`ema_decay`."""
    return setting(default, tooltip, (0.0, 0.99999, 0.001), place="text")


def semantic_fade() -> Any:
    """`semantic_schedule`: how `semantic_weight` changes over a run."""
    tooltip = "cosine: full for 60 % of the run, then falling to half. ramp_up: rising over the first 60 %."
    return setting("cosine", tooltip, choices=SCHEDULES, place="text")

"""Settings of training with pseudo-pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import SCHEDULES

PRECISIONS = ("auto", "fp32", "bf16")
"""Without fp16, which would need its losses scaled."""


@dataclass(frozen=True)
class PairSupervisionConfig:
    """Stage 2: a style generator learns on from pairs, its own best pictures and true pictures of the style."""

    steps: int = setting(
        400,
        "Training iterations. With true style pictures among the pairs 300 to 600 are enough.",
        min=1,
        max=100_000,
        step=50,
    )
    batch_size: int = setting(4, "Pairs per iteration.", min=1, max=64, step=1, unit="pairs")
    free_batch_size: int = setting(
        2,
        "Fresh faces per iteration, which only the discriminator and the semantic constraint judge.",
        min=1,
        max=64,
        step=1,
        unit="faces",
        place="text",
    )
    pair_weight: float = setting(
        1.0, "Weight of the pairs as a whole. 0 continues as stage 1 did.", min=0.0, max=100.0, step=0.25
    )
    anchor_weight: float = setting(
        2.0, "Weight of pairs whose target is a true style picture.", min=0.0, max=100.0, step=0.25
    )
    level_1_weight: float = setting(
        0.25,
        ("Weight of pairs with colour and texture of the style; only their structure is learned from."),
        min=0.0,
        max=100.0,
        step=0.05,
        place="text",
    )
    level_2_weight: float = setting(
        0.5,
        "Weight of pairs with parts of the style; only their structure is learned from.",
        min=0.0,
        max=100.0,
        step=0.05,
        place="text",
    )
    level_3_weight: float = setting(
        1.0,
        "Weight of synthetic pairs with the whole style: stage 1's own best pictures.",
        min=0.0,
        max=100.0,
        step=0.05,
        place="text",
    )
    anchor_share: float = setting(
        0.5,
        "Share of an iteration's pairs that are true style pictures, if there are both kinds.",
        min=0.0,
        max=1.0,
        step=0.05,
        place="text",
    )
    edges_weight: float = setting(
        0.6,
        "Weight of the differences between neighbouring pixels: lines where the target has lines.",
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    feature_weight: float = setting(
        1.5, "Weight of the distance in the discriminator's features.", min=0.0, max=100.0, step=0.1, place="text"
    )
    adversarial_weight: float = setting(
        0.2,
        "Weight of the adversarial loss. At 0 the pictures stay soft.",
        min=0.0,
        max=100.0,
        step=0.05,
    )
    semantic_weight: float = setting(
        1.0, "Strength of the semantic constraint on fresh faces.", min=0.0, max=100.0, step=0.25
    )
    keep_shape: float = setting(
        1.0,
        "How firmly parts stay in place. Lower it for styles that change shapes.",
        min=0.0,
        max=100.0,
        step=0.1,
        place="advanced",
    )
    keep_structure: float = setting(
        1.0,
        "How firmly relations between parts are kept (self-similarity).",
        min=0.0,
        max=100.0,
        step=0.1,
        place="advanced",
    )
    semantic_schedule: str = setting(
        "cosine",
        "cosine: full for 60 % of the run, then falling to half. ramp_up: rising over the first 60 %.",
        choices=SCHEDULES,
        place="text",
    )
    refine_codes: float = setting(
        0.02,
        ("Learning rate of the codes of true style pictures, which are corrected while training; 0 keeps them."),
        min=0.0,
        max=1.0,
        step=0.01,
        unit="standard deviations of w",
        place="text",
    )
    freeze_palette: bool = setting(
        False, "Do not train the projections to RGB. For ink, pencil and other styles of few colours.", place="advanced"
    )
    discriminator_alone: int = setting(
        20,
        "Number of iterations at the start in which only the discriminator is trained.",
        min=0,
        max=10_000,
        step=10,
        place="text",
    )
    learning_rate: float = setting(
        1.5e-3,
        ("Adam learning rate of the generator; it warms up and falls to a twentieth along a cosine."),
        min=1e-6,
        max=0.1,
        step=1e-4,
        place="advanced",
    )
    discriminator_learning_rate: float = setting(
        4e-3,
        "Adam learning rate of the discriminator, with the same schedule.",
        min=1e-6,
        max=0.1,
        step=1e-4,
        place="text",
    )
    r1_gamma: float = setting(
        0.3, "Weight of the R1 penalty, taken every 16 iterations.", min=0.0, max=1000.0, step=0.1, place="text"
    )
    ema_decay: float = setting(
        0.995,
        "Decay of the running average of the weights, which is the result; nearer 1 is smoother.",
        min=0.0,
        max=0.99999,
        step=0.001,
        place="text",
    )
    precision: str = setting(
        "auto", "auto: bf16 where the device computes it natively, else fp32.", choices=PRECISIONS, place="text"
    )
    preview_interval: int = setting(
        50,
        "A preview picture every this many iterations; 0: none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        place="text",
    )
    snapshot_interval: int = setting(
        100,
        "The state is saved every this many iterations, so that a killed run can resume.",
        min=1,
        max=10_000,
        step=10,
        unit="iterations",
        place="text",
    )
    seed: int = setting(0, "Same seed, same pairs, same settings: same result.", min=0, max=2**63 - 1, step=1)
    stroke_freedom: float = setting(
        0.3,
        "How freely strokes may move, as long as they are as strong. 0: every line has its place. "
        "0.5 to 1: for hatching and brush strokes, which otherwise average away.",
        min=0.0,
        max=1.0,
        step=0.1,
    )
    noise_strength: float = setting(
        0.0,
        "Initial strength of the generator's noise between 32 px and half its size, trained from "
        "there: brush strokes and grain grow from it. 0 leaves the noise as it is.",
        min=0.0,
        max=1.0,
        step=0.05,
    )
    learn_noise: bool = setting(
        False,
        "Also train the noise maps, up to the full size: a sheet of paper or canvas with its "
        "hatching, the same under every picture. Needs `noise_strength`.",
        place="advanced",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.learn_noise and not self.noise_strength:
            raise ValueError(
                "`learn_noise` is on and `noise_strength` is 0, so there is no noise to learn. Raise it to 0.05, or "
                "turn `learn_noise` off."
            )
        if self.discriminator_alone >= self.steps:
            raise ValueError(
                f"`discriminator_alone` is {self.discriminator_alone} of {self.steps} `steps`, which leaves none for "
                "the generator; lower it."
            )

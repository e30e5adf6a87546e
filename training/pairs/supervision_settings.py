"""Settings of training with pseudo-pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import AVERAGE, adam_rate, any_seed, decay, previews, semantic_fade, share, snapshots, weight

PRECISIONS = ("auto", "fp32", "bf16")
"""Without fp16, which would need its losses scaled."""


@dataclass(frozen=True)
class PairSupervisionConfig:
    """Stage 2: a style generator learns on from pairs, its own best pictures and true pictures of the style."""

    steps: int = setting(
        400, "Training iterations. With true style pictures among the pairs 300 to 600 are enough.", (1, 100_000, 50)
    )
    batch_size: int = setting(4, "Pairs per iteration.", (1, 64, 1), unit="pairs")
    free_batch_size: int = setting(
        2,
        "Fresh faces per iteration, which only the discriminator and the semantic constraint judge.",
        (1, 64, 1),
        unit="faces",
        place="text",
    )
    pair_weight: float = weight(
        1.0, "Weight of the pairs as a whole. 0 continues as stage 1 did.", step=0.25, place="shown"
    )
    anchor_weight: float = weight(
        2.0, "Weight of pairs whose target is a true style picture.", step=0.25, place="shown"
    )
    level_1_weight: float = weight(
        0.25, "Weight of pairs with colour and texture of the style; only their structure is learned from.", step=0.05
    )
    level_2_weight: float = weight(
        0.5, "Weight of pairs with parts of the style; only their structure is learned from.", step=0.05
    )
    level_3_weight: float = weight(
        1.0, "Weight of synthetic pairs with the whole style: stage 1's own best pictures.", step=0.05
    )
    anchor_share: float = share(
        0.5, "Share of an iteration's pairs that are true style pictures, if there are both kinds."
    )
    edges_weight: float = weight(
        0.6, "Weight of the differences between neighbouring pixels: lines where the target has lines."
    )
    feature_weight: float = weight(1.5, "Weight of the distance in the discriminator's features.")
    adversarial_weight: float = weight(
        0.2, "Weight of the adversarial loss. At 0 the pictures stay soft.", step=0.05, place="shown"
    )
    semantic_weight: float = weight(
        1.0, "Strength of the semantic constraint on fresh faces.", step=0.25, place="shown"
    )
    keep_shape: float = weight(
        1.0, "How firmly parts stay in place. Lower it for styles that change shapes.", place="advanced"
    )
    keep_structure: float = weight(
        1.0, "How firmly relations between parts are kept (self-similarity).", place="advanced"
    )
    semantic_schedule: str = semantic_fade()
    refine_codes: float = setting(
        0.02,
        "Learning rate of the codes of true style pictures, which are corrected while training; 0 keeps them.",
        (0.0, 1.0, 0.01),
        unit="standard deviations of w",
        place="text",
    )
    freeze_palette: bool = setting(
        False, "Do not train the projections to RGB. For ink, pencil and other styles of few colours.", place="advanced"
    )
    discriminator_alone: int = setting(
        20,
        "Number of iterations at the start in which only the discriminator is trained.",
        (0, 10_000, 10),
        place="text",
    )
    learning_rate: float = adam_rate(
        1.5e-3, "Adam learning rate of the generator; it warms up and falls to a twentieth along a cosine."
    )
    discriminator_learning_rate: float = adam_rate(
        4e-3, "Adam learning rate of the discriminator, with the same schedule.", place="text"
    )
    r1_gamma: float = setting(
        0.3, "Weight of the R1 penalty, taken every 16 iterations.", (0.0, 1000.0, 0.1), place="text"
    )
    ema_decay: float = decay(0.995, AVERAGE)
    precision: str = setting(
        "auto", "auto: bf16 where the device computes it natively, else fp32.", choices=PRECISIONS, place="text"
    )
    preview_interval: int = previews(50)
    snapshot_interval: int = snapshots(100)
    seed: int = any_seed("Same seed, same pairs, same settings: same result.")
    stroke_freedom: float = setting(
        0.3,
        "How freely strokes may move, as long as they are as strong. 0: every line has its place. 0.5 to 1: for "
        "hatching and brush strokes, which otherwise average away.",
        (0.0, 1.0, 0.1),
    )
    noise_strength: float = share(
        0.0,
        "Initial strength of the generator's noise between 32 px and half its size, trained from there: brush strokes "
        "and grain grow from it. 0 leaves the noise as it is.",
        place="shown",
    )
    learn_noise: bool = setting(
        False,
        "Also train the noise maps, up to the full size: a sheet of paper or canvas with its hatching, the same under "
        "every picture. Needs `noise_strength`.",
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

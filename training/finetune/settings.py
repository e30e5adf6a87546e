"""Settings of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import (
    AUTOMATIC,
    PRECISIONS,
    adam_rate,
    any_seed,
    decay,
    interval,
    previews,
    semantic_fade,
    share,
    snapshots,
    weight,
)

AUGMENTATIONS = ("ada", "fixed", "off", "diffaugment")
TRAINED_LAYERS = ("all", "convolutions", "modulation")
SNAPSHOTS = ("last", "best")


@dataclass(frozen=True)
class FinetuneConfig:
    """Stage 1: fine-tune a face generator to a style while the semantic constraint keeps its meaning in place."""

    style_name: str = setting("style", "Name of the style; it is stored with the generator.")
    steps: int = setting(
        1000, "Training iterations. 800-1600 suit 100-300 pictures; fewer pictures want fewer steps.", (1, 100_000, 50)
    )
    batch_size: int = setting(4, "Faces per iteration. Larger is steadier and proportionally slower.", (1, 128, 1))
    semantic_weight: float = weight(
        3.0,
        "Strength of the semantic constraint as a whole: 0 is plain fine-tuning, 1 is loose, 3 keeps faces well.",
        step=0.25,
        place="shown",
    )
    keep_shape: float = weight(
        1.0, "How firmly parts stay in place (feature distance). Lower it for styles that change shapes.", place="shown"
    )
    keep_structure: float = weight(
        1.0,
        "How firmly relations between parts are kept (self-similarity). Colour and texture stay free.",
        place="shown",
    )
    keep_relations: float = weight(
        1.0, "How firmly faces keep their differences from each other. Only used with 10 style pictures or fewer."
    )
    match_palette: bool = setting(
        False, "Begin with the colours of the style pictures. For pencil, ink and other styles of few colours."
    )
    freeze_palette: bool = setting(
        False,
        "Keep those colours: the projections to RGB are not trained. For ink, pencil and other styles of few colours.",
        place="advanced",
    )
    match_texture: float = setting(
        0.0,
        "Weight of the distance from the texture and colour statistics of the style pictures. Speeds up short runs.",
        (0.0, 1000.0, 0.5),
        place="advanced",
    )
    semantic_schedule: str = semantic_fade()
    learning_rate: float = adam_rate(
        2e-4,
        "Adam learning rate of the generator, well below the discriminator's. Public checkpoints tolerate up to 2e-3.",
    )
    discriminator_learning_rate: float = adam_rate(2e-3, "Adam learning rate of the discriminator.", place="text")
    style_mixing_prob: float = share(
        0.9, "Share of training faces made from two latents, so that layers do not learn to rely on each other."
    )
    freeze_d_blocks: int = setting(
        AUTOMATIC,
        "Number of discriminator blocks nearest the picture that are not trained (FreezeD). -1: those above 128 px.",
        (-1, 10, 1),
        unit="blocks",
        place="text",
    )
    r1_gamma: float = setting(
        float(AUTOMATIC),
        "Weight of the R1 penalty. -1: 0.0002 x resolution^2 / batch size. 0 turns it off.",
        (-1.0, 1000.0, 0.1),
        place="text",
    )
    r1_interval: int = interval(
        16,
        "The R1 penalty is computed every this many iterations, with its weight scaled to match.",
        (1, 64, 1),
    )
    path_length_weight: float = weight(
        0.0,
        "Weight of the path-length penalty (2 when training from scratch); 0 turns it off and saves time.",
        step=0.5,
    )
    path_length_interval: int = interval(
        4,
        "The path-length penalty is computed every this many iterations, on half a batch.",
        (1, 64, 1),
    )
    augment: str = setting(
        "ada",
        "Augmentation of what the discriminator sees. ada: as strong as overfitting demands. fixed: always with "
        "`augment_probability`. off: none. diffaugment: colour, translation and cutout, always.",
        choices=AUGMENTATIONS,
        place="advanced",
    )
    augment_probability: float = setting(
        0.2,
        "Probability of each augmentation: the start for `ada`, the value for `fixed`.",
        (0.0, 0.9, 0.05),
        place="text",
    )
    ada_target: float = share(
        0.6, "`ada` raises the probability while the mean sign of D on real pictures is above this."
    )
    ada_ramp: float = setting(
        0.5,
        "Share of the run in which `ada` can go from probability 0 to 1; short runs need a fast ramp.",
        (0.01, 100.0, 0.05),
        unit="of the run",
        place="text",
    )
    flip_styles: bool = setting(
        True, "Also show the style pictures mirrored. Turn off for writing or one-sided light.", place="text"
    )
    ema_decay: float = decay(0.999)
    precision: str = setting(
        "auto",
        "auto: bf16 where the device computes it natively, else fp32. fp16 scales its losses by itself.",
        choices=PRECISIONS,
        place="text",
    )
    preview_interval: int = previews(50)
    snapshot_interval: int = snapshots(100)
    seed: int = any_seed("Same seed, same pictures, same settings: same result.")
    accumulate: int = setting(
        1,
        "Number of parts a batch is computed in, one after the other: less memory, about the same result.",
        (1, 128, 1),
        unit="parts",
        place="text",
    )
    freeze_g_blocks: int = setting(
        0,
        "Number of generator blocks from 4 px up that are not trained (FreezeG): 2 keep the pose, 4 the shape of the "
        "face.",
        (0, 10, 1),
        unit="blocks",
        place="text",
    )
    train_layers: str = setting(
        "all",
        "Which weights of the generator are trained. all. convolutions: only the filters. modulation: only how w "
        "modulates them.",
        choices=TRAINED_LAYERS,
        place="advanced",
    )
    validation: float = setting(
        0.0,
        "Share of the style pictures held back from training to measure with; at least one if above 0.",
        (0.0, 0.5, 0.05),
        place="text",
    )
    score_interval: int = interval(
        50,
        "Style and structure are measured every this many iterations, which takes as long as one or two. 0: never.",
        (0, 10_000, 1),
    )
    keep_snapshot: str = setting(
        "last",
        "last: the style at the end. best: the one measured nearest to the style pictures, with structure within "
        "`structure_limit`.",
        choices=SNAPSHOTS,
        place="advanced",
    )
    patience: int = setting(
        0,
        "End the training after this many measurements in a row without improvement. 0: never.",
        (0, 1000, 1),
        unit="measurements",
        place="text",
    )
    structure_limit: float = setting(
        0.9,
        "Largest structure distance of a best snapshot. 0: faces as in the source; 1: they could be anybody's.",
        (0.0, 10.0, 0.05),
        place="text",
    )
    checkpointing: bool = setting(
        False,
        "Recompute activations instead of keeping them: less memory, about a third slower, same result.",
        place="text",
    )
    tensorboard: bool = setting(
        False, "Also write the losses and previews as TensorBoard event files into the run's folder.", place="text"
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"`batch_size` is {self.batch_size}, which cannot be computed in {self.accumulate} equal parts; "
                "choose an `accumulate` that divides it."
            )
        if not self.style_name.strip():
            raise ValueError("`style_name` is empty; give the style a name.")
        if -1.0 < self.r1_gamma < 0.0:
            raise ValueError(f"`r1_gamma` is {self.r1_gamma}; use -1 for automatic, 0 for off, or a positive weight.")
        if self.semantic_weight > 0.0 and not any((self.keep_shape, self.keep_structure, self.keep_relations)):
            raise ValueError(
                "`semantic_weight` is above 0 but every `keep_...` weight is 0, so there is nothing to keep; "
                "raise one of them, or set `semantic_weight` to 0 for plain fine-tuning."
            )
        if self.augment == "fixed" and self.augment_probability == 0.0:
            raise ValueError("`augment` is fixed at probability 0; raise `augment_probability`, or turn `augment` off.")
        if not self.score_interval and (self.patience or self.keep_snapshot == "best"):
            asked = "`patience` is above 0" if self.patience else "`keep_snapshot` is best"
            raise ValueError(f"{asked}, but nothing is measured. Set `score_interval` above 0, 50 for example.")

"""Settings of a face encoder's training, in the style of `training/finetune/settings.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Teach a network to read faces as codes of a generator, from the generator's own pictures."""

    steps: int = setting(
        4000,
        "Training iterations. 500 show where it goes; 4000 to 20000 make an encoder, more for large generators.",
        min=1,
        max=1_000_000,
        step=100,
    )
    batch_size: int = setting(8, "Faces per iteration.", min=1, max=256, step=1)
    picture_start: float = setting(
        0.4,
        ("Share of the run that compares codes alone, which is several times faster; then pictures are compared too."),
        min=0.0,
        max=1.0,
        step=0.05,
        unit="of the run",
    )
    code_weight: float = setting(
        1.0, "Weight of the distance to the true codes of a sampled face.", min=0.0, max=100.0, step=0.1, place="text"
    )
    pixel_weight: float = setting(
        1.0,
        "Weight of the picture distance (mean absolute difference at several scales).",
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    feature_weight: float = setting(
        0.5,
        ("Weight of the distance in the discriminator's features; ignored if the generator has no discriminator."),
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    image_share: float = setting(
        0.25,
        ("Share of every batch taken from your own faces, if given. Only their pictures are compared."),
        min=0.0,
        max=1.0,
        step=0.05,
        place="advanced",
    )
    style_mixing_prob: float = setting(
        0.5,
        ("Share of sampled faces made from two latents, so that each layer's code is learned separately."),
        min=0.0,
        max=1.0,
        step=0.05,
        place="text",
    )
    truncation_psi: float = setting(
        1.0,
        "How far sampled faces may be from the average one. Lower it if distant faces are broken.",
        min=0.1,
        max=1.5,
        step=0.05,
        place="text",
    )
    degrade: float = setting(
        1.0,
        "How strongly faces are relit, blurred, shifted and made noisy during training, so that "
        "photographs can be read. 0: clean samples only.",
        min=0.0,
        max=2.0,
        step=0.1,
        place="text",
    )
    width: float = setting(
        1.0,
        "Width of the network: 2 is four times as large and takes three times as long.",
        min=0.25,
        max=4.0,
        step=0.25,
        place="advanced",
    )
    learning_rate: float = setting(
        1e-3,
        "Adam learning rate at the start; it falls to a fiftieth along a cosine.",
        min=1e-6,
        max=0.1,
        step=1e-4,
        place="advanced",
    )
    ema_decay: float = setting(
        0.998,
        (
            "Decay of the running average of the weights, which is the result; nearer 1 is smoother. "
            "Early steps use less."
        ),
        min=0.0,
        max=0.99999,
        step=0.001,
        place="text",
    )
    preview_interval: int = setting(
        100,
        "A preview picture every this many iterations; 0: none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        place="text",
    )
    snapshot_interval: int = setting(
        200,
        "The state is saved every this many iterations, so that a killed run can resume.",
        min=1,
        max=10_000,
        step=10,
        unit="iterations",
        place="text",
    )
    seed: int = setting(0, "Same seed, same generator, same settings: same result.", min=0, max=2**63 - 1, step=1)

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.code_weight or self.pixel_weight):
            raise ValueError("`code_weight` and `pixel_weight` are both 0: nothing is compared. Raise one of them.")
        if not self.code_weight and self.picture_start > 0:
            raise ValueError(
                f"`code_weight` is 0, so nothing would be learned in the first {self.picture_start:.0%} of the run. "
                "Set `picture_start` to 0."
            )

"""Settings of a face encoder's training."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import FEATURES, PIXELS, adam_rate, any_seed, decay, previews, share, snapshots, weight


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Teach a network to read faces as codes of a generator, from the generator's own pictures."""

    steps: int = setting(
        4000,
        "Training iterations. 500 show where it goes; 4000 to 20000 make an encoder, more for large generators.",
        (1, 1_000_000, 100),
    )
    batch_size: int = setting(8, "Faces per iteration.", (1, 256, 1))
    picture_start: float = share(
        0.4,
        "Share of the run that compares codes alone, which is several times faster; then pictures are compared too.",
        unit="of the run",
        place="shown",
    )
    code_weight: float = weight(1.0, "Weight of the distance to the true codes of a sampled face.")
    pixel_weight: float = weight(1.0, PIXELS)
    feature_weight: float = weight(0.5, FEATURES)
    image_share: float = share(
        0.25,
        "Share of every batch taken from your own faces, if given. Only their pictures are compared.",
        place="advanced",
    )
    style_mixing_prob: float = share(
        0.5, "Share of sampled faces made from two latents, so that each layer's code is learned separately."
    )
    truncation_psi: float = setting(
        1.0,
        "How far sampled faces may be from the average one. Lower it if distant faces are broken.",
        (0.1, 1.5, 0.05),
        place="text",
    )
    degrade: float = setting(
        1.0,
        "How strongly faces are relit, blurred, shifted and made noisy during training, so that photographs can be "
        "read. 0: clean samples only.",
        (0.0, 2.0, 0.1),
        place="text",
    )
    width: float = setting(
        1.0,
        "Width of the network: 2 is four times as large and takes three times as long.",
        (0.25, 4.0, 0.25),
        place="advanced",
    )
    learning_rate: float = adam_rate(1e-3, "Adam learning rate at the start; it falls to a fiftieth along a cosine.")
    ema_decay: float = decay(0.998)
    preview_interval: int = previews(100)
    snapshot_interval: int = snapshots(200)
    seed: int = any_seed("Same seed, same generator, same settings: same result.")

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.code_weight or self.pixel_weight):
            raise ValueError("`code_weight` and `pixel_weight` are both 0: nothing is compared. Raise one of them.")
        if not self.code_weight and self.picture_start > 0:
            raise ValueError(
                f"`code_weight` is 0, so nothing would be learned in the first {self.picture_start:.0%} of the run. "
                "Set `picture_start` to 0."
            )

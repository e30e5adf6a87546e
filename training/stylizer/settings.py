"""Settings of the fast stylizer's training."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import adam_rate, any_seed, decay, previews, share, snapshots, weight

# The same as in `models/media`; importing that would load torch, and nodes read their widgets from here.
MEDIA = ("none", "pencil", "paint", "flat", "cel")
AUTOMATIC_MEDIUM = "auto"


@dataclass(frozen=True)
class StylizerConfig:
    """Teach a small feed-forward network a style: from pairs of pictures, or from a rendered look and its rule."""

    style_name: str = setting("style", "Name of the style; it is stored with the stylizer.")
    steps: int = setting(
        2000,
        "Training iterations. 500 show where it goes; 2000 to 5000 make a style from a few hundred pairs.",
        (1, 1_000_000, 100),
    )
    batch_size: int = setting(4, "Pictures per iteration.", (1, 256, 1))
    size: int = setting(
        144,
        "Side of the training squares in pixels. The network still draws pictures of any size.",
        (48, 1024, 48),
        unit="pixels",
    )
    medium: str = setting(
        AUTOMATIC_MEDIUM,
        "What it draws with. auto: what suits the look, for pairs none. pencil: hatching and strokes along the form. "
        "paint: brush strokes. flat: even areas. cel: even areas in cut tones, and ink along edges. none: the network "
        "alone.",
        choices=(AUTOMATIC_MEDIUM, *MEDIA),
    )
    pair_share: float = share(
        0.7,
        "Share of pictures taken from your pairs as they are. The rest are degraded pairs before other backgrounds.",
    )
    degrade: float = setting(
        1.0,
        "How strongly training inputs are blurred, compressed and made noisy, so that the network copes with such "
        "photos. 0: clean pictures only.",
        (0.0, 2.0, 0.1),
        place="advanced",
    )
    pixel_weight: float = weight(1.0, "Weight of the mean absolute difference.")
    gradient_weight: float = weight(1.0, "Weight of the difference of edges; keeps strokes and outlines crisp.")
    adversarial_weight: float = setting(
        0.01,
        "Weight of a small patch discriminator, which brings out the style's texture. 0 turns it off and is a third "
        "faster.",
        (0.0, 10.0, 0.005),
        place="advanced",
    )
    adversarial_start: float = share(0.3, "Share of the run after which the discriminator joins in.", unit="of the run")
    learning_rate: float = adam_rate(1.5e-3, "Adam learning rate at the start; it falls to a fiftieth along a cosine.")
    ema_decay: float = decay(0.995)
    width: float = setting(
        1.0,
        "Width of the network: 2 is four times as large and draws at a third of the speed.",
        (0.25, 4.0, 0.25),
        place="advanced",
    )
    preview_interval: int = previews(100)
    snapshot_interval: int = snapshots(200)
    seed: int = any_seed("Same seed, same pictures, same settings: same result.")

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.style_name.strip():
            raise ValueError("`style_name` is empty; give the style a name.")
        if self.size % 48:
            raise ValueError(f"`size` is {self.size} pixels; it has to be a multiple of 48, such as 144 or 192.")
        if not (self.pixel_weight or self.gradient_weight):
            raise ValueError("Every weight that compares pictures is 0; raise `pixel_weight`.")

"""Settings of the fast stylizer's training, in the style of `training/finetune/settings.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting

# The same as `models/media/strokes.py: MEDIA`; importing that would load torch, and nodes read their widgets from here.
MEDIA = ("none", "pencil", "paint", "flat", "cel")
AUTOMATIC_MEDIUM = "auto"


@dataclass(frozen=True)
class StylizerConfig:
    """Teach a small feed-forward network a style: from pairs of pictures, or from a rendered look and its rule."""

    style_name: str = setting("style", "Name of the style; it is stored with the stylizer.")
    steps: int = setting(
        2000,
        "Training iterations. 500 show where it goes; 2000 to 5000 make a style from a few hundred pairs.",
        min=1,
        max=1_000_000,
        step=100,
    )
    batch_size: int = setting(4, "Pictures per iteration.", min=1, max=256, step=1)
    size: int = setting(
        144,
        "Side of the training squares in pixels. The network still draws pictures of any size.",
        min=48,
        max=1024,
        step=48,
        unit="pixels",
    )
    medium: str = setting(
        AUTOMATIC_MEDIUM,
        "What it draws with. auto: what suits the look, for pairs none. pencil: hatching and strokes "
        "along the form. paint: brush strokes. flat: even areas. cel: even areas in cut tones, and ink along edges. "
        "none: the network alone.",
        choices=(AUTOMATIC_MEDIUM, *MEDIA),
    )
    pair_share: float = setting(
        0.7,
        ("Share of pictures taken from your pairs as they are. The rest are degraded pairs before other backgrounds."),
        min=0.0,
        max=1.0,
        step=0.05,
        place="text",
    )
    degrade: float = setting(
        1.0,
        "How strongly training inputs are blurred, compressed and made noisy, so that the network "
        "copes with such photos. 0: clean pictures only.",
        min=0.0,
        max=2.0,
        step=0.1,
        place="advanced",
    )
    pixel_weight: float = setting(
        1.0, "Weight of the mean absolute difference.", min=0.0, max=100.0, step=0.1, place="text"
    )
    gradient_weight: float = setting(
        1.0,
        "Weight of the difference of edges; keeps strokes and outlines crisp.",
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    adversarial_weight: float = setting(
        0.01,
        "Weight of a small patch discriminator, which brings out the style's texture. 0 turns it "
        "off and is a third faster.",
        min=0.0,
        max=10.0,
        step=0.005,
        place="advanced",
    )
    adversarial_start: float = setting(
        0.3,
        "Share of the run after which the discriminator joins in.",
        min=0.0,
        max=1.0,
        step=0.05,
        unit="of the run",
        place="text",
    )
    learning_rate: float = setting(
        1.5e-3,
        "Adam learning rate at the start; it falls to a fiftieth along a cosine.",
        min=1e-6,
        max=0.1,
        step=1e-4,
        place="advanced",
    )
    ema_decay: float = setting(
        0.995,
        (
            "Decay of the running average of the weights, which is the result; nearer 1 is smoother. "
            "Early steps use less."
        ),
        min=0.0,
        max=0.99999,
        step=0.001,
        place="text",
    )
    width: float = setting(
        1.0,
        "Width of the network: 2 is four times as large and draws at a third of the speed.",
        min=0.25,
        max=4.0,
        step=0.25,
        place="advanced",
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
    seed: int = setting(0, "Same seed, same pictures, same settings: same result.", min=0, max=2**63 - 1, step=1)

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.style_name.strip():
            raise ValueError("`style_name` is empty; give the style a name.")
        if self.size % 48:
            raise ValueError(f"`size` is {self.size} pixels; it has to be a multiple of 48, such as 144 or 192.")
        if not (self.pixel_weight or self.gradient_weight):
            raise ValueError("Every weight that compares pictures is 0; raise `pixel_weight`.")

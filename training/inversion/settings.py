"""Settings of the ways from a picture to its latent."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting

NOISE_MODES = ("fixed", "optimised")
LATENT_SPACES = ("w_plus", "w")


@dataclass(frozen=True)
class InversionConfig:
    """Search for the latent whose picture is the given face."""

    steps: int = setting(
        200,
        "Optimisation iterations. 100 refine an encoder's latent; 300 and more start from the mean.",
        min=1,
        max=10_000,
        step=10,
    )
    learning_rate: float = setting(
        0.1,
        "Adam learning rate, in standard deviations of the generator's w.",
        min=1e-4,
        max=1.0,
        step=0.01,
        unit="standard deviations",
        place="text",
    )
    w_share: float = setting(
        0.33,
        ("When starting from the mean: share of the steps that search one w for all layers, before one per layer."),
        min=0.0,
        max=1.0,
        step=0.05,
        unit="of the steps",
        place="text",
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
        1.0,
        ("Weight of the distance in the discriminator's features; ignored if the generator has no discriminator."),
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    delta_penalty: float = setting(
        0.01,
        "Keeps the layers' latents together. Higher stylises more faithfully, lower reconstructs more closely.",
        min=0.0,
        max=100.0,
        step=0.005,
    )
    noise: str = setting(
        "fixed",
        (
            "fixed: the generator's own noise. optimised: fit it too, which comes closer but may hide "
            "details that styles then lose."
        ),
        choices=NOISE_MODES,
        place="advanced",
    )
    noise_regulariser: float = setting(
        0.1,
        ("How strongly optimised noise is kept random, so that the face itself stays in the latent."),
        min=0.0,
        max=1000.0,
        step=0.1,
        place="text",
    )
    preview_interval: int = setting(
        25,
        "A preview picture every this many iterations; 0: none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        place="text",
    )
    seed: int = setting(0, "Seed of everything random in the search.", min=0, max=2**63 - 1, step=1, place="advanced")
    space: str = setting(
        "w_plus",
        ("w_plus: one code per layer, closest to the face. w: one for all layers, best for editing."),
        choices=LATENT_SPACES,
        place="advanced",
    )
    batch_size: int = setting(
        8,
        "Faces searched for at once. Fewer need less memory; the result of each face is the same.",
        min=1,
        max=256,
        step=1,
        unit="faces",
        place="text",
    )
    code_weight: float = setting(
        0.3,
        (
            "Weight of the distance between what the encoder reads in both pictures, if one is "
            "connected: it keeps the person."
        ),
        min=0.0,
        max=100.0,
        step=0.05,
        place="text",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pixel_weight == 0.0 and self.feature_weight == 0.0:
            raise ValueError("`pixel_weight` and `feature_weight` are both 0: nothing is compared. Raise one of them.")


@dataclass(frozen=True)
class PivotalConfig:
    """Pivotal tuning: teach a copy of the generator to draw given faces exactly, around their latents."""

    steps: int = setting(
        200,
        ("Tuning iterations. 100 to 350; more come closer to the faces but harm the generator more."),
        min=1,
        max=10_000,
        step=10,
    )
    learning_rate: float = setting(
        1e-3,
        "Adam learning rate of the generator. Large public generators need less: 3e-4 at 1024 px.",
        min=1e-6,
        max=0.1,
        step=1e-4,
        place="advanced",
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
        1.0,
        ("Weight of the distance in the discriminator's features; ignored if the generator has no discriminator."),
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    locality_weight: float = setting(
        0.1,
        ("How firmly other faces stay as they were. 0 turns this off: twice as fast, but edits suffer."),
        min=0.0,
        max=100.0,
        step=0.05,
    )
    locality_distance: float = setting(
        0.5,
        (
            "How far from the faces other faces are held in place, in units of a typical face's "
            "distance from the average one."
        ),
        min=0.01,
        max=10.0,
        step=0.1,
        place="text",
    )
    batch_size: int = setting(
        4,
        "Faces drawn at once. Fewer need less memory; every iteration learns from all faces.",
        min=1,
        max=256,
        step=1,
        unit="faces",
        place="advanced",
    )
    preview_interval: int = setting(
        25,
        "A preview picture every this many iterations; 0: none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        place="text",
    )
    seed: int = setting(0, "Same seed, same faces, same settings: same result.", min=0, max=2**63 - 1, step=1)
    code_weight: float = setting(
        0.3,
        (
            "Weight of the distance between what the encoder reads in both pictures, if one is "
            "connected: it keeps the person."
        ),
        min=0.0,
        max=100.0,
        step=0.05,
        place="text",
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.pixel_weight == 0.0 and self.feature_weight == 0.0:
            raise ValueError("`pixel_weight` and `feature_weight` are both 0: nothing is compared. Raise one of them.")


ALIGNMENTS = ("auto", "on", "off")
SEVERAL = ("average", "batch")


@dataclass(frozen=True)
class ReferenceConfig:
    """Reading the look of a reference picture as a code of the style generator."""

    steps: int = setting(
        300,
        ("Search iterations; with an encoder fewer are enough. 0 takes what the encoder says, or the nearest anchor."),
        min=0,
        max=10_000,
        step=10,
    )
    several: str = setting(
        "average",
        ("What to do with several references. average: one look between them. batch: a look for each."),
        choices=SEVERAL,
    )
    feature_weight: float = setting(
        1.0,
        ("Weight of the distance in a discriminator's features; ignored if neither generator has one."),
        min=0.0,
        max=100.0,
        step=0.1,
        place="advanced",
    )
    pixel_weight: float = setting(
        1.0,
        "Weight of the distance of the pictures at 64 px: colours and their places.",
        min=0.0,
        max=100.0,
        step=0.1,
        place="text",
    )
    mean_penalty: float = setting(
        0.01,
        (
            "Keeps the look near the average one, so that it fits other faces. Lower values copy the "
            "reference more closely."
        ),
        min=0.0,
        max=100.0,
        step=0.005,
        place="text",
    )
    learning_rate: float = setting(
        0.1,
        "Adam learning rate, in standard deviations of the generator's w.",
        min=1e-4,
        max=1.0,
        step=0.01,
        unit="standard deviations",
        place="text",
    )
    preview_interval: int = setting(
        25,
        "A preview picture every this many iterations; 0: none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        place="text",
    )
    batch_size: int = setting(
        8,
        "References searched for at once. Fewer need less memory; the result of each is the same.",
        min=1,
        max=256,
        step=1,
        unit="pictures",
        place="text",
    )
    seed: int = setting(0, "Seed of everything random in the search.", min=0, max=2**32 - 1, step=1, place="advanced")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps and self.pixel_weight == 0.0 and self.feature_weight == 0.0:
            raise ValueError("`pixel_weight` and `feature_weight` are both 0: nothing is compared. Raise one of them.")

"""Settings of the ways from a picture to its latent."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting
from ..kit.settings import FEATURES, PIXELS, adam_rate, any_seed, previews, search_rate, share, weight

NOISE_MODES = ("fixed", "optimised")
LATENT_SPACES = ("w_plus", "w")
ALIGNMENTS = ("auto", "on", "off")
SEVERAL = ("average", "batch")
CODES = (
    "Weight of the distance between what the encoder reads in both pictures, if one is connected: it keeps the person."
)


@dataclass(frozen=True)
class InversionConfig:
    """Search for the latent whose picture is the given face."""

    steps: int = setting(
        200,
        "Optimisation iterations. 100 refine an encoder's latent; 300 and more start from the mean.",
        (1, 10_000, 10),
    )
    learning_rate: float = search_rate()
    w_share: float = share(
        0.33,
        "When starting from the mean: share of the steps that search one w for all layers, before one per layer.",
        unit="of the steps",
    )
    pixel_weight: float = weight(1.0, PIXELS)
    feature_weight: float = weight(1.0, FEATURES)
    delta_penalty: float = weight(
        0.01,
        "Keeps the layers' latents together. Higher stylises more faithfully, lower reconstructs more closely.",
        step=0.005,
        place="shown",
    )
    noise: str = setting(
        "fixed",
        "fixed: the generator's own noise. optimised: fit it too, which comes closer but may hide details that styles "
        "then lose.",
        choices=NOISE_MODES,
        place="advanced",
    )
    noise_regulariser: float = setting(
        0.1,
        "How strongly optimised noise is kept random, so that the face itself stays in the latent.",
        (0.0, 1000.0, 0.1),
        place="text",
    )
    preview_interval: int = previews(25)
    seed: int = any_seed("Seed of everything random in the search.", place="advanced")
    space: str = setting(
        "w_plus",
        "w_plus: one code per layer, closest to the face. w: one for all layers, best for editing.",
        choices=LATENT_SPACES,
        place="advanced",
    )
    batch_size: int = setting(
        8,
        "Faces searched for at once. Fewer need less memory; the result of each face is the same.",
        (1, 256, 1),
        unit="faces",
        place="text",
    )
    code_weight: float = weight(0.3, CODES, step=0.05)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_compared(self)


@dataclass(frozen=True)
class PivotalConfig:
    """Pivotal tuning: teach a copy of the generator to draw given faces exactly, around their latents."""

    steps: int = setting(
        200,
        "Tuning iterations. 100 to 350; more come closer to the faces but harm the generator more.",
        (1, 10_000, 10),
    )
    learning_rate: float = adam_rate(
        1e-3, "Adam learning rate of the generator. Large public generators need less: 3e-4 at 1024 px."
    )
    pixel_weight: float = weight(1.0, PIXELS)
    feature_weight: float = weight(1.0, FEATURES)
    locality_weight: float = weight(
        0.1,
        "How firmly other faces stay as they were. 0 turns this off: twice as fast, but edits suffer.",
        step=0.05,
        place="shown",
    )
    locality_distance: float = setting(
        0.5,
        "How far from the faces other faces are held in place, in units of a typical face's distance from the average "
        "one.",
        (0.01, 10.0, 0.1),
        place="text",
    )
    batch_size: int = setting(
        4,
        "Faces drawn at once. Fewer need less memory; every iteration learns from all faces.",
        (1, 256, 1),
        unit="faces",
        place="advanced",
    )
    preview_interval: int = previews(25)
    seed: int = any_seed("Same seed, same faces, same settings: same result.")
    code_weight: float = weight(0.3, CODES, step=0.05)

    def __post_init__(self) -> None:
        check_fields(self)
        _check_compared(self)


@dataclass(frozen=True)
class ReferenceConfig:
    """Reading the look of a reference picture as a code of the style generator."""

    steps: int = setting(
        300,
        "Search iterations; with an encoder fewer are enough. 0 takes what the encoder says, or the nearest anchor.",
        (0, 10_000, 10),
    )
    several: str = setting(
        "average",
        "What to do with several references. average: one look between them. batch: a look for each.",
        choices=SEVERAL,
    )
    feature_weight: float = weight(
        1.0,
        "Weight of the distance in a discriminator's features; ignored if neither generator has one.",
        place="advanced",
    )
    pixel_weight: float = weight(1.0, "Weight of the distance of the pictures at 64 px: colours and their places.")
    mean_penalty: float = weight(
        0.01,
        "Keeps the look near the average one, so that it fits other faces. Lower values copy the reference more "
        "closely.",
        step=0.005,
    )
    learning_rate: float = search_rate()
    preview_interval: int = previews(25)
    batch_size: int = setting(
        8,
        "References searched for at once. Fewer need less memory; the result of each is the same.",
        (1, 256, 1),
        unit="pictures",
        place="text",
    )
    seed: int = setting(0, "Seed of everything random in the search.", (0, 2**32 - 1, 1), place="advanced")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps:
            _check_compared(self)


def _check_compared(config: InversionConfig | PivotalConfig | ReferenceConfig) -> None:
    if config.pixel_weight == 0.0 and config.feature_weight == 0.0:
        raise ValueError("`pixel_weight` and `feature_weight` are both 0: nothing is compared. Raise one of them.")

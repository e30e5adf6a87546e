"""Settings of the two ways to stylise that train nothing: variations by chance, and a reference's look."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.settings import check_fields, fields_of, setting, to_mapping

__all__ = ["ApplyConfig", "ReferenceConfig", "VariationConfig", "fields_of", "to_mapping"]

ALIGNMENTS = ("auto", "on", "off")
SEVERAL = ("average", "batch")


@dataclass(frozen=True)
class VariationConfig:
    """Multimodal stylisation: one face in many appearances of a style."""

    count: int = setting(6, "How many variations of each face.", min=1, max=64, step=1)
    amount: float = setting(
        1.0,
        "How far each variation goes (beta): 0 the style as it is, to the bit; 1 all of the random appearance.",
        min=0.0,
        max=1.0,
        step=0.05,
    )
    truncation_psi: float = setting(
        0.7,
        "How far the random appearances may lie from the average one: 0.7 typical, 1 the whole range.",
        min=0.0,
        max=2.0,
        step=0.05,
    )
    preserve_colour: bool = setting(
        False, "Keep the face's colours: the codes that drive a projection to RGB stay, texture alone varies."
    )
    layer_cut: int = setting(
        0,
        "The first code that varies; those before it hold the face. 0: the usual one, 7 from 128 px up, 5 at 64 px. "
        "Lower ones let parts of the face change too.",
        min=0,
        max=17,
        step=1,
        advanced=True,
    )
    coarse: float = setting(
        1.0,
        "Share of the style in 4 and 8 px layers: proportions of the head. Below 1 the source is needed.",
        min=0.0,
        max=1.0,
        step=0.05,
        advanced=True,
    )
    middle: float = setting(
        1.0,
        "Share of the style in 16 and 32 px layers: eyes, nose and mouth. Below 1 the source is needed.",
        min=0.0,
        max=1.0,
        step=0.05,
        advanced=True,
    )
    fine: float = setting(
        1.0,
        "Share of the style in layers from 64 px: lines, colour and texture. Below 1 the source is needed.",
        min=0.0,
        max=1.0,
        step=0.05,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ReferenceConfig:
    """Reading the look of a reference picture as a code of the style generator."""

    steps: int = setting(
        300,
        "Search iterations. 0 takes what the encoder says, or the nearest anchor. An encoder saves most of them.",
        min=0,
        max=10_000,
        step=10,
    )
    several: str = setting(
        "average",
        "What becomes of several references. average: one look between them. batch: a look for each.",
        choices=SEVERAL,
    )
    feature_weight: float = setting(
        1.0,
        "Weight of the distance in a discriminator's features; unused where neither generator has one.",
        min=0.0,
        max=100.0,
        step=0.1,
        advanced=True,
    )
    pixel_weight: float = setting(
        1.0,
        "Weight of the distance of the pictures at 64 px: colours and their places.",
        min=0.0,
        max=100.0,
        step=0.1,
        advanced=True,
    )
    mean_penalty: float = setting(
        0.01,
        "Keeps the look near the average one, so that it fits other faces. Lower copies the reference more.",
        min=0.0,
        max=100.0,
        step=0.005,
        advanced=True,
    )
    learning_rate: float = setting(
        0.1,
        "Adam step, in standard deviations of the generator's w.",
        min=1e-4,
        max=1.0,
        step=0.01,
        unit="standard deviations",
        advanced=True,
    )
    preview_interval: int = setting(
        25,
        "A preview picture every so many iterations; 0 makes none.",
        min=0,
        max=10_000,
        step=1,
        unit="iterations",
        advanced=True,
    )
    batch_size: int = setting(
        8,
        "References searched for at once. Less memory with fewer; the result of each is the same.",
        min=1,
        max=256,
        step=1,
        unit="pictures",
        advanced=True,
    )
    seed: int = setting(0, "Seed of everything random in the search.", min=0, max=2**32 - 1, step=1, advanced=True)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps and self.pixel_weight == 0.0 and self.feature_weight == 0.0:
            raise ValueError("`pixel_weight` and `feature_weight` are both 0: nothing is compared. Raise one of them.")


@dataclass(frozen=True)
class ApplyConfig:
    """Drawing faces in the look that was read from a reference."""

    amount: float = setting(
        0.8,
        "How much of the reference's colours and textures (beta). 0: the style as it is, to the bit.",
        min=0.0,
        max=1.0,
        step=0.05,
    )
    structure: float = setting(
        0.0,
        "How much of the reference's eyes, nose and mouth (gamma, codes 4 to 6). 0.3 is a hint; the face is "
        "less itself with more.",
        min=0.0,
        max=1.0,
        step=0.05,
    )
    preserve_colour: bool = setting(
        False, "Keep the face's colours: only the codes that drive no projection to RGB come from the reference."
    )
    layer_cut: int = setting(
        0,
        "The first code that the reference decides. 0: the usual one, 7 from 128 px up, 5 at 64 px.",
        min=0,
        max=17,
        step=1,
        advanced=True,
    )

    def __post_init__(self) -> None:
        check_fields(self)

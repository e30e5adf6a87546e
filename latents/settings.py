"""Settings of the two ways to stylise that train nothing: variations by chance, and a reference's look."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.settings import check_fields, setting


@dataclass(frozen=True)
class VariationConfig:
    """Multimodal stylisation: one face in many appearances of a style."""

    count: int = setting(6, "How many variations of each face.", (1, 64, 1))
    amount: float = setting(
        1.0,
        "How far each variation goes (beta). 0: exactly the style as it is; 1: all of the random appearance.",
        (0.0, 1.0, 0.05),
    )
    truncation_psi: float = setting(
        0.7,
        "How far the random appearances may lie from the average one: 0.7 typical, 1 the whole range.",
        (0.0, 2.0, 0.05),
    )
    preserve_colour: bool = setting(
        False, "Keep the face's colours: the codes that drive a projection to RGB stay, texture alone varies."
    )
    layer_cut: int = setting(
        0,
        "The first code that varies; those before it hold the face. 0: the usual one, 7 from 128 px up, 5 at 64 px. "
        "Lower ones let parts of the face change too.",
        (0, 17, 1),
        place="advanced",
    )
    coarse: float = setting(
        1.0,
        "Share of the style in 4 and 8 px layers: proportions of the head. Below 1 the source is needed.",
        (0.0, 1.0, 0.05),
        place="advanced",
    )
    middle: float = setting(
        1.0,
        "Share of the style in 16 and 32 px layers: eyes, nose and mouth. Below 1 the source is needed.",
        (0.0, 1.0, 0.05),
        place="advanced",
    )
    fine: float = setting(
        1.0,
        "Share of the style in layers from 64 px: lines, colour and texture. Below 1 the source is needed.",
        (0.0, 1.0, 0.05),
        place="advanced",
    )

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class ApplyConfig:
    """Drawing faces in the look that was read from a reference."""

    amount: float = setting(
        0.8,
        "How much of the reference's colours and textures to take (beta). 0: exactly the style as it is.",
        (0.0, 1.0, 0.05),
    )
    structure: float = setting(
        0.0,
        "How much of the reference's eyes, nose and mouth to take (gamma, codes 4 to 6). 0.3 is a hint; more makes the "
        "face less itself.",
        (0.0, 1.0, 0.05),
    )
    preserve_colour: bool = setting(
        False, "Keep the face's colours: only the codes that drive no projection to RGB come from the reference."
    )
    layer_cut: int = setting(
        0,
        "The first code that the reference decides. 0: the usual one, 7 from 128 px up, 5 at 64 px.",
        (0, 17, 1),
        place="advanced",
    )

    def __post_init__(self) -> None:
        check_fields(self)

"""Label classes of a rendered face, in the order of the label map's values."""

from __future__ import annotations

from enum import IntEnum

from torch import Tensor

from ..core.filters import shift


class Label(IntEnum):
    """One class per visible part. A label map is uint8 `[B, H, W]` holding these values."""

    BACKGROUND = 0
    SKIN = 1
    NOSE = 2
    EYE = 3
    BROW = 4
    UPPER_LIP = 5
    MOUTH = 6
    LOWER_LIP = 7
    HAIR = 8
    EAR = 9
    NECK = 10
    CLOTH = 11
    GLASSES = 12
    BEARD = 13


NUM_LABELS = len(Label)

# Colours for looking at label maps, sRGB 0..255, indexed by label.
LABEL_COLOURS = (
    (40, 40, 50),
    (236, 188, 150),
    (220, 150, 110),
    (255, 255, 255),
    (90, 50, 20),
    (210, 60, 80),
    (120, 0, 20),
    (240, 110, 120),
    (110, 70, 160),
    (250, 160, 90),
    (180, 130, 100),
    (60, 120, 190),
    (20, 200, 200),
    (100, 90, 60),
)


def boundaries(regions: Tensor) -> Tensor:
    """1 on the pixels either side of a change of value, else 0."""
    across = (regions != shift(regions, 1, 0)) | (regions != shift(regions, -1, 0))
    return (across | (regions != shift(regions, 0, 1)) | (regions != shift(regions, 0, -1))).float()


def among(label: Tensor, *classes: Label) -> Tensor:
    """Whether each pixel's label is one of `classes`, bool."""
    found = label == int(classes[0])
    for one in classes[1:]:
        found = found | (label == int(one))
    return found

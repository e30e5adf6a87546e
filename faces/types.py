"""A face in a photo, and faces cut out of photos: what travels between detection, alignment and pasting.

Pictures are `[B, 3, H, W]` float32 in -1..1. Coordinates are continuous pixels (x right, y down) with the origin at the
top-left corner of the picture, so the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in a photo."""

    box: Tensor
    """[4]: left, top, right, bottom in photo pixels, from forehead to chin; may reach beyond the photo."""
    landmarks: Tensor
    """[5,2] (x, y) in photo pixels: the eye on the left of an upright face (the person's right eye), the other eye,
    nose tip, mouth corner below the first eye, mouth corner below the second."""
    score: float
    """0..1, how sure the detector is."""
    sure: bool = True
    """False for a place that may show a face, but not well enough to draw on it."""


@dataclass(frozen=True, eq=False)
class FaceCrops:
    """Aligned faces, and how to put them back (socket FACE_CROPS)."""

    crops: Tensor
    """`[N, 3, S, S]`."""
    crop_to_photo: Tensor
    """`[N, 2, 3]` float32: `photo_xy = M @ (crop_x, crop_y, 1)`."""
    frame_index: Tensor
    """`[N]` int64: which photo each face is from."""
    landmarks: Tensor
    """`[N, 5, 2]` in photo pixels: left and right eye (as seen in it), nose tip, left and right mouth corner."""
    score: Tensor
    """`[N]` detector confidence, 0..1."""
    photos: Tensor
    """`[F, 3, H, W]`: the photos themselves; those read of files also as uint8 in 0..255 (`pixels.to_floats`)."""
    track: Tensor | None = None
    """`[N]` int64: which person of a video each face is, see `faces/tracks.py`; None where nobody has looked."""
    alpha: Tensor | None = None
    """`[F, H, W]` in 0..1: the photos' alpha; None where they have none. `photos` lie over white."""

    def __len__(self) -> int:
        return self.crops.shape[0]

    def replace(self, **changes: Any) -> FaceCrops:
        """A copy with the given fields changed."""
        return replace(self, **changes)

"""A picture file to learn from, as a tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...core.picture_files import PictureError, in_unit, open_picture, to_rgb, upright

SMALLEST_SIDE = 32
"""Pictures with a shorter side, in pixels, are skipped: enlarged they would teach blur."""
LARGEST_SIDE = 4096
"""Larger pictures are made smaller while they are read, so that one of them never fills the memory."""


class UnusablePicture(ValueError):
    """A file that is no picture, or not one to learn from; the message completes "Skipped ...: "."""


def read_picture(path: Path) -> Tensor:
    """A picture file as `[3, H, W]` float32 in -1..1; `UnusablePicture` says why not.

    As `models.pictures` reads it, with transparency laid over white; of an animation the first frame. A longer side
    than LARGEST_SIDE is reduced to it.
    """
    try:
        with open_picture(path) as file:
            if min(file.size) < SMALLEST_SIDE:
                raise PictureError(f"is only {file.width} x {file.height} pixels")
            # JPEG only: decoded at half, a quarter or an eighth of its size where that is still large enough.
            file.draft(None, (LARGEST_SIDE, LARGEST_SIDE))
            image = upright(file)
            if max(image.size) > LARGEST_SIDE:
                image = _mixable(image).reduce(-(-max(image.size) // LARGEST_SIDE))
            rgb, alpha = to_rgb(image)
    except PictureError as error:
        raise UnusablePicture(f"it {error}") from error
    rgb = in_unit(rgb)
    if alpha is not None:
        share = in_unit(alpha)[..., None]
        rgb = np.where(share > 0, rgb * share + (1 - share), 1)
    return torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1).contiguous() * 2.0 - 1.0


def _mixable(image: Image.Image) -> Image.Image:
    """The same in a mode whose pixels can be averaged, which numbers of a palette cannot."""
    if image.mode.startswith("I"):
        return image.convert("I")
    if image.mode in ("1", "P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image

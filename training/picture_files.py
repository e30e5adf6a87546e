"""Picture files: which of a folder's files are pictures, and one of them as a tensor, whatever its format and mode."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

EXTENSIONS = frozenset(
    ".png .jpg .jpeg .jfif .webp .bmp .tif .tiff .gif .avif .jp2 .ppm .pgm .tga".split()  # noqa: SIM905 - reads better
)
SMALLEST_SIDE = 32
"""Pictures with a shorter side, in pixels, are skipped: enlarged they would teach blur."""
LARGEST_SIDE = 4096
"""Larger pictures are made smaller while they are read, so that one of them never fills the memory."""


NOT_READ = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, RuntimeError, OverflowError, MemoryError,
    struct.error, zlib.error,
)  # fmt: skip
"""Pillow reports damaged files by any of these."""


class UnusablePicture(ValueError):
    """A file that is no picture, or not one to learn from; the message completes "Skipped ...: "."""


def find_pictures(folder: Path, subfolders: bool = False) -> list[Path]:
    """The picture files of a folder, and of its subfolders where asked, in the order of their paths.

    Hidden files and folders are left out, and so are links to folders: they may lead in a circle.
    """
    found = []
    for place, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if subfolders and not name.startswith("."))
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS and path.is_file())


def read_picture(path: Path) -> Tensor:
    """A picture file as `[3, H, W]` float32 in -1..1; `UnusablePicture` says why not.

    Turned as its EXIF orientation says, transparency laid over white, grey, palette, CMYK and 16-bit converted; of an
    animation the first frame. A longer side than LARGEST_SIDE is reduced to it.
    """
    try:
        with Image.open(path) as file:
            if min(file.size) < SMALLEST_SIDE:
                raise UnusablePicture(f"it is only {file.width} x {file.height} pixels")
            # JPEG only: decoded at half, a quarter or an eighth of its size where that is still large enough.
            file.draft(None, (LARGEST_SIDE, LARGEST_SIDE))
            image = ImageOps.exif_transpose(file)
            if max(image.size) > LARGEST_SIDE:
                image = _mixable(image).reduce(-(-max(image.size) // LARGEST_SIDE))
            rgb = _to_rgb(image)
    except Image.DecompressionBombError as error:
        raise UnusablePicture("it has too many pixels; make it smaller") from error
    except UnusablePicture:
        raise
    except NOT_READ as error:
        raise UnusablePicture("it cannot be read as a picture; the file may be damaged") from error
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous() * 2.0 - 1.0


def _mixable(image: Image.Image) -> Image.Image:
    """The same in a mode whose pixels can be averaged, which numbers of a palette cannot."""
    if image.mode.startswith("I;"):
        return image.convert("I")
    if image.mode in ("1", "P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image


def _to_rgb(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`[H, W, 3]` float32 in 0..1."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips these when it converts them: 16-bit grey would come out white.
        values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=0.0)), 1.0)
        return np.repeat((values / top).clip(0.0, 1.0)[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255.0
        alpha = rgba[:, :, 3:]
        over_white: np.ndarray[Any, np.dtype[np.float32]] = rgba[:, :, :3] * alpha + (1.0 - alpha)
        return over_white
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0

"""A folder of style pictures as one tensor: any size and format in, equal squares out, the unusable ones named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..faces.align import align_faces
from ..models.detection import detect_faces, load_detector

log = logging.getLogger(__name__)

EXTENSIONS = frozenset(
    ".png .jpg .jpeg .jfif .webp .bmp .tif .tiff .gif .avif .jp2 .ppm .pgm .tga".split()  # noqa: SIM905 - reads better
)
SMALLEST_SIDE = 32
"""Pictures with a shorter side, in pixels, are skipped: enlarged they would teach blur."""
HASH_SIDE = 16
MAX_HASH_DISTANCE = 5
"""Of 256 bits; two pictures nearer than this, and of about the same colours, count as one."""
MAX_COLOUR_DISTANCE = 0.04
"""On the 0..1 scale, mean over a 4x4 grid."""

Align = Callable[[Tensor], Tensor | None]
"""`picture [3, H, W]` in -1..1 to aligned face `[3, S, S]`, or None when it shows no face."""


@dataclass(frozen=True, eq=False)
class StyleImages:
    """What a folder held."""

    images: Tensor
    """`[N, 3, S, S]` in -1..1."""
    paths: tuple[Path, ...]
    """Where each picture came from, N of them."""
    skipped: tuple[tuple[Path, str], ...]
    """Files that were left out and why."""


def load_style_folder(
    folder: Path | str, size: int, align: bool | Align = False, skip_duplicates: bool = True
) -> StyleImages:
    """All usable pictures of a folder (not of its subfolders), in the order of their names.

    size             side of the squares, in pixels.
    align            True cuts out the largest face that the best detector at hand finds; a callable is asked instead;
                     False takes the centred square, so the pictures should already be face portraits.
    skip_duplicates  leave out pictures that equal or nearly equal an earlier one.

    Raises ValueError with a sentence when there is no such folder or no usable picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}. Give the folder that holds the style pictures.")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in EXTENSIONS and p.is_file() and p.name[0] != ".")
    if not files:
        raise ValueError(f"The folder {folder} holds no pictures. Put 10 to 300 style portraits (PNG, JPEG) into it.")
    aligner = largest_face_aligner(size) if align is True else align or None
    images: list[Tensor] = []
    paths: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    seen: list[_Look] = []
    for path in files:
        try:
            picture = read_picture(path)
        except UnusablePicture as error:
            skipped.append((path, str(error)))
            continue
        square = _square(picture, size, aligner)
        if square is None:
            skipped.append((path, "no face was found in it"))
            continue
        look = _look(square)
        twin = next((i for i, other in enumerate(seen) if _same(look, other)), None) if skip_duplicates else None
        if twin is not None:
            equal = "is the same picture as" if torch.equal(images[twin], square) else "is nearly the same picture as"
            skipped.append((path, f"{equal} {paths[twin].name}"))
            continue
        images.append(square)
        paths.append(path)
        seen.append(look)
    for path, reason in skipped:
        log.warning("Skipped style picture %s: %s.", path.name, reason)
    if not images:
        reasons = "; ".join(f"{path.name} {reason}" for path, reason in skipped[:3])
        raise ValueError(f"None of the {len(files)} pictures in {folder} can be used ({reasons}).")
    return StyleImages(torch.stack(images), tuple(paths), tuple(skipped))


def largest_face_aligner(
    size: int, detector: str = "auto", places: str | Path | Sequence[Path] | None = None
) -> Align:
    """An `align` that cuts out the largest face, FFHQ-framed at `size` pixels; see `load_detector` for the rest."""
    network = load_detector(detector, places)

    def align(picture: Tensor) -> Tensor | None:
        faces = align_faces(
            picture[None], lambda photo: detect_faces(network, photo), size, on_no_face="skip", max_faces=1
        )
        return faces.crops[0] if len(faces) else None

    return align


class UnusablePicture(ValueError):
    """A file that is no picture, or not one to learn from; the message completes "Skipped ...: "."""


def read_picture(path: Path) -> Tensor:
    """A picture file as `[3, H, W]` float32 in -1..1; `UnusablePicture` says why not.

    Turned as its EXIF orientation says, transparency laid over white, grey, palette, CMYK and 16-bit converted; of an
    animation the first frame.
    """
    try:
        with Image.open(path) as file:
            rgb = _to_rgb(ImageOps.exif_transpose(file))
    except Image.DecompressionBombError as error:
        raise UnusablePicture("it has too many pixels; make it smaller") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow reports damaged files by any of these.
        raise UnusablePicture("it cannot be read as a picture; the file may be damaged") from error
    if min(rgb.shape[:2]) < SMALLEST_SIDE:
        raise UnusablePicture(f"it is only {rgb.shape[1]} x {rgb.shape[0]} pixels")
    return torch.from_numpy(rgb).permute(2, 0, 1).contiguous() * 2.0 - 1.0


def _to_rgb(image: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """`[H, W, 3]` float32 in 0..1."""
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow clips these when it converts them: 16-bit grey would come out white.
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I") else max(float(values.max(initial=0.0)), 1.0)
        return np.repeat((values / top).clip(0.0, 1.0)[:, :, None], 3, axis=2)
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = np.asarray(image.convert("RGBA"), dtype=np.float32) / 255.0
        alpha = rgba[:, :, 3:]
        over_white: np.ndarray[Any, np.dtype[np.float32]] = rgba[:, :, :3] * alpha + (1.0 - alpha)
        return over_white
    return np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0


def _square(picture: Tensor, size: int, align: Align | None) -> Tensor | None:
    """The face, or the centred square, as `[3, size, size]`; None when there is no face."""
    if align is not None:
        aligned = align(picture)
        if aligned is None:
            return None
        picture = aligned.detach().float().cpu()
    side = min(picture.shape[1:])
    top, left = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
    picture = picture[:, top : top + side, left : left + side]
    if side != size:
        picture = torch.nn.functional.interpolate(
            picture[None], size=(size, size), mode="bicubic", antialias=True, align_corners=False
        )[0]
    return picture.clamp(-1.0, 1.0).contiguous()


@dataclass(frozen=True, eq=False)
class _Look:
    """What two copies of a picture have in common, whatever their size and compression."""

    bits: Tensor
    """Average hash: which of 16 x 16 cells are brighter than their mean, `[256]` bool."""
    colours: Tensor
    """`[3, 4, 4]` in 0..1."""


def _look(square: Tensor) -> _Look:
    pooled = torch.nn.functional.adaptive_avg_pool2d((square + 1.0) / 2.0, HASH_SIDE)
    grey = pooled.mean(0)
    return _Look((grey > grey.mean()).flatten(), torch.nn.functional.adaptive_avg_pool2d(pooled, 4))


def _same(a: _Look, b: _Look) -> bool:
    if int((a.bits != b.bits).sum()) > MAX_HASH_DISTANCE:
        return False
    return float((a.colours - b.colours).abs().mean()) < MAX_COLOUR_DISTANCE

"""Picture files: finding them in folders, telling their format by the first bytes, and reading one of any mode and
depth. Every part reads them here."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, ImageSequence

FORMATS = (
    "PNG",
    "JPEG",
    "MPO",
    "WEBP",
    "TIFF",
    "BMP",
    "DIB",
    "GIF",
    "AVIF",
    "JPEG2000",
    "HEIF",
    "JXL",
    "PPM",
    "PSD",
    "ICO",
    "QOI",
    "TGA",
)
"""What Pillow may read, by its own names. Others are left out with reason: PostScript would start a program."""
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
"""Formats whose frames are a series. Those of others are layers or a camera's previews, which nobody means to load."""

EXTENSIONS = frozenset(
    ".png .jpg .jpeg .jfif .webp .bmp .tif .tiff .gif .avif .jp2 .ppm .pgm .tga .psd .heic .heif .jxl".split()  # noqa: SIM905 - reads better
)
"""Endings of the files that a folder of pictures is taken to hold."""
HEAD = 512
"""How many first bytes `refusal` looks at."""
PLUGINS = {
    "HEIC": ("pillow_heif", "pillow-heif"),
    "AVIF": ("pillow_avif", "pillow-avif-plugin"),
    "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin"),
}
"""Format: the module that teaches Pillow to read it, and the package it is in."""

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_RAW = "a camera's raw file"
_VIDEO = "a video"
_STARTS = (
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\0", _RAW),
    (b"FOVb", _RAW),
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript file"),
    (b"\x1aE\xdf\xa3", _VIDEO),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"version https://git-lfs", "a Git LFS pointer, which stands for a file that was not fetched"),
)
_WHAT_TO_DO = {
    _RAW: "develop it and give the JPEG, PNG or TIFF",
    _VIDEO: "save its frames as pictures and give those",
    "an SVG drawing": "export it as PNG",
    "a PDF document": "export its page as PNG",
    "a web page": "the download of the picture went wrong; fetch it again",
}

Pixels = np.ndarray[Any, np.dtype[Any]]
"""uint8 in 0..255, or float32 in 0..1 of a file that has more bits."""
_DNG_VERSION, _SUBFILE_TYPE, _SUB_IFDS = 0xC612, 0xFE, 0x14A


class PictureError(ValueError):
    """A file that is no usable picture; the message goes on after the file's name: "is empty"."""


def find_pictures(folder: Path, subfolders: bool = False) -> list[Path]:
    """The picture files of a folder, and of its subfolders where asked, sorted as people count: x2 before x10.

    Hidden files and folders are left out, and so are links to folders: they may lead in a circle.
    """
    found = []
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if subfolders and not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    # A link that leads nowhere is somebody's picture, too: reading it tells so.
    pictures = (path for path in found if path.suffix.lower() in EXTENSIONS and (path.is_file() or not path.exists()))
    return sorted(pictures, key=natural)


def natural(path: Path) -> list[Any]:
    """A key that sorts paths as people do: folder by folder, numbers by their value."""
    return [
        ([(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name.lower())], name)
        for name in path.parts
    ]


@contextlib.contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Opens a picture file; what goes wrong with it, also in the block, is a `PictureError` that says what and why."""
    if path.is_dir():
        raise PictureError("is a folder; give the pictures in it")
    if not path.exists():
        raise PictureError("does not exist; check the path")
    if not path.is_file():
        raise PictureError("is not a file; give a picture file")
    Image.init()
    head = b""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Of sizes between its limit and twice that, and of tags nobody here asks for.
            warnings.simplefilter("ignore")
            head = file.read(HEAD)
            said = refusal(head, set(Image.OPEN))
            if said is not None:
                raise PictureError(said)
            file.seek(0)
            with Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN]) as picture:
                tags = getattr(picture, "tag_v2", {})
                if _DNG_VERSION in tags or (_SUB_IFDS in tags and tags.get(_SUBFILE_TYPE, 0) & 1):
                    # A TIFF as far as Pillow can tell, which would read its thumbnail.
                    raise PictureError("is a camera's raw file; develop it and give the JPEG, PNG or TIFF")
                yield picture
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise PictureError(f"has more than {most} million pixels; make it smaller") from error
    except MemoryError as error:
        raise PictureError("does not fit into the memory; make it smaller") from error
    except PermissionError as error:
        raise PictureError("may not be read; check its permissions") from error
    except Image.UnidentifiedImageError as error:
        name = format_of(head)
        what = "its content is of no known format" if name is None else f"it is {name}, and damaged or of a new kind"
        raise PictureError(
            f"cannot be read as a picture: {what}; give PNG, JPEG, WebP, TIFF, BMP or GIF files"
        ) from error
    except Exception as error:
        # Decoders report damaged files by nearly any exception.
        reason = str(getattr(error, "strerror", None) or error or type(error).__name__)
        raise PictureError(f"cannot be read as a picture; the file may be damaged ({reason.rstrip('.')})") from error


def format_of(head: bytes) -> str | None:
    """The format of a file that begins with `head`, of those that Pillow alone does not read; None for any other."""
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp":
        length = int.from_bytes(head[:4], "big")
        brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(max(length, 16), len(head)), 4))}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIC:
            return "HEIC"
        return _RAW if head[8:12] == b"crx " else _VIDEO
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _VIDEO
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return _RAW
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith(b"<svg") or (text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text):
        return "an SVG drawing"
    return None


def refusal(head: bytes, readable: set[str]) -> str | None:
    """Why a file that begins with `head` cannot be read as a picture, after its name: "is ..."; None where it may be.

    A plugin for Pillow that reads the format is switched on where it is installed.

    Args:
        readable: the formats that Pillow reads, by its own names.
    """
    if not head:
        return "cannot be read as a picture: it is empty (0 bytes); copy or download it again"
    name = format_of(head)
    if name is None or (name == "AVIF" and "AVIF" in readable):
        return None
    if name not in PLUGINS:
        return f"is {name}, not a picture; {_WHAT_TO_DO.get(name, 'give PNG, JPEG, WebP or TIFF files')}"
    module, package = PLUGINS[name]
    with contextlib.suppress(ImportError):
        plugin = importlib.import_module(module)
        if name == "HEIC":
            plugin.register_heif_opener()
        return None
    article = "an" if name == "AVIF" else "a"
    return f"is {article} {name} picture, which needs `pip install {package}`; or save it as JPEG or PNG"


def read_frames(path: Path) -> tuple[Pixels, Pixels | None]:
    """A picture file as `[F, H, W, 3]`, and its alpha `[F, H, W]` where any frame has transparency; both are `Pixels`.

    Turned as EXIF says, colours brought to sRGB where the file says what they are, 16 bits scaled. The frames of an
    animation that differ in size from the first are left out.

    Raises:
        PictureError: it cannot be read.
    """
    frames: list[tuple[Pixels, Pixels | None]] = []
    with open_picture(path) as picture:
        several = ImageSequence.Iterator(picture) if picture.format in ANIMATED else [picture]
        for frame in several:
            rgb, alpha = to_rgb(upright(frame))
            if not frames or rgb.shape == frames[0][0].shape:
                frames.append((rgb, alpha))
        if any(rgb.dtype != np.uint8 for rgb, _ in frames):
            frames = [(in_unit(rgb), None if alpha is None else in_unit(alpha)) for rgb, alpha in frames]
        colours = np.stack([rgb for rgb, _ in frames]) if len(frames) > 1 else frames[0][0][None]
        if all(alpha is None for _, alpha in frames):
            return colours, None
        opaque = np.full(colours.shape[1:3], 255 if colours.dtype == np.uint8 else 1, colours.dtype)
        return colours, np.stack([opaque if alpha is None else alpha for _, alpha in frames])


def size_of(path: Path) -> int:
    """How many pixels a picture file has by its head; 0 where it cannot be read."""
    try:
        with open_picture(path) as picture:
            return picture.width * picture.height
    except PictureError:
        return 0


def in_unit(pixels: Pixels) -> Pixels:
    """The same as float32 in 0..1."""
    return pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels


def upright(picture: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; damaged EXIF data turns nothing."""
    picture.load()
    try:
        # Pillow would copy one that is upright already.
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:
        # Pillow's EXIF reader reports damage by any exception; the pixels themselves were read.
        return picture


def to_rgb(picture: Image.Image) -> tuple[Pixels, Pixels | None]:
    """`[H, W, 3]` as sRGB, and the alpha `[H, W]` where the picture has transparency; both are `Pixels`."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_grey(picture)
    alpha = None
    if picture.has_transparency_data:
        rgba = picture if picture.mode in ("RGBA", "LA") else picture.convert("RGBA")
        alpha = np.array(rgba.getchannel("A"))
        picture = rgba
    return np.array(_as_srgb(picture)), alpha


def _deep_grey(picture: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Grey of 16 bits or of floats, which Pillow would clip to 0..255."""
    raw = np.asarray(picture, np.float32)
    key = picture.info.get("transparency")
    alpha = (raw != key).astype(np.float32) if isinstance(key, int) else None
    top = 65535.0
    if picture.mode == "F":
        # Floats are 0..1, or whole numbers of 8 or 16 bits.
        most = float(raw.max(initial=0, where=np.isfinite(raw)))
        top = next((bound for bound in (1.0, 255.0, 65535.0) if most <= bound), most)
        raw = np.nan_to_num(raw, posinf=top, neginf=0.0)
    return np.repeat((raw / top).clip(0, 1)[:, :, None], 3, axis=2), alpha


def _as_srgb(picture: Image.Image) -> Image.Image:
    """A picture of 8 bits as RGB: by its colour profile where it brings one that fits, as a phone's Display P3."""
    profile = picture.info.get("icc_profile")
    colours = picture.convert("RGB") if picture.mode not in ("RGB", "CMYK", "LAB", "L") else picture
    if profile and (picture.mode in ("L", "CMYK", "LAB") or colours.mode == "RGB"):
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(given).lower():
                converted = ImageCms.profileToProfile(colours, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            # Damaged, or of another kind of pixels than the picture's: as if it brought none, as browsers do.
            pass
    if colours.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(colours, lab, ImageCms.createProfile("sRGB"), outputMode="RGB") or colours
    return colours if colours.mode == "RGB" else colours.convert("RGB")

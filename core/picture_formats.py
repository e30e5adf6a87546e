"""What a file is by its first bytes, whatever its name says, and what reads it where Pillow alone does not."""

from __future__ import annotations

import contextlib
import importlib

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

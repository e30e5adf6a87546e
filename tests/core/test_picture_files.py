"""Picture files of every format and kind, named by what is in them; the order of a folder."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from tolerances import rounding

from facestylist.core.picture_files import PictureError, find_pictures, format_of, in_unit, size_of
from facestylist.core.picture_files import read_frames as read_pixels


def read_frames(path: Path) -> tuple[Any, Any]:
    """Colours and alpha in 0..1."""
    colours, alpha = read_pixels(path)
    return in_unit(colours), None if alpha is None else in_unit(alpha)


def box(kind: bytes, brand: bytes, *compatible: bytes) -> bytes:
    """The first box of an ISO media file."""
    content = kind + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", len(content) + 4) + content + bytes(64)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (box(b"ftyp", b"heic", b"mif1"), "HEIC"),
        (box(b"ftyp", b"mif1", b"heic"), "HEIC"),
        (box(b"ftyp", b"mif1", b"avif"), "AVIF"),
        (box(b"ftyp", b"avif"), "AVIF"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(40), "a camera's raw file"),
        (box(b"ftyp", b"crx "), "a camera's raw file"),
        (b"FUJIFILMCCD-RAW 0201", "a camera's raw file"),
        (box(b"ftyp", b"isom", b"mp41"), "a video"),
        (box(b"ftyp", b"qt  "), "a video"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "an SVG drawing"),
        (b"\xef\xbb\xbf<svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
    ],
)
def test_other_formats_are_named_whatever_the_file_is_called(
    head: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert format_of(head) == name
    for module in ("pillow_heif", "pillow_jxl", "pillow_avif"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    monkeypatch.setattr(Image, "init", lambda: None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(head)
    with pytest.raises(PictureError, match=name) as told:
        read_frames(path)
    if name in ("HEIC", "AVIF", "JPEG XL"):
        assert "pip install pillow-" in str(told.value)


def test_plugins_are_switched_on_where_they_are_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 10, 10))).save(tmp_path / "a.heic", exif=exif.tobytes())
    (tmp_path / "a.heic").rename(tmp_path / "a.jpg")
    colours, alpha = read_frames(tmp_path / "a.jpg")
    assert colours.shape == (1, 64, 48, 3) and alpha is None
    assert np.abs(colours[0, 20, 20] * 255 - (200, 10, 10)).max() < 12


def test_a_raw_file_that_looks_like_a_tiff_is_not_read_as_its_thumbnail(tmp_path: Path) -> None:
    for name, tags in (("a.dng", {0xC612: b"\1\4\0\0"}), ("b.tif", {0xFE: 1, 0x14A: 8})):
        Image.new("RGB", (16, 12)).save(tmp_path / name, "TIFF", tiffinfo=tags)
        with pytest.raises(PictureError, match="raw file"):
            read_frames(tmp_path / name)


@pytest.mark.skipif("AVIF" not in Image.OPEN and not Image.init() and "AVIF" not in Image.OPEN, reason="no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    Image.new("RGBA", (32, 24), (10, 200, 30, 128)).save(tmp_path / "a.avif")
    colours, alpha = read_frames(tmp_path / "a.avif")
    assert colours.shape == (1, 24, 32, 3) and alpha is not None and np.abs(alpha * 255 - 128).max() < 3


def test_transparency_of_every_mode(tmp_path: Path) -> None:
    step = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(3, 4)
    Image.fromarray(np.dstack([step, step]), "LA").save(tmp_path / "la.png")
    Image.fromarray(np.dstack([step, step, step, step]), "RGBA").save(tmp_path / "rgba.webp", lossless=True, exact=True)
    for name in ("la.png", "rgba.webp"):
        alpha = read_frames(tmp_path / name)[1]
        assert alpha is not None and np.allclose(alpha[0] * 255, step, rtol=0, atol=rounding(3, 255))
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    deep = np.full((3, 4), 40000, np.uint16)
    deep[0, 0] = 1234
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=1234)
    for name, rest in (("p.png", 128 / 255), ("deep.png", 1.0)):
        alpha = read_frames(tmp_path / name)[1]
        assert alpha is not None and alpha[0, 0, 0] == 0 and np.allclose(alpha[0].ravel()[1:], rest), name


def test_floats_and_what_is_no_number_in_them(tmp_path: Path) -> None:
    for top in (1.0, 255.0, 65535.0):
        values = np.array([[0, top / 2, top], [np.nan, np.inf, -np.inf]], np.float32)
        Image.fromarray(values).save(tmp_path / "f.tif")
        grey = read_frames(tmp_path / "f.tif")[0][0, :, :, 0]
        assert np.allclose(grey, [[0, 0.5, 1], [0, 1, 0]])


def test_colours_are_brought_to_srgb_by_the_file_s_profile(tmp_path: Path) -> None:
    """A phone's photos are in Display P3, whose green is no sRGB green."""
    picture = Image.new("RGB", (8, 8), (90, 160, 60))
    # A profile with red and green exchanged: what it does is plain to see.
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = swapped.index(b"rXYZ"), swapped.index(b"gXYZ")
    swapped[red : red + 4], swapped[green : green + 4] = b"gXYZ", b"rXYZ"
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")
    picture.save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    assert np.abs(read_frames(tmp_path / "swapped.png")[0][0, 0, 0] * 255 - (160, 90, 60)).max() <= 2
    for name, profile in (("damaged.png", b"no profile"), ("plain.png", None)):
        picture.save(tmp_path / name, icc_profile=profile)
        assert np.allclose(read_frames(tmp_path / name)[0][0, 0, 0] * 255, (90, 160, 60))


def test_only_the_first_of_what_is_no_animation(tmp_path: Path) -> None:
    two = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
    two[0].save(tmp_path / "camera.jpg", "MPO", save_all=True, append_images=two[1:])
    assert read_frames(tmp_path / "camera.jpg")[0].shape == (1, 10, 20, 3)
    two[0].save(tmp_path / "clip.gif", save_all=True, append_images=two[1:])
    assert read_frames(tmp_path / "clip.gif")[0].shape == (2, 10, 20, 3)


def test_pixels_keep_the_depth_of_their_file(tmp_path: Path) -> None:
    """A large photo of 8 bits is not made four times as large before somebody needs its floats."""
    eight, deep = np.full((3, 4, 3), 200, np.uint8), np.full((3, 4), 40000, np.uint16)
    Image.fromarray(eight).save(tmp_path / "eight.png")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    colours, alpha = read_pixels(tmp_path / "eight.png")
    assert colours.dtype == np.uint8 and (colours == 200).all() and alpha is None
    assert read_pixels(tmp_path / "deep.png")[0].dtype == np.float32
    Image.fromarray(deep).save(tmp_path / "both.tif", save_all=True, append_images=[Image.fromarray(eight)])
    both = read_pixels(tmp_path / "both.tif")[0]
    assert both.dtype == np.float32 and np.allclose(both[:, 0, 0, 0], (40000 / 65535, 200 / 255))


def test_damaged_exif_turns_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 20)
    assert read_frames(tmp_path / "a.jpg")[0].shape == (1, 10, 20, 3)


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    Image.new("L", (2000, 1500)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000_000)
    assert read_frames(tmp_path / "large.png")[0].shape == (1, 1500, 2000, 3) and not recwarn.list
    assert size_of(tmp_path / "large.png") == 3_000_000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert size_of(tmp_path / "large.png") == 0
    with pytest.raises(PictureError, match="more than 2 million pixels; make it smaller"):
        read_frames(tmp_path / "large.png")


def test_bytes_of_any_damage_are_one_kind_of_error(tmp_path: Path) -> None:
    """A file whose bytes were changed at random is read, or refused by a `PictureError`."""
    random = np.random.RandomState(0)
    pixels = Image.fromarray(random.randint(0, 255, (24, 32, 3)).astype(np.uint8))
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "TGA", "JPEG2000", "PPM"):
        buffer = io.BytesIO()
        pixels.save(buffer, form)
        for _ in range(25):
            data = bytearray(buffer.getvalue())
            for place in random.randint(0, min(len(data), 300), 4):
                data[place] = random.randint(256)
            (tmp_path / "x").write_bytes(data[: random.randint(1, len(data) + 1)])
            try:
                colours, _ = read_frames(tmp_path / "x")
            except PictureError:
                continue
            assert np.isfinite(colours).all() and 0 <= colours.min() <= colours.max() <= 1


def test_a_folder_s_pictures_in_the_order_people_count(tmp_path: Path) -> None:
    for name in ("img10.jpg", "img2.png", "IMG1.JPG", "notes.txt", ".hidden.jpg", "._img2.png", "b.heic"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "lost.png").symlink_to(tmp_path / "nowhere.png")
    names = [path.name for path in find_pictures(tmp_path)]
    assert names == ["b.heic", "IMG1.JPG", "img2.png", "img10.jpg", "lost.png"]

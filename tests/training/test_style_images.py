"""A folder of anything becomes one tensor of equal squares, and what is left out is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from facestylist.training.style_images import load_style_folder, read_picture


def scene(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A smooth random picture `[H, W, 3]` uint8, different for each seed."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def close(picture: Tensor, array: np.ndarray, tolerance: float) -> bool:
    wanted = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    return bool((picture - wanted).abs().max() <= tolerance)


def test_formats_and_modes(tmp_path: Path) -> None:
    array = scene(0)
    image = Image.fromarray(array)
    grey = np.asarray(image.convert("L"))
    grey_rgb = np.repeat(grey[:, :, None], 3, axis=2)
    image.save(tmp_path / "rgb.png")
    image.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.tiff")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tiff")
    image.convert("CMYK").save(tmp_path / "cmyk.tiff")
    image.save(tmp_path / "rgb.webp", lossless=True)
    image.save(tmp_path / "rgb.bmp")
    palette = image.quantize(256)
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("P", image.size)])
    for name in ("rgb.png", "rgb.webp", "rgb.bmp"):
        assert close(read_picture(tmp_path / name), array, 1e-6), name
    for name in ("grey.png", "grey16.png", "grey16.tiff", "float.tiff"):
        assert close(read_picture(tmp_path / name), grey_rgb, 0.005), name
    assert close(read_picture(tmp_path / "cmyk.tiff"), array, 0.03)
    for name in ("palette.png", "moving.gif"):
        assert close(read_picture(tmp_path / name), np.asarray(palette.convert("RGB")), 0.03), name


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    array = scene(1)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32], alpha[32:48] = 255, 128
    over_white = array.astype(np.float32)
    over_white[48:] = 255
    over_white[32:48] += (255 - over_white[32:48]) * (127 / 255)
    save(tmp_path / "rgba.png", np.dstack([array, alpha]))
    assert close(read_picture(tmp_path / "rgba.png"), over_white, 0.01)
    grey = Image.fromarray(np.dstack([array[:, :, 0], alpha]), "LA")
    grey.save(tmp_path / "la.png")
    assert read_picture(tmp_path / "la.png")[:, 50:].min() == 1.0
    index = Image.fromarray(np.where(alpha > 0, 1, 0).astype(np.uint8), "P")
    index.putpalette([0, 0, 0, 200, 0, 0])
    index.save(tmp_path / "p.png", transparency=0)
    picture = read_picture(tmp_path / "p.png")
    assert picture[:, 60, 5].tolist() == [1, 1, 1] and picture[0, 5, 5] == pytest.approx(200 / 127.5 - 1, abs=1e-3)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    array = scene(2, 40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    save(tmp_path / "turned.png", array, exif=exif)
    assert close(read_picture(tmp_path / "turned.png"), np.rot90(array, -1).copy(), 1e-6)


def test_folder_order_squares_and_reasons(tmp_path: Path) -> None:
    save(tmp_path / "b.png", scene(1, 64, 128))
    save(tmp_path / "a.jpg", scene(2, 200, 150), quality=95)
    save(tmp_path / "c.png", scene(1, 64, 128))  # the same as b
    Image.fromarray(scene(2, 200, 150)).resize((300, 400)).save(tmp_path / "d.jpg", quality=60)  # nearly a
    (tmp_path / "e.png").write_bytes((tmp_path / "b.png").read_bytes()[:300])  # cut short
    (tmp_path / "f.png").write_bytes(b"this is no picture")
    save(tmp_path / "g.png", scene(3, 20, 300))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "h.png", scene(9))
    styles = load_style_folder(tmp_path, 32)
    assert [p.name for p in styles.paths] == ["a.jpg", "b.png"]
    assert styles.images.shape == (2, 3, 32, 32) and styles.images.abs().max() <= 1
    reasons = {path.name: reason for path, reason in styles.skipped}
    assert reasons == {
        "c.png": "is the same picture as b.png",
        "d.jpg": "is nearly the same picture as a.jpg",
        "e.png": "it cannot be read as a picture; the file may be damaged",
        "f.png": "it cannot be read as a picture; the file may be damaged",
        "g.png": "it is only 300 x 20 pixels",
    }
    assert len(load_style_folder(tmp_path, 32, skip_duplicates=False).paths) == 4
    # The centred square of a wide picture, anti-aliased down.
    centre = torch.from_numpy(scene(1, 64, 128)[:, 32:96].astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    assert (styles.images[1] - torch.nn.functional.avg_pool2d(centre, 2)).abs().mean() < 0.02


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (256, 256, 3), dtype=np.uint8) * 255
    save(tmp_path / "noise.png", noise)
    assert load_style_folder(tmp_path, 32).images.std() < 0.25, "the mean of 64 pixels, not one of them"


def test_different_pictures_are_no_duplicates(tmp_path: Path) -> None:
    for seed in range(20):
        save(tmp_path / f"{seed}.png", scene(seed))
    mirrored = scene(0)[:, ::-1].copy()
    save(tmp_path / "mirrored.png", mirrored)
    save(tmp_path / "recoloured.png", scene(0)[:, :, [2, 0, 1]].copy())
    assert not load_style_folder(tmp_path, 32).skipped


def test_align_cuts_out_faces_and_pictures_without_one_are_said(tmp_path: Path) -> None:
    for seed in range(3):
        save(tmp_path / f"{seed}.png", scene(seed, 80, 100))

    def align(picture: Tensor) -> Tensor | None:
        assert picture.shape == (3, 80, 100)
        return None if close(picture, scene(1, 80, 100), 1e-6) else picture[:, :48, :48]

    styles = load_style_folder(tmp_path, 48, align)
    assert [p.name for p in styles.paths] == ["0.png", "2.png"]
    assert [(p.name, reason) for p, reason in styles.skipped] == [("1.png", "no face was found in it")]
    assert close(styles.images[0], scene(0, 80, 100)[:48, :48], 1e-6)


def test_folders_with_nothing_in_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        load_style_folder(tmp_path / "nowhere", 32)
    with pytest.raises(ValueError, match="holds no pictures. Put 10 to 300"):
        load_style_folder(tmp_path, 32)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="None of the 1 pictures .* can be used .a.png it cannot be read"):
        load_style_folder(tmp_path, 32)

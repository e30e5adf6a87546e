"""A folder of anything becomes one tensor of equal squares, and what is left out is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tolerances import GREY_LEVEL, assert_close, rounding
from torch import Tensor

from facestylist.core.picture_files import find_pictures
from facestylist.training.data import picture_files
from facestylist.training.data.crop_cache import CropCache, FileHashes
from facestylist.training.data.duplicates import DuplicateFinder, cell_means
from facestylist.training.data.picture_files import read_picture
from facestylist.training.data.style_images import (
    FolderSettings,
    detector_fingerprint,
    folder_content,
    load_style_folder,
    scan_style_folder,
)

NO_PICTURE = (
    "it cannot be read as a picture: its content is of no known format; give PNG, JPEG, WebP, TIFF, BMP or GIF files"
)


def scene(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    """A smooth random picture `[H, W, 3]` uint8, different for each seed."""
    random = np.random.default_rng(seed)
    small = Image.fromarray(random.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def close(picture: Tensor, array: np.ndarray, levels: float = 0.0) -> bool:
    """Whether a picture in -1..1 is that of 8 bits but for rounding, and so many grey levels."""
    wanted = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    return bool((picture - wanted).abs().max() <= 2 * levels * GREY_LEVEL + rounding(4))


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
        assert close(read_picture(tmp_path / name), array), name
    for name in ("grey.png", "grey16.png", "grey16.tiff", "float.tiff"):
        assert close(read_picture(tmp_path / name), grey_rgb, levels=0.5), name
    assert close(read_picture(tmp_path / "cmyk.tiff"), array, levels=4), "one level of each ink"
    for name in ("palette.png", "moving.gif"):
        assert close(read_picture(tmp_path / name), np.asarray(palette.convert("RGB"))), name


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    array = scene(1)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:32], alpha[32:48] = 255, 128
    over_white = array.astype(np.float32)
    over_white[48:] = 255
    over_white[32:48] += (255 - over_white[32:48]) * (127 / 255)
    save(tmp_path / "rgba.png", np.dstack([array, alpha]))
    assert close(read_picture(tmp_path / "rgba.png"), over_white, levels=1)
    grey = Image.fromarray(np.dstack([array[:, :, 0], alpha]), "LA")
    grey.save(tmp_path / "la.png")
    assert read_picture(tmp_path / "la.png")[:, 50:].min() == 1.0
    index = Image.fromarray(np.where(alpha > 0, 1, 0).astype(np.uint8), "P")
    index.putpalette([0, 0, 0, 200, 0, 0])
    index.save(tmp_path / "p.png", transparency=0)
    picture = read_picture(tmp_path / "p.png")
    assert picture[:, 60, 5].tolist() == [1, 1, 1]
    assert picture[0, 5, 5] == pytest.approx(200 / 127.5 - 1, abs=rounding(4))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    array = scene(2, 40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    save(tmp_path / "turned.png", array, exif=exif)
    assert close(read_picture(tmp_path / "turned.png"), np.rot90(array, -1).copy())


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
        "e.png": "it cannot be read as a picture; the file may be damaged (image file is truncated)",
        "f.png": NO_PICTURE,
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
        return None if close(picture, scene(1, 80, 100)) else picture[:, :48, :48]

    styles = load_style_folder(tmp_path, 48, align)
    assert [p.name for p in styles.paths] == ["0.png", "2.png"]
    assert [(p.name, reason) for p, reason in styles.skipped] == [("1.png", "no face was found in it")]
    assert close(styles.images[0], scene(0, 80, 100)[:48, :48])


def test_folders_with_nothing_in_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no folder"):
        load_style_folder(tmp_path / "nowhere", 32)
    with pytest.raises(ValueError, match="holds no pictures. Put 10 to 300"):
        load_style_folder(tmp_path, 32)
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="None of the 1 pictures .* can be used .a.png it cannot be read"):
        load_style_folder(tmp_path, 32)


def test_large_pictures_are_reduced_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_files, "LARGEST_SIDE", 100)
    array = scene(3, 300, 600)
    image = Image.fromarray(array)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.jpg", quality=98)
    image.quantize(200).save(tmp_path / "a.gif")
    image.convert("RGBA").save(tmp_path / "a.webp", lossless=True)
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(tmp_path / "grey.png")
    small = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    small = torch.nn.functional.avg_pool2d(small, 6)
    for path in sorted(tmp_path.iterdir()):
        picture = read_picture(path)
        assert max(picture.shape) <= 100, path.name
        if path.name != "grey.png":
            reduced = torch.nn.functional.interpolate(picture[None], small.shape[1:], mode="area")[0]
            assert (reduced - small).abs().mean() < (0.08 if path.suffix == ".gif" else 0.03), path.name


def test_numbers_that_are_none_are_black(tmp_path: Path) -> None:
    values = np.full((40, 40), 0.5, np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tiff")
    picture = read_picture(tmp_path / "nan.tiff")
    assert torch.isfinite(picture).all() and picture[0, 0, 0] == -1


def test_subfolders_are_searched_when_asked(tmp_path: Path) -> None:
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / "z.png", scene(0))
    save(tmp_path / "b" / "a.png", scene(1))
    save(tmp_path / "b" / "c" / "a.png", scene(1))
    save(tmp_path / ".hidden" / "a.png", scene(2))
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "b" / "notes.jpg").write_text("no picture")
    assert [path.name for path in find_pictures(tmp_path)] == ["z.png"]
    styles = scan_style_folder(tmp_path, FolderSettings(32, subfolders=True))
    assert [path.relative_to(tmp_path).as_posix() for path in styles.paths] == ["b/a.png", "z.png"]
    assert styles.report().splitlines() == [
        "2 pictures taken, 2 left out.",
        "this folder: 1 taken, 0 left out",
        "b/: 1 taken, 1 left out",
        f"  notes.jpg: {NO_PICTURE}",
        "b/c/: 0 taken, 1 left out",
        "  a.png: is the same picture as b/a.png",
    ]
    (tmp_path / "z.png").unlink()
    with pytest.raises(ValueError, match="its subfolders hold 3. Turn `subfolders` on"):
        load_style_folder(tmp_path, 32)


def test_pictures_are_read_when_asked(tmp_path: Path) -> None:
    for seed in range(5):
        save(tmp_path / f"{seed}.png", scene(seed))
    seen: list[tuple[int, int]] = []
    styles = scan_style_folder(
        tmp_path, FolderSettings(48), cache=tmp_path / "cache", on_progress=lambda *at: seen.append(at)
    )
    assert seen == [(number, 5) for number in range(6)]
    whole = load_style_folder(tmp_path, 48).images
    assert torch.equal(styles.read(), whole), "a kept crop is the crop"
    assert torch.equal(styles.read([3, 1]), whole[[3, 1]])
    assert len(scan_style_folder(tmp_path, FolderSettings(32, most=2))) == 2


def test_the_cache_may_go_or_break_at_any_time(tmp_path: Path) -> None:
    import shutil

    for seed in range(3):
        save(tmp_path / f"{seed}.png", scene(seed))
    cache = tmp_path / "cache"
    styles = scan_style_folder(tmp_path, FolderSettings(32), cache=cache)
    images = styles.read()
    crops = sorted(cache.rglob("*.crop"))
    assert len(crops) == 3 and not list(cache.rglob("*.tmp"))
    crops[0].write_bytes(crops[0].read_bytes()[:40])
    (cache / "hashes.json").write_text("{broken")
    assert torch.equal(styles.read(), images)
    assert torch.equal(scan_style_folder(tmp_path, FolderSettings(32), cache=cache).read(), images)
    shutil.rmtree(cache)
    assert torch.equal(styles.read(), images)
    save(tmp_path / "1.png", scene(9))
    styles = scan_style_folder(tmp_path, FolderSettings(32), cache=cache)
    assert not torch.equal(styles.read()[1], images[1]), "another content is another crop"
    (tmp_path / "file").write_text("")
    blocked = scan_style_folder(tmp_path, FolderSettings(32), cache=tmp_path / "file")
    assert torch.equal(blocked.read([0]), images[:1]), "a cache that cannot be written costs time and nothing else"


def test_crops_belong_to_their_settings(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    save(tmp_path / "a.png", scene(0, 80, 80))

    class Corner:
        def __init__(self, fingerprint: str) -> None:
            self.fingerprint, self.calls = fingerprint, 0

        def __call__(self, picture: Tensor) -> Tensor | None:
            self.calls += 1
            return picture[:, :40, :40] if self.fingerprint != "blind" else None

    first, again, other = Corner("one"), Corner("one"), Corner("two")
    for corner in (first, again, other):
        scan_style_folder(tmp_path, FolderSettings(32), corner, cache)
    assert (first.calls, again.calls, other.calls) == (1, 0, 1)
    scan_style_folder(tmp_path, FolderSettings(40), again, cache)
    assert again.calls == 1, "another size is another crop"
    blind = [Corner("blind"), Corner("blind")]
    for corner in blind:
        with pytest.raises(ValueError, match="no face was found"):
            scan_style_folder(tmp_path, FolderSettings(32), corner, cache)
    assert [corner.calls for corner in blind] == [1, 0], "that there is no face is kept, too"
    plain = Corner("")
    scan_style_folder(tmp_path, FolderSettings(32), plain, cache)
    scan_style_folder(tmp_path, FolderSettings(32), plain, cache)
    assert plain.calls == 2, "without a fingerprint nothing is kept"


def test_a_detector_is_told_by_its_weights() -> None:
    class Holder:
        def __init__(self, network: object) -> None:
            self.network = network

        def find(self) -> None: ...

    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert detector_fingerprint(Holder(one)) == detector_fingerprint(Holder(one)) != detector_fingerprint(Holder(two))
    assert detector_fingerprint(Holder((Holder(one), Holder(two)))) != detector_fingerprint(Holder(one))
    assert detector_fingerprint(object()) == ""


def test_an_interrupted_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    for seed in range(4):
        save(tmp_path / f"{seed}.png", scene(seed))

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan_style_folder(tmp_path, FolderSettings(32), cache=tmp_path / "cache", on_progress=stop)
    assert len(list((tmp_path / "cache").rglob("*.crop"))) == 2


def test_held_out_pictures_depend_on_the_pictures_alone(tmp_path: Path) -> None:
    for seed in range(10):
        save(tmp_path / f"{seed}.png", scene(seed))
    styles = scan_style_folder(tmp_path, FolderSettings(32))
    train, held_out = styles.split(0.2)
    assert len(held_out) == 2 and sorted(train + held_out) == list(range(10))
    names = {styles.contents[index] for index in held_out}
    for seed in range(10):
        (tmp_path / f"{seed}.png").rename(tmp_path / f"x{9 - seed}.png")
    renamed = scan_style_folder(tmp_path, FolderSettings(32))
    assert {renamed.contents[index] for index in renamed.split(0.2)[1]} == names
    assert styles.split(0.0) == (list(range(10)), [])
    assert len(styles.split(0.001)[1]) == 1 and len(styles.split(0.99)[0]) == 1
    with pytest.raises(ValueError, match="below 1"):
        styles.split(1.0)


def test_hashes_are_read_again_only_where_a_file_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    hashes = FileHashes(tmp_path / "cache")
    first = hashes.of(path)
    hashes.save()
    assert FileHashes(tmp_path / "cache").of(path) == first
    path.write_bytes(b"two")
    assert FileHashes(tmp_path / "cache").of(path) != first
    assert FileHashes(None).of(path) == FileHashes(tmp_path / "cache").of(path)
    assert CropCache(None, "").get(first) is None
    assert folder_content(tmp_path) != folder_content(tmp_path / "missing")


def test_ten_thousand_pictures_are_compared_in_seconds() -> None:
    import time

    random = np.random.default_rng(0)
    finder = DuplicateFinder()
    pictures = random.integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    start = time.process_time()
    for index in range(10_000):
        # Each another: parts of the 200, shifted.
        finder.twin_or_add(np.roll(pictures[index % 200], index // 200, axis=(0, 1)[index % 2]))
    assert time.process_time() - start < 60
    assert finder.twin_or_add(pictures[7]) == 7


def test_means_of_cells_are_those_of_adaptive_pooling() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    wanted = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(picture).permute(2, 0, 1).float() / 255, 16)
    assert_close(cell_means(picture, 16), wanted.permute(1, 2, 0), 5 * 5)

"""Many photos at once: files and folders, the ones that cannot be done, and transparency in the results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.console import Console
from facestylist.cli.main import main
from facestylist.cli.photos import Photos, unique_stems
from facestylist.core.assets import ASSETS
from facestylist.core.files import write_atomically
from facestylist.models.stylizer import draw

WAYS = {
    "fast": ["stylise", "--style", "cartoon", "--fast", "--stroke-size", "8", "--out", "out"],
    "generator": ["stylise", "--style", "cartoon", "--detector", "embedded", "--size", "64", "--out", "out"],
    "align": ["align", "--detector", "embedded", "--size", "64", "--out", "out"],
    "invert": ["invert", "--generator", "embedded", "--out", "out/w.npy", "--reconstructions", "out"],
}


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`photos/` with three faces among files that are none."""
    monkeypatch.chdir(tmp_path)
    sample = Image.open(ASSETS / "rendered" / "sample.png").convert("RGB").resize((128, 128))
    Path("photos").mkdir()
    for name in ("a10.png", "a2.png", "a1.jpg"):
        sample.save(Path("photos", name))
    Path("bad").mkdir()
    Path("bad/cut.png").write_bytes(Path("photos/a2.png").read_bytes()[:3000])
    Path("bad/text.jpg").write_text("hello")
    Path("bad/empty.png").write_bytes(b"")
    Path("bad/gone.png").symlink_to("nowhere")


def ran(capsys: pytest.CaptureFixture[str], way: str, *given: str) -> tuple[int, dict[str, Any], str]:
    command, *options = WAYS[way]
    status = main([command, *given, *options, "--json"])
    told = capsys.readouterr()
    return status, json.loads(told.out), told.err


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_done_is_told_and_the_rest_is_done(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [f"bad/{name}" for name in ("cut.png", "empty.png", "gone.png", "text.jpg")]
    status, told, err = ran(capsys, way, "photos/a1.jpg", *bad, "missing.png", "photos/a2.png")
    assert status == 1 and "2 of 7 photos are done. Missing:" in err
    assert [one["photo"] for one in told["missing"]] == [*bad, "missing.png"]
    assert all(photo in err for photo in bad)
    assert "bad/empty.png cannot be read as a picture: it is empty (0 bytes)" in err
    names = {path.name for path in Path("out").glob("*.png")}
    assert {name.partition("_")[0].removesuffix(".png") for name in names} == {"a1", "a2"}
    if way == "invert":
        assert np.load("out/w.npy").shape[0] == 2 and [one["image"] for one in told["images"]] == [
            "photos/a1.jpg",
            "photos/a2.png",
        ]


def test_a_photo_without_a_face_is_one_of_those(capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (128, 128), "grey").save("grey.png")
    status, told, err = ran(capsys, "generator", "grey.png", "photos/a1.jpg")
    assert status == 1 and len(told["photos"]) == 1
    assert "1 of 2 photos are done. Missing:\ngrey.png: No face found" in err


def test_an_error_that_is_about_no_photo_ends_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: Any) -> Path:
        if path.name.startswith("a2"):
            raise OSError(28, "No space left on device")
        return write_atomically(path, content)

    monkeypatch.setattr("facestylist.core.files.write_atomically", full)
    command, *options = WAYS["fast"]
    assert main([command, "photos", *options]) == 1
    assert "No space left on device" in capsys.readouterr().err
    # The photo that was under way may be there, whole; none after it.
    written = {path.name for path in Path("out").iterdir()}
    assert "a1_cartoon.png" in written and len(written) <= 2


def test_interrupts_end_the_run() -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Photos(["photos"], Console()).each("read", interrupted))


def test_a_photo_is_called_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    _, told, err = ran(capsys, "fast", "photos/a1.jpg", "./bad/cut.png", "./gone.png")
    assert [one["photo"] for one in told["missing"]] == ["./bad/cut.png", "./gone.png"]
    assert all(one["reason"].startswith(("cannot be read", "There is no picture ./gone")) for one in told["missing"])
    assert "bad/cut.png bad/cut.png" not in err


def test_what_was_written_is_told_when_the_next_photo_ends_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1, 1]

    def draws_two(*given: Any) -> Any:
        left.pop()
        return draw(*given)

    monkeypatch.setattr("facestylist.models.stylizer.draw", draws_two)
    command, *options = WAYS["fast"]
    assert main([command, "photos", *options]) == 1
    told = capsys.readouterr().out.split()
    assert [Path(file).name for file in told] == ["a1_cartoon.png", "a2_cartoon.png"] and all(map(os.path.exists, told))


def test_what_does_not_fit_beside_another_is_read_alone() -> None:
    seen: list[str] = []

    def read(photo: str) -> str:
        seen.append(photo)
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return photo

    photos = Photos(["photos"], Console())
    assert len(list(photos.each("read", read))) == 3 and not photos.missing and len(seen) == 5


def test_nothing_is_read_beside_a_large_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (129, 128)).save("photos/a1.jpg")
    for most, beside in ((128 * 128, []), (128 * 128 + 1, ["a2.png", "a10.png"]), (129 * 128, ["a2.png", "a10.png"])):
        monkeypatch.setattr("facestylist.cli.photos.LARGE", most)
        read = [
            Path(photo).name
            for photo, _, thread in Photos(["photos"], Console()).each("read", lambda _: threading.current_thread())
            if thread is not threading.main_thread()
        ]
        assert read == beside


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell the peak")
@pytest.mark.parametrize("way", ["generator", "fast"])
def test_a_large_photo_is_in_memory_as_floats_once(way: str) -> None:
    """Three bytes of a pixel are read, three written, twelve are its floats; a copy of these in half size is three."""
    face = Image.open(ASSETS / "sample.png").convert("RGB").resize((800, 800))
    for name, size in (("small", (1000, 900)), ("large", (4001, 3000))):
        photo = Image.new("RGB", size, (90, 120, 140))
        photo.paste(face)
        photo.save(f"{name}.jpg")
    code = """
    import sys
    from facestylist.cli.main import main
    from facestylist.tools.bench.speed import memory, start_of_peak
    main([*sys.argv[1:], "small.jpg"])
    for photo in ("small.jpg", "large.jpg"):
        start_of_peak()
        main([*sys.argv[1:], photo])
        print(memory("VmHWM"))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), *WAYS[way]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    small, large = (float(line) for line in done.stdout.splitlines() if line.isdigit() or line.endswith(".0"))
    assert (large - small) / (4001 * 3000 - 1000 * 900) < 30, "of a second copy of the floats there would be more"


def test_a_folder_is_the_pictures_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    for name in (".hidden.png", "._a1.jpg", "notes.txt", "list.json"):
        Path("photos", name).write_text("no picture")
    Path("photos/more").mkdir()
    Image.new("RGB", (8, 8)).save("photos/more/deep.png")
    status, told, err = ran(capsys, "fast", "photos")
    assert status == 0 and told["missing"] == []
    assert [Path(one["photo"]).name for one in told["photos"]] == ["a1.jpg", "a2.png", "a10.png"]
    assert "photos: 3 pictures; left out: 1 .json, 1 .txt, 1 subfolders" in err
    Path("none").mkdir()
    assert main(["align", "none", "--out", "out"]) == 1
    assert "The folder none holds no pictures." in capsys.readouterr().err
    Path("none/below").mkdir()
    assert main(["align", "none", "--out", "out"]) == 1
    assert "It has 1 subfolders, which are not looked into" in capsys.readouterr().err


def test_no_result_takes_the_place_of_another() -> None:
    assert unique_stems(["x.png", "b/x-2.png", "b/x.png", "c/X.jpg"]) == ["x", "x-2", "x-3", "X-4"]
    assert unique_stems(["b/x.png", "c/x.png", "x-2.png"]) == ["x", "x-3", "x-2"]


@pytest.mark.parametrize("way", ["fast", "generator"])
@pytest.mark.parametrize("kind", ["rgba.png", "la.png", "palette.png", "rgba.webp"])
def test_transparency_comes_back(way: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    sample = np.array(Image.open("photos/a2.png"))
    alpha = np.full((128, 128), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:14] = 0, 100
    wild = sample.copy()
    wild[:, :10:2] = (255, 0, 255)
    mode = Image.fromarray(np.dstack([wild, alpha]), "RGBA")
    if kind == "la.png":
        mode = mode.convert("LA")
    if kind == "palette.png":
        mode = Image.fromarray(wild).quantize(200)
        mode.save(kind, transparency=0)
        mode = Image.open(kind)
        alpha = np.array(mode.convert("RGBA").getchannel("A"))
    else:
        mode.save(kind, lossless=True) if kind.endswith("webp") else mode.save(kind)
    status, told, _ = ran(capsys, way, kind)
    result = Image.open(told["photos"][0]["files"][0])
    assert status == 0 and result.mode == "RGBA"
    assert np.array_equal(np.array(result.getchannel("A")), alpha)


def test_what_nobody_sees_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sample = np.array(Image.open("photos/a2.png"))
    alpha = np.full((128, 128, 1), 255, np.uint8)
    alpha[:, :40] = 0
    pictures = {}
    for name, colour in (("white", 255), ("wild", np.random.RandomState(0).randint(0, 255, (128, 40, 3)))):
        sample[:, :40] = colour
        Image.fromarray(np.concatenate([sample, alpha], 2), "RGBA").save(f"{name}.png")
        _, told, _ = ran(capsys, "generator", f"{name}.png")
        pictures[name] = np.array(Image.open(told["photos"][0]["files"][0]))
    assert np.array_equal(pictures["white"], pictures["wild"])


def test_latents_to_start_from_stay_with_their_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "invert", "photos")[0] == 0
    start = np.load("out/w.npy")
    start[0] = 9.0
    np.save("start.npy", start)
    Path("photos/a1.jpg").write_bytes(b"")
    command, *options = WAYS["invert"]
    assert main([command, "photos", *options, "--start", "start.npy", "--steps", "0"]) == 1
    assert np.array_equal(np.load("out/w.npy"), start[1:])

"""Pictures as people have them: every mode and rotation works, and what cannot work is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.main import main
from facestylist.core.assets import ASSETS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are no pictures, in a working directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (2, 2), "red").save("tiny.png")
    Path("text.png").write_text("hello")
    Path("empty.png").write_bytes(b"")
    Path("cut.png").write_bytes((ASSETS / "rendered" / "sample.png").read_bytes()[:5000])
    Path("folder.png").mkdir()


def save_in_every_mode() -> None:
    """The sample picture in every form."""
    sample = Image.open(ASSETS / "rendered" / "sample.png").convert("RGB")
    sample.save("plain.png")
    sample.convert("L").save("grey.png")
    sample.convert("RGBA").save("rgba.png")
    Image.fromarray(np.asarray(sample.convert("L")).astype(np.uint16) * 257).save("deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    sample.rotate(90, expand=True).save("turned.png", exif=exif)
    sample.convert("CMYK").save("cmyk.jpg", quality=95)


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "/1  " not in line]
    assert len(lines) == 1 and "Traceback" not in lines[0] and lines[0].endswith("."), lines
    return lines[0]


def test_modes_and_rotations_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    save_in_every_mode()
    names = ["plain.png", "grey.png", "rgba.png", "deep.png", "turned.png", "cmyk.jpg"]
    assert main(["align", *names, "--out", "crops", "--size", "64", "--detector", "embedded"]) == 0
    crops = {path.stem: np.asarray(Image.open(path), np.float32) for path in Path("crops").iterdir()}
    assert len(crops) == 12, "two faces in each"
    for face in ("00", "01"):
        plain = crops[f"plain_{face}"]
        for name in ("rgba", "turned"):
            assert np.abs(crops[f"{name}_{face}"] - plain).mean() < 1, name
        assert np.abs(crops[f"cmyk_{face}"] - plain).mean() < 12
        grey = plain @ np.float32([0.299, 0.587, 0.114])
        for name in ("grey", "deep"):
            assert np.abs(crops[f"{name}_{face}"] - grey[:, :, None]).mean() < 8, name


@pytest.mark.parametrize("command", ["align", "stylise", "invert"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.png", "text.png cannot be read as a picture"),
        ("empty.png", "empty.png cannot be read as a picture"),
        ("cut.png", "cut.png cannot be read as a picture"),
        ("folder.png", "The folder folder.png holds no pictures"),
        ("missing.png", "There is no picture missing.png"),
        ("tiny.png", "only 2"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    command: str, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {
        "align": ["--out", "out", "--detector", "embedded"],
        "stylise": ["--style", "cartoon", "--out", "out", "--detector", "embedded"],
        "invert": ["--generator", "embedded", "--out", "w.npy"],
    }[command]
    assert main([command, name, *options]) == 1
    assert said in one_sentence(capsys)
    assert not Path("out").exists() and not Path("w.npy").exists()


def test_style_folders_that_hold_nothing_usable(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", "--out", "x.safetensors", "--no-align", "--styles"]
    Path("none").mkdir()
    assert main([*command, "none"]) == 1
    assert "The folder none holds no pictures. Put 10 to 300" in one_sentence(capsys)
    assert main([*command, "missing"]) == 1
    assert "There is no folder missing" in one_sentence(capsys)
    Path("tiny.png").rename("none/tiny.png")
    assert main([*command, "none"]) == 1
    assert "tiny.png it is only 2 x 2 pixels" in capsys.readouterr().err

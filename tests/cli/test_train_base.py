"""`train-base` from a folder of photos to files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.main import main
from facestylist.models.checkpoints import inspect, load_encoder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten smooth pictures that are listed as aligned faces, two of them held out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    noise = np.random.RandomState(0).randint(0, 256, (10, 6, 6, 3)).astype(np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(tmp_path / "faces" / f"{index}.png")
    listed = "".join(f"{index}.png,{int(index > 7)}\n" for index in range(10))
    (tmp_path / "faces" / "faces.csv").write_text("file,held_out\n" + listed)
    return tmp_path


TRAIN = [
    "train-base",
    "--photos",
    "faces",
    "--out",
    "mine",
    "--resolution",
    "64",
    "--width",
    "0.0625",
    "--batch-size",
    "4",
    "--minutes",
    "0.01",
    "--precision",
    "fp32",
]


def test_photos_become_networks_and_a_card(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == [f"mine/{name}" for name in ("generator.safetensors", "encoder.safetensors", "card.md")]
    assert told["run"] == "runs/mine" and set(told["figures"]) == {"64px", "polish"}
    info = inspect(work / "mine" / "generator.safetensors")
    assert (info.resolution, info.w_dim, info.has_discriminator, info.has_mean_latent) == (64, 32, True, True)
    assert load_encoder(work / "mine" / "encoder.safetensors").resolution == 128
    assert "| polish |" in (work / "mine" / "card.md").read_text()
    states = sorted((work / "runs" / "mine").glob("*/state/*.pt"))
    assert main([*TRAIN, "--json"]) == 0, "what is done stays done"
    assert sorted((work / "runs" / "mine").glob("*/state/*.pt")) == states
    base = [
        "--start",
        "mine/generator.safetensors",
        "--start-encoder",
        "mine/encoder.safetensors",
        "--run-dir",
        "again",
    ]
    assert main([*TRAIN, "--json", *base]) == 0
    capsys.readouterr()
    assert (work / "again" / "polish.pt").is_file() and not (work / "again" / "64px.pt").exists()
    assert main([*TRAIN, *base[:2]]) == 2 and "--start-encoder" in capsys.readouterr().err
    assert main([*TRAIN, "--warp", "0.5"]) == 1
    assert "other settings (warp)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--photos", "nowhere"], 2, "no folder nowhere"),
        (["--resolution", "100"], 2, "invalid choice"),
        (["--identity", "faces/0.png"], 1, "0.png"),
        (["--batch-size", "5000"], 2, "batch_size"),
    ],
)
def test_what_it_refuses(
    work: Path, arguments: list[str], status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main([*TRAIN, *arguments]) == status
    except SystemExit as error:
        assert error.code == status
    assert sentence in capsys.readouterr().err
    assert not (work / "mine").exists() or not list((work / "mine").iterdir())


def test_too_few_faces(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "faces" / "faces.csv").write_text("file,held_out\n0.png,0\n1.png,1\n")
    assert main(TRAIN) == 1
    assert "2 faces were found in faces; a base takes hundreds" in capsys.readouterr().err

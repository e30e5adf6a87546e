"""`train-encoder` from a generator's file to an encoder that reads its faces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.main import main
from facestylist.models.checkpoints import load_encoder, save_generator
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    network = Generator(GeneratorConfig.make(32, 256, 16, z_dim=8, w_dim=8, mapping_layers=2))
    judge = Discriminator(DiscriminatorConfig(32, network.config.channels))
    save_generator(FaceGenerator(network, judge), tmp_path / "mine.safetensors")
    (tmp_path / "faces").mkdir()
    pixels = np.random.RandomState(0).randint(0, 255, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "faces" / "a.png")
    return tmp_path


TRAIN = [
    "train-encoder",
    "--generator",
    "mine.safetensors",
    "--out",
    "encoder.safetensors",
    "--steps",
    "2",
    "--batch-size",
    "2",
    "--width",
    "0.25",
    "--preview-interval",
    "0",
]


def test_train(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--images", "faces", "--picture-start", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == ["encoder.safetensors"] and told["last"]["step"] == 2 and told["held_out_mse"] > 0
    encoder = load_encoder(work / "encoder.safetensors")
    assert (encoder.resolution, encoder.num_ws, encoder.w_dim) == (64, 8, 8)
    assert encoder.provenance["steps"] == "2"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "encoder.pt"], "has to end in .safetensors"),
        (["--images", "nowhere"], "no folder nowhere"),
    ],
)
def test_wrong_usage(work: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_pictures_that_are_no_faces_are_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "wide").mkdir()
    Image.new("RGB", (60, 40)).save(work / "wide" / "a.png")
    (work / "wide" / "b.png").write_bytes(b"")
    assert main([*TRAIN, "--images", "wide"]) == 1
    said = capsys.readouterr().err
    assert "None of the 2 pictures in wide can be used" in said
    assert "a.png is 60x40; --images takes aligned square faces" in said and "b.png cannot be read" in said

"""`invert`: latents in and out of files, and a generator tuned to faces."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facestylist.cli.main import main
from facestylist.latents import encoding
from facestylist.latents.files import load_latents
from facestylist.models.checkpoints import load_generator, save_encoder, save_generator
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.training.inversion import pivotal
from facestylist.training.inversion import search as inversion


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Two pictures, and the generator `source.safetensors` that drew them."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(GeneratorConfig.make(32, 256, 8, z_dim=8, w_dim=8, mapping_layers=2)).eval()
        critic = Discriminator(DiscriminatorConfig(32, network.config.channels)).eval()
    generator = FaceGenerator(network.requires_grad_(False), critic.requires_grad_(False))
    save_generator(generator, "source.safetensors")
    assert main(["generate", "source.safetensors", "--seeds", "0-1", "--out", "faces"]) == 0
    capsys.readouterr()
    return ["faces/seed0000.png", "faces/seed0001.png"]


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_latents_go_out_and_in(faces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    base = ["invert", *faces, "--generator", "source.safetensors", "--json"]
    assert main([*base, "--steps", "8", "--out", "w.safetensors", "--noise", "optimised"]) == 0
    first = shown(capsys)
    source = load_generator("source.safetensors")
    saved = load_latents("w.safetensors", source)
    assert saved.noise is not None and saved.w_space == source.w_space
    assert np.allclose(saved.reconstruction_error.numpy(), [row["error"] for row in first["images"]])
    assert main([*base, "--start", "w.safetensors", "--steps", "20", "--out", "better.npy"]) == 0
    for before, after in zip(first["images"], shown(capsys)["images"], strict=True):
        assert after["error"] < before["error"]
    assert np.load("better.npy").shape == (2, 8, 8)
    assert main([*base, "--space", "w", "--steps", "2", "--out", "w.npy"]) == 0
    one = np.load("w.npy")
    assert np.array_equal(one, np.repeat(one[:, :1], 8, axis=1))


def test_a_face_that_comes_out_as_somebody_else_is_told_of(
    faces: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Encoder(EncoderConfig(64, 8, 8, (8, 8, 8, 8, 8), face_branch=True)).eval()
    save_encoder(FaceEncoder(network.requires_grad_(False), 64, 8, 8), "encoder.safetensors")
    call = ["invert", *faces, "--generator", "source.safetensors", "--encoder", "encoder.safetensors", "--json"]
    for alike, told in ((math.inf, False), (1e-9, True)):
        monkeypatch.setattr(encoding, "SAME_PERSON", alike)
        assert main([*call, "--out", "w.safetensors", "--pivotal", "t.safetensors", "--pivotal-steps", "1"]) == 0
        out, err = capsys.readouterr()
        assert ("Faces 1, 2 of 2 do not look like the photo" in err and "stylise --fast" in err) == told
        assert all(row["identity_distance"] > 0 for row in json.loads(out)["images"])
    assert load_latents("w.safetensors").identity_distance.shape == (2,)


def test_tuning_saves_a_generator_of_the_same_w(faces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    np.save("start.npy", np.zeros((2, 8, 8), np.float32))
    assert (
        main(
            [
                "invert",
                *faces,
                "--generator",
                "source.safetensors",
                "--start",
                "start.npy",
                "--steps",
                "0",
                "--out",
                "w.npy",
                "--pivotal",
                "tuned.safetensors",
                "--pivotal-steps",
                "12",
                "--locality",
                "0",
                "--json",
            ]
        )
        == 0
    )
    report = shown(capsys)
    assert report["files"] == ["w.npy", "tuned.safetensors"]
    assert all(row["error_tuned"] < row["error"] for row in report["images"])
    tuned, source = load_generator("tuned.safetensors"), load_generator("source.safetensors")
    assert tuned.w_space == source.w_space and "2 faces" in tuned.provenance["pivotal_tuning"]
    assert np.array_equal(np.load("w.npy"), np.load("start.npy"))


def test_an_interrupt_writes_the_best_so_far(
    faces: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = inversion.LatentSearch.step

    def interrupted(self: Any, step: int) -> Any:
        if step == 4:
            raise KeyboardInterrupt
        return search(self, step)

    monkeypatch.setattr(inversion.LatentSearch, "step", interrupted)
    assert main(["invert", *faces, "--generator", "source.safetensors", "--steps", "9", "--out", "w.npy"]) == 130
    assert "The best so far is in w.npy" in capsys.readouterr().err
    assert np.load("w.npy").shape == (2, 8, 8)


def test_an_interrupted_tuning_saves_the_best_so_far(
    faces: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = pivotal.PivotalTask.step

    def interrupted(self: Any, at: Any) -> Any:
        if at.number == 4:
            raise KeyboardInterrupt
        return step(self, at)

    monkeypatch.setattr(pivotal.PivotalTask, "step", interrupted)
    np.save("start.npy", np.zeros((2, 8, 8), np.float32))
    assert (
        main(
            [
                "invert",
                *faces,
                "--generator",
                "source.safetensors",
                "--start",
                "start.npy",
                "--steps",
                "0",
                "--out",
                "w.npy",
                "--pivotal",
                "tuned.safetensors",
                "--locality",
                "0",
            ]
        )
        == 130
    )
    assert "The best so far is in tuned.safetensors" in capsys.readouterr().err
    assert "2 faces" in load_generator("tuned.safetensors").provenance["pivotal_tuning"]


def test_wrong_usage(faces: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    base = ["invert", *faces, "--generator", "source.safetensors", "--out", "w.npy"]
    np.save("three.npy", np.zeros((3, 8, 8), np.float32))
    np.save("long.npy", np.zeros((2, 18, 512), np.float32))
    for more, status, sentence in (
        (["--start", "three.npy", "--steps", "0"], 2, "holds 3 latents for 2 pictures"),
        (["--start", "long.npy"], 1, "holds an array [2, 18, 512]"),
        (["--pivotal", "tuned.pt", "--steps", "1"], 2, "has to end in .safetensors"),
        (["--locality", "-1", "--steps", "1"], 2, "--locality is below 0"),
    ):
        assert main([*base, *more]) == status
        assert sentence in capsys.readouterr().err
    assert isinstance(load_latents("three.npy"), FaceLatent)

"""`encode` with encoders that need a generator to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tolerances import assert_close, roundings

from facestylist.cli.main import main
from facestylist.latents.encoding import invert_with_encoder
from facestylist.models.checkpoints import load_encoder, save_encoder
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.irse import TrunkConfig
from facestylist.models.psp import PspConfig, PspEncoder
from facestylist.models.types import FaceEncoder, FaceGenerator

SIDE, W_DIM = 64, 8


@pytest.fixture(scope="module")
def generator() -> FaceGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(GeneratorConfig(16, (6, 5, 4), W_DIM, W_DIM, 2)).eval().requires_grad_(False)
    network.mean_latent.copy_(torch.linspace(-1, 1, W_DIM))
    return FaceGenerator(network, None)


def restyle(channels: int, mean: str = "file") -> FaceEncoder:
    trunk = TrunkConfig(channels, 4, (4, 6, 8, 10), (1, 1, 1, 1), (2, 2, 2, 2))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = PspEncoder(PspConfig(6, W_DIM, trunk, (0,) * 6, False, mean, resolution=SIDE)).eval()
    return FaceEncoder(network.requires_grad_(False), SIDE, 6, W_DIM)


def test_restyle_takes_one_picture_with_a_generator_or_both_pictures(
    generator: FaceGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(restyle(6), "both.safetensors", generator=generator)
    save_encoder(restyle(6), "alone.safetensors")
    seen = np.random.RandomState(0).uniform(-1, 1, (2, 6, SIDE, SIDE)).astype(np.float32)
    np.save("one.npy", seen[:, :3])
    np.save("two.npy", seen)
    assert main(["encode", "both.safetensors", "--images", "one.npy", "--raw", "w.npy"]) == 0
    expected = invert_with_encoder(torch.from_numpy(seen[:, :3]), load_encoder("both.safetensors"), generator).w_plus
    network = load_encoder("both.safetensors").network
    assert_close(np.load("w.npy"), expected, roundings(network) + roundings(generator.generator))
    assert main(["encode", "alone.safetensors", "--images", "two.npy", "--raw", "w.npy"]) == 0
    with torch.no_grad():
        direct = load_encoder("alone.safetensors").network(torch.from_numpy(seen))
    assert_close(np.load("w.npy"), direct, roundings(network))
    capsys.readouterr()
    assert main(["encode", "alone.safetensors", "--images", "one.npy", "--raw", "w.npy"]) == 2
    assert "name one with --generator" in capsys.readouterr().err


def test_a_missing_mean_is_the_generators_or_said(
    generator: FaceGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_encoder(restyle(3, mean="generator"), "e.safetensors")
    save_encoder(restyle(6), "g.safetensors", generator=generator)
    np.save("x.npy", np.random.RandomState(0).uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32))
    assert main(["encode", "e.safetensors", "--images", "x.npy", "--raw", "bare.npy"]) == 0
    assert "no mean latent" in capsys.readouterr().err
    assert main(["encode", "e.safetensors", "--images", "x.npy", "--raw", "w.npy", "--generator", "g.safetensors"]) == 0
    w, bare = np.load("w.npy"), np.load("bare.npy")
    assert_close(w - bare, generator.mean_latent.expand(w.shape), 4, float(np.abs(w).max() + np.abs(bare).max()))
    np.save("y.npy", np.zeros((1, 6, SIDE, SIDE), np.float32))
    assert main(["encode", "e.safetensors", "--images", "y.npy", "--raw", "w.npy"]) == 2

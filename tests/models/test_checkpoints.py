"""Checkpoint files: every format from random weights, what is refused, and that nothing in a file is ever run."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slow_stylegan2 as slow
import torch
from checkpoint_files import FakeModules, Tree, nvidia_pickle
from safetensors import safe_open
from tolerances import assert_close, layers, rounding, roundings
from torch import Tensor, nn

from facestylist.core import files
from facestylist.models import checkpoints
from facestylist.models.checkpoints import CheckpointError
from facestylist.models.checkpoints.formats import rosinality
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.ops import fir_kernel
from facestylist.models.types import FaceEncoder, FaceGenerator

CONFIG = GeneratorConfig(resolution=16, channels=(6, 5, 4), z_dim=8, w_dim=8, mapping_layers=8)


@pytest.fixture(scope="module")
def original() -> FaceGenerator:
    generator, discriminator = Generator(CONFIG).eval(), Discriminator(DiscriminatorConfig(16, (6, 5, 4))).eval()
    slow.randomise(generator, 1)
    slow.randomise(discriminator, 2)
    generator.mean_latent.normal_(generator=torch.Generator().manual_seed(3))
    return FaceGenerator(generator, discriminator, "gouache", {"note": "a test"})


def _assert_same(network: nn.Module, other: nn.Module, skip: tuple[str, ...] = ()) -> None:
    ours, theirs = network.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        if not name.endswith(skip):
            assert torch.equal(tensor, theirs[name]), name


def _rosinality_state(generator: Generator) -> dict[str, Tensor]:
    """The generator as its authors' code stores it."""
    ours, state = generator.state_dict(), {}
    for name, native in rosinality.generator_names(3, 8):
        tensor = ours[name]
        if native.endswith(("conv.weight", "input.input")):
            tensor = tensor[None]
        elif native.startswith("noises."):
            tensor = tensor[None, None]
        elif native.startswith("to_rgb") and native.count(".") == (1 if "rgbs" not in native else 2):
            tensor = tensor.reshape(1, 3, 1, 1)
        elif native.endswith("noise.weight"):
            tensor = tensor.reshape(1)
        state[native] = tensor
        if native.startswith("to_rgbs") and native.endswith(".bias"):
            state[native.removesuffix("bias") + "upsample.kernel"] = fir_kernel(4.0)
    return state


def _rosinality_discriminator(discriminator: Discriminator) -> dict[str, Tensor]:
    ours = discriminator.state_dict()
    return {native: ours[name] for name, native in rosinality.discriminator_names(2)}


def test_rosinality_converter_file(original: FaceGenerator, tmp_path: Path) -> None:
    state = _rosinality_state(original.generator)
    assert state["conv1.conv.weight"].shape == (1, 6, 6, 3, 3) and state["to_rgbs.0.bias"].shape == (1, 3, 1, 1)
    torch.save({"g_ema": state, "latent_avg": original.mean_latent}, tmp_path / "face.pt")

    info = checkpoints.inspect(tmp_path / "face.pt")
    assert (info.family, info.kind, info.resolution, info.num_ws) == ("rosinality", "generator", 16, 6)
    assert info.channels == {4: 6, 8: 5, 16: 4} and info.has_mean_latent and not info.has_discriminator
    assert info.parameters == sum(p.numel() for p in original.generator.parameters())

    loaded = checkpoints.load_generator(tmp_path / "face.pt")
    _assert_same(original.generator, loaded.generator)
    assert torch.equal(loaded.mean_latent, original.mean_latent) and loaded.discriminator is None
    assert loaded.provenance["file"] == "face.pt" and loaded.w_space == original.w_space


def test_rosinality_training_file(original: FaceGenerator, tmp_path: Path, global_rng_untouched: None) -> None:
    assert original.discriminator is not None
    prefixed = {f"module.{name}": tensor for name, tensor in _rosinality_state(original.generator).items()}
    content = {
        "g": {name: tensor * 0 for name, tensor in prefixed.items()},
        "d": _rosinality_discriminator(original.discriminator),
        "g_ema": prefixed,
        "g_optim": {"state": {}, "param_groups": [{"lr": 0.002}]},
        "args": argparse.Namespace(size=16, r1=10.0, path="faces"),
        "ada_aug_p": 0.0,
    }
    torch.save(content, tmp_path / "new.pt")
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        loaded = checkpoints.load_generator(tmp_path / name)
        _assert_same(original.generator, loaded.generator, skip=("mean_latent",))
        assert loaded.discriminator is not None
        _assert_same(original.discriminator, loaded.discriminator)
        # The file stores no mean latent: it is estimated, the same way every time.
        estimate = original.generator.estimate_mean_latent(4096)
        assert_close(loaded.mean_latent, estimate, roundings(original.generator.mapping))
        assert loaded.provenance["args.r1"] == "10.0" and "estimated" in loaded.provenance["mean_latent"]
        assert not checkpoints.inspect(tmp_path / name).has_mean_latent


def test_missing_noise_buffers_are_made_up_the_same_every_time(original: FaceGenerator, tmp_path: Path) -> None:
    state = _rosinality_state(original.generator)
    torch.save({name: t for name, t in state.items() if "noise_" not in name}, tmp_path / "bare.pt")
    first, second = (checkpoints.load_generator(tmp_path / "bare.pt").generator for _ in range(2))
    _assert_same(original.generator, first, skip=("noise_const", "mean_latent"))
    _assert_same(first, second)
    noise = first.synthesis.noise_const()[-1]
    assert noise.std() == pytest.approx(1, abs=4 / (2 * noise.numel()) ** 0.5), "within four standard errors"


def test_rosinality_discriminator_alone(original: FaceGenerator, tmp_path: Path) -> None:
    assert original.discriminator is not None
    torch.save({"d": _rosinality_discriminator(original.discriminator)}, tmp_path / "d.pt")
    _assert_same(original.discriminator, checkpoints.load_discriminator(tmp_path / "d.pt"))
    info = checkpoints.inspect(tmp_path / "d.pt")
    assert (info.kind, info.num_ws, info.channels) == ("discriminator", None, {4: 6, 8: 5, 16: 4})
    with pytest.raises(CheckpointError, match="a discriminator and no generator"):
        checkpoints.load_generator(tmp_path / "d.pt")


def test_nvidia_pickle_is_read_and_its_source_is_not_run(
    original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network.pkl").write_bytes(nvidia_pickle(original, fake_modules))
    loaded = checkpoints.load_generator("network.pkl")
    _assert_same(original.generator, loaded.generator)
    assert original.discriminator is not None and loaded.discriminator is not None
    _assert_same(original.discriminator, loaded.discriminator)
    assert loaded.discriminator.config.mbstd_group == 4
    info = checkpoints.inspect("network.pkl")
    assert info.family == "nvidia" and info.has_discriminator and info.channels == {4: 6, 8: 5, 16: 4}
    assert not (tmp_path / "source-was-run").exists()


def test_other_nvidia_architectures_are_refused(
    original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path
) -> None:
    (tmp_path / "odd.pkl").write_bytes(nvidia_pickle(original, fake_modules, architecture="orig"))
    with pytest.raises(CheckpointError, match="architecture 'orig'"):
        checkpoints.inspect(tmp_path / "odd.pkl")
    tree = Tree()
    tree.put("synthesis.L0_36_512.weight", torch.zeros(1), False)
    (tmp_path / "three.pkl").write_bytes(pickle.dumps({"G_ema": tree.persistent("Generator")}))
    with pytest.raises(CheckpointError, match="StyleGAN3"):
        checkpoints.inspect(tmp_path / "three.pkl")


def test_tensorflow_pickle_is_refused_with_the_way_out(fake_modules: FakeModules, tmp_path: Path) -> None:
    fake_modules.put("dnnlib.tflib.network", "Network", type("Network", (), {}))
    content = pickle.dumps(tuple(sys.modules["dnnlib.tflib.network"].Network() for _ in range(3)))  # type: ignore[attr-defined]
    (tmp_path / "tf.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"TensorFlow-era.*legacy\.py"):
        checkpoints.inspect(tmp_path / "tf.pkl")


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize("container", ["pickle", "torch", "legacy"])
def test_files_that_want_to_run_code_are_refused(
    container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if container == "pickle":
        Path("bad.pkl").write_bytes(pickle.dumps({"G_ema": _Attack()}))
    else:
        torch.save({"g_ema": _Attack()}, "bad.pkl", _use_new_zipfile_serialization=container == "torch")
    for read in (checkpoints.inspect, checkpoints.load_generator, checkpoints.load_encoder):
        with pytest.raises(CheckpointError, match="could run code"):
            read("bad.pkl")
    assert not Path("attacked").exists()


def test_own_format_round_trip_is_exact(original: FaceGenerator, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "style.safetensors"
    checkpoints.save_generator(original, path, {"note": "a test", "training": {"steps": 10}})
    assert [file.name for file in path.parent.iterdir()] == ["style.safetensors"]
    loaded = checkpoints.load_generator(path)
    _assert_same(original.generator, loaded.generator)
    assert original.discriminator is not None and loaded.discriminator is not None
    _assert_same(original.discriminator, loaded.discriminator)
    assert loaded.style == "gouache" and loaded.w_space == original.w_space
    assert loaded.generator.config == CONFIG and not loaded.generator.training
    assert loaded.provenance["note"] == "a test" and json.loads(loaded.provenance["training"]) == {"steps": 10}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "facestylist" and metadata["format_version"] == "1"
    assert metadata["kind"] == "generator" and metadata["w_space"] == original.w_space
    assert json.loads(metadata["config"])["generator"]["channels"] == [6, 5, 4]
    # Saving what was loaded says the same again.
    checkpoints.save_generator(loaded, tmp_path / "again.safetensors", dict(loaded.provenance))
    assert checkpoints.load_generator(tmp_path / "again.safetensors").provenance["note"] == "a test"


def test_half_precision_halves_the_file_and_keeps_the_w_space(original: FaceGenerator, tmp_path: Path) -> None:
    checkpoints.save_generator(original, tmp_path / "full.safetensors")
    checkpoints.save_generator(original, tmp_path / "half.safetensors", half=True)
    loaded = checkpoints.load_generator(tmp_path / "half.safetensors")
    assert loaded.w_space == original.w_space and torch.equal(loaded.mean_latent, original.mean_latent)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.generator.parameters())
    w_plus = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        full, half = original.generator.synthesis(w_plus), loaded.generator.synthesis(w_plus)
    assert (full - half).abs().max() < rounding(layers(loaded.generator), float(full.abs().max()), torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.75 * sizes[1]


def test_encoder_round_trip(tmp_path: Path) -> None:
    network = Encoder(EncoderConfig(64, 10, 8, channels=(4, 4, 4, 4, 4), hidden=8)).eval()
    network.latent_std.fill_(0.3)
    encoder = FaceEncoder(network, 64, 10, 8, {})
    checkpoints.save_encoder(encoder, tmp_path / "e.safetensors", {"steps": 5})
    loaded = checkpoints.load_encoder(tmp_path / "e.safetensors")
    _assert_same(network, loaded.network)
    assert (loaded.resolution, loaded.num_ws, loaded.w_dim) == (64, 10, 8) and loaded.provenance["steps"] == "5"
    info = checkpoints.inspect(tmp_path / "e.safetensors")
    assert (info.kind, info.num_ws, info.z_dim, info.has_mean_latent) == ("encoder", 10, None, True)
    with pytest.raises(CheckpointError, match="an encoder and no generator"):
        checkpoints.load_generator(tmp_path / "e.safetensors")


def test_failed_save_leaves_the_old_file_and_no_rubbish(
    original: FaceGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"the old one")

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(CheckpointError, match="cannot be written .No space left on device"):
        checkpoints.save_generator(original, path)
    assert path.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(CheckpointError, match="saved as .safetensors"):
        checkpoints.save_generator(original, tmp_path / "style.pt")


def test_networks_loaded_in_inference_mode_can_be_trained(original: FaceGenerator, tmp_path: Path) -> None:
    checkpoints.save_generator(original, tmp_path / "g.safetensors")
    with torch.inference_mode():
        generator = checkpoints.load_generator(tmp_path / "g.safetensors").generator
    generator(torch.ones(1, 8)).mean().backward()
    assert generator.synthesis.blocks[0].const.grad is not None


def test_newer_files_and_other_kinds_are_refused(original: FaceGenerator, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(1)}
    save_file(tensors, tmp_path / "new.safetensors", {"format": "facestylist", "format_version": "99", "config": "{}"})
    with pytest.raises(CheckpointError, match="format version 99.*Update the node pack"):
        checkpoints.inspect(tmp_path / "new.safetensors")
    save_file(tensors, tmp_path / "d.safetensors", {"format": "facestylist", "kind": "detector", "config": "{}"})
    with pytest.raises(CheckpointError, match="holds a detector, not a generator"):
        checkpoints.load_generator(tmp_path / "d.safetensors")


def _no_file(path: Path) -> None:
    return None


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (_no_file, "there is no such file"),
    "folder": (lambda path: path.mkdir(), "this is a folder"),
    "empty": (lambda path: path.touch(), "it is empty"),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "not a checkpoint. Accepted are"),
    "cut pickle": (lambda path: path.write_bytes(pickle.dumps({"G_ema": list(range(999))})[:500]), "cut off"),
    "cut safetensors": (lambda path: path.write_bytes((10**6).to_bytes(8, "little") + b'{"a":'), "cut off"),
    "cut zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "cut off"),
    "diffusion": (lambda path: torch.save({"model.diffusion_model.w": torch.zeros(1)}, path), "diffusion model"),
    "lucidrains": (lambda path: torch.save({"GAN": {"S.net.0.weight": torch.zeros(1)}}, path), "lucidrains"),
    "another state dict": (lambda path: torch.save({"layer.weight": torch.zeros(1)}, path), "it holds layer.weight"),
    "a tensor": (lambda path: torch.save(torch.zeros(1), path), "a single tensor of shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_files_get_a_sentence_with_their_name(name: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[name]
    make(tmp_path / "file.pt")
    with pytest.raises(CheckpointError, match=sentence) as error:
        checkpoints.load_generator(tmp_path / "file.pt")
    assert str(error.value).startswith(str(tmp_path / "file.pt")) and "\n" not in str(error.value)


def test_incomplete_and_misfitting_files_name_the_tensor(original: FaceGenerator, tmp_path: Path) -> None:
    state = _rosinality_state(original.generator)
    missing = {name: tensor for name, tensor in state.items() if name != "convs.1.conv.weight"}
    torch.save(missing, tmp_path / "missing.pt")
    with pytest.raises(CheckpointError, match="incomplete.*convs.1.conv.weight"):
        checkpoints.load_generator(tmp_path / "missing.pt")
    torch.save(state | {"convs.0.conv.modulation.bias": torch.zeros(9)}, tmp_path / "misfit.pt")
    with pytest.raises(CheckpointError, match=r"conv0.affine.bias.*\[9\], where \[6\] belongs"):
        checkpoints.load_generator(tmp_path / "misfit.pt")

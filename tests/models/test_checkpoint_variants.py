"""The variants of each family that people have: protocols, prefixes, precisions, architectures, things left out."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import slow_stylegan2 as slow
import torch
from checkpoint_files import FakeModules, nvidia_pickle
from tolerances import assert_close, roundings
from torch import Tensor, nn

from facestylist.models import checkpoints
from facestylist.models.checkpoints import CheckpointError
from facestylist.models.checkpoints.convert import convert, report
from facestylist.models.checkpoints.export import to_nvidia, to_rosinality
from facestylist.models.checkpoints.reader import read_contents
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


def make(**options: Any) -> FaceGenerator:
    config = GeneratorConfig(
        **{"resolution": 16, "channels": (6, 5, 4), "z_dim": 8, "w_dim": 8, "mapping_layers": 8, **options}
    )
    critic = DiscriminatorConfig(16, (6, 5, 4), c_dim=config.c_dim, conv_clamp=config.conv_clamp)
    with torch.random.fork_rng():
        generator, discriminator = Generator(config).eval(), Discriminator(critic).eval()
    slow.randomise(generator, 1)
    slow.randomise(discriminator, 2)
    generator.mean_latent.normal_(generator=torch.Generator().manual_seed(3))
    return FaceGenerator(generator, discriminator)


@pytest.fixture(scope="module")
def original() -> FaceGenerator:
    return make()


@pytest.fixture
def native(original: FaceGenerator) -> dict[str, Any]:
    """`{"g_ema", "latent_avg", "d"}`."""
    return to_rosinality(original)


def assert_same(network: nn.Module, other: nn.Module, skip: tuple[str, ...] = ()) -> None:
    ours, theirs = network.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        if not name.endswith(skip):
            assert torch.equal(tensor, theirs[name]), name


def load(content: Any, folder: Path, **how: Any) -> FaceGenerator:
    torch.save(content, folder / "file.pt", **how)
    return checkpoints.load_generator(folder / "file.pt")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_same_as_torch_reads(zipped: bool, protocol: int, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    base = torch.randn(6, 8, generator=random)
    content = {
        "plain": base,
        "transposed": base.t(),
        "part": base[2:4, 1::2],
        "scalar": torch.tensor(3.5),
        "nothing": torch.zeros(0, 4),
        "repeated": torch.randn(1, 8, generator=random).expand(5, 8),
        "parameter": nn.Parameter(base.clone()),
        "nested": {"list": [1, 2.5, None, True, "text"], 7: (base[0], {"a": 1})},
        **{str(dtype): (base * 9).to(dtype) for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.bool)},
    }
    torch.save(content, tmp_path / "f.pt", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    # PyTorch's own reader of weights only knows protocol 2; what was written is known for both.
    wanted = torch.load(tmp_path / "f.pt", weights_only=True) if protocol == 2 else content
    found = read_contents(tmp_path / "f.pt").data
    assert list(found) == list(wanted) and found["nested"]["list"] == wanted["nested"]["list"]
    assert torch.equal(found["nested"][7][0], base[0]) and found["nested"][7][1] == {"a": 1}
    for name, tensor in wanted.items():
        if isinstance(tensor, Tensor):
            assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


PROTOCOLS = [(2, True, True), (3, True, False), (4, False, True), (5, False, False)]


@pytest.mark.parametrize(("protocol", "old_numpy", "nested"), PROTOCOLS)
def test_nvidia_pickles_of_every_age(
    protocol: int, old_numpy: bool, nested: bool, original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path
) -> None:
    data = nvidia_pickle(original, fake_modules, protocol, old_numpy, nested)
    assert (b"numpy.core.multiarray" in data) == old_numpy
    (tmp_path / "network.pkl").write_bytes(data)
    loaded = checkpoints.load_generator(tmp_path / "network.pkl")
    assert_same(original.generator, loaded.generator)
    assert original.discriminator is not None and loaded.discriminator is not None
    assert_same(original.discriminator, loaded.discriminator)
    assert loaded.generator.config == original.generator.config
    assert loaded.provenance["init.architecture"] == "skip"


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_other_generator_architectures(architecture: str, fake_modules: FakeModules, tmp_path: Path) -> None:
    network = make(architecture=architecture)
    (tmp_path / "network.pkl").write_bytes(nvidia_pickle(network, fake_modules))
    loaded = checkpoints.load_generator(tmp_path / "network.pkl")
    assert loaded.generator.config == network.generator.config
    assert_same(network.generator, loaded.generator)
    assert checkpoints.inspect(tmp_path / "network.pkl").architecture == architecture
    checkpoints.save_generator(loaded, tmp_path / "ours.safetensors")
    assert_same(network.generator, checkpoints.load_generator(tmp_path / "ours.safetensors").generator)
    with pytest.raises(CheckpointError, match=f"no place for the {architecture}"):
        to_rosinality(loaded)


def test_the_residual_generator_draws_what_its_definition_says() -> None:
    generator = make(architecture="resnet").generator
    w_plus = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(5))
    x, index = None, 0
    for block in generator.synthesis.each_block():
        if block.conv0 is None:
            x = block.conv1(block.const.expand(2, -1, -1, -1), w_plus[:, 0], block.conv1.noise_const)
            index = 1
            continue
        assert x is not None and block.skip is not None
        # Zero insertion, the filter with a gain of four, then a 1x1 convolution: each as written in the paper.
        up = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        up[:, :, ::2, ::2] = x
        up = nn.functional.pad(up, (2, 1, 2, 1))
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 4, 4)
        up = nn.functional.conv2d(up, kernel, groups=x.shape[1])
        shortcut = nn.functional.conv2d(up, block.skip.weight / x.shape[1] ** 0.5)
        x = block.conv0(x, w_plus[:, index], block.conv0.noise_const)
        x = block.conv1(x, w_plus[:, index + 1], block.conv1.noise_const)
        x, index = (x + shortcut) * 0.5**0.5, index + 2
    with torch.no_grad():
        wanted = generator.synthesis.each_block()[-1].to_rgb(x, w_plus[:, index])
        assert_close(generator.synthesis(w_plus), wanted, roundings(generator))


def test_conditional_and_half_precision_networks(fake_modules: FakeModules, tmp_path: Path) -> None:
    network = make(c_dim=3, conv_clamp=256.0)
    (tmp_path / "network.pkl").write_bytes(nvidia_pickle(network, fake_modules))
    loaded = checkpoints.load_generator(tmp_path / "network.pkl")
    config = loaded.generator.config
    assert (config.c_dim, config.conv_clamp, config.z_dim) == (3, 256.0, 8)
    assert loaded.discriminator is not None and loaded.discriminator.config.c_dim == 3
    assert_same(network.generator, loaded.generator)
    with pytest.raises(CheckpointError, match="no place for a conditional"):
        to_rosinality(loaded)


def test_other_filters_and_discriminators_are_refused(
    original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path
) -> None:
    state = to_nvidia(original)
    with pytest.raises(CheckpointError, match="another resampling filter"):
        load({"G_ema": {**state["G_ema"], "synthesis.b8.resample_filter": torch.ones(4, 4) / 16}}, tmp_path)
    for extra, name in (({"b4.fromrgb.weight": torch.ones(6, 3, 1, 1)}, "skip"), ({}, "orig")):
        critic = {key: tensor for key, tensor in state["D"].items() if "skip" not in key} | extra
        with pytest.raises(CheckpointError, match=f"discriminator has architecture '{name}'"):
            load({**state, "D": critic}, tmp_path)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (6, 8), (1, 6, 8), (8, 1)])
def test_mean_latents_of_any_shape(shape: tuple[int, ...], native: dict[str, Any], tmp_path: Path) -> None:
    mean: Tensor = native["latent_avg"]
    shaped = mean.expand(*shape[:-1], 8) if shape[-1] == 8 else mean[:, None]
    loaded = load({"g_ema": native["g_ema"], "latent_avg": shaped.contiguous()}, tmp_path)
    assert torch.equal(loaded.mean_latent, mean)


def test_a_mean_latent_of_another_network_is_refused(native: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"mean latent has shape \[7\], where \[8\] belongs"):
        load({"g_ema": native["g_ema"], "latent_avg": torch.zeros(7)}, tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_rosinality_files_with_things_left_out(
    zipped: bool, original: FaceGenerator, native: dict[str, Any], tmp_path: Path
) -> None:
    bare = {
        name: tensor
        for name, tensor in native["g_ema"].items()
        if "kernel" not in name and not name.startswith("noises.")
    }
    prefixed = {f"module.{name}": tensor for name, tensor in bare.items()}
    for content in (bare, prefixed, {"g_ema": prefixed, "args": argparse.Namespace(size=16)}, {"state_dict": bare}):
        loaded = load(content, tmp_path, _use_new_zipfile_serialization=zipped)
        assert_same(original.generator, loaded.generator, skip=("noise_const", "mean_latent"))
    missing = checkpoints.inspect(tmp_path / "file.pt").missing
    assert [lack.partition(" (")[0] for lack in missing] == ["discriminator", "mean latent", "noise buffers"]
    silent = {name: tensor for name, tensor in bare.items() if not name.endswith("noise.weight")}
    strengths = [conv.noise_strength.item() for conv in load(silent, tmp_path).generator.synthesis.convolutions()]
    assert strengths == [0.0] * 5


def test_sixteen_bit_tensors(original: FaceGenerator, native: dict[str, Any], tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in native["g_ema"].items()}
    loaded = load({"g_ema": half, "latent_avg": native["latent_avg"].half()}, tmp_path)
    for name, tensor in loaded.generator.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, original.generator.state_dict()[name].half().float()), name
    again = to_rosinality(loaded)["g_ema"]
    assert all(torch.equal(again[name].half(), tensor) for name, tensor in half.items())


def test_fine_tuned_families(original: FaceGenerator, native: dict[str, Any], tmp_path: Path) -> None:
    state = native["g_ema"]
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"betas": (0.0, 0.99)}]}
    extrinsic = {"res.0.conv.0.weight": torch.ones(2, 2, 3, 3), "style.1.weight": torch.ones(8, 8)}
    dual = {**{f"generator.{name}": tensor for name, tensor in state.items()}, **extrinsic}
    training = {"g": state, "d": native["d"], "g_ema": state, "g_optim": optimiser, "args": argparse.Namespace()}
    files = {
        "jojogan": {"g": state},
        "stylegan_nada": {"g_ema": state, "g_optim": optimiser},
        "dualstylegan": {"g_ema": dual},
        "rosinality": training,
    }
    for family, content in files.items():
        loaded = load(content, tmp_path)
        assert_same(original.generator, loaded.generator, skip=("mean_latent",))
        info = checkpoints.inspect(tmp_path / "file.pt")
        assert (info.family, loaded.provenance["family"]) == (family, family)
        assert "non-commercial" in info.licence and "non-commercial" in loaded.provenance["licence"]
    assert "extrinsic style path" in load(files["dualstylegan"], tmp_path).provenance["not_used"]


def test_there_and_back_changes_nothing(
    original: FaceGenerator, native: dict[str, Any], fake_modules: FakeModules, tmp_path: Path
) -> None:
    for layout, content in (("rosinality", native), ("nvidia", to_nvidia(original))):
        torch.save(content, tmp_path / "theirs.pt")
        info = convert(tmp_path / "theirs.pt", tmp_path / "ours.safetensors")
        assert info.family == layout and "resolution: 16 px" in report(info)
        convert(tmp_path / "ours.safetensors", tmp_path / "back.pt", layout)
        back = torch.load(tmp_path / "back.pt", weights_only=True)
        for entry, state in content.items():
            if isinstance(state, Tensor):
                assert torch.equal(back[entry], state)
                continue
            assert set(back[entry]) == set(state)
            for name, tensor in state.items():
                same = back[entry][name]
                assert same.shape == tensor.shape and torch.equal(same, tensor), name
        assert back["provenance"]["origin_family"] == layout
        loaded = checkpoints.load_generator(tmp_path / "back.pt")
        assert_same(original.generator, loaded.generator)


@pytest.mark.parametrize("critic_clamp", [0.25, None])
@pytest.mark.parametrize("layout", ["rosinality", "nvidia"])
def test_what_a_state_dict_cannot_say_survives(
    original: FaceGenerator, layout: str, critic_clamp: float | None, tmp_path: Path
) -> None:
    """The clamp of float16 networks decides what is drawn, so a file that lost it would draw other pictures."""
    with torch.random.fork_rng():
        clamped = Generator(dataclasses.replace(original.generator.config, conv_clamp=0.5)).eval()
    clamped.load_state_dict(original.generator.state_dict())
    critic = original.discriminator
    assert critic is not None
    with torch.random.fork_rng():
        strict = Discriminator(dataclasses.replace(critic.config, conv_clamp=critic_clamp, mbstd_group=2)).eval()
    strict.load_state_dict(critic.state_dict())
    checkpoints.save_generator(original.replace(generator=clamped, discriminator=strict), tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "theirs.pt", layout)
    loaded = checkpoints.load_generator(tmp_path / "theirs.pt")
    assert loaded.generator.config.conv_clamp == 0.5
    assert loaded.discriminator is not None and loaded.discriminator.config == strict.config
    w = torch.randn(1, clamped.num_ws, clamped.config.w_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.generator.synthesis(w), clamped.synthesis(w))
        assert not torch.equal(loaded.generator.synthesis(w), original.generator.synthesis(w))


def test_where_weights_came_from_is_kept(native: dict[str, Any], tmp_path: Path) -> None:
    torch.save(native, tmp_path / "face.pt")
    first = checkpoints.load_generator(tmp_path / "face.pt").provenance
    assert first["file"] == "face.pt" and len(first["sha256"]) == 16
    convert(tmp_path / "face.pt", tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "again.safetensors")
    kept = checkpoints.load_generator(tmp_path / "again.safetensors").provenance
    origin = (kept["origin_file"], kept["origin_family"], kept["origin_sha256"])
    assert origin == ("face.pt", "rosinality", first["sha256"])
    assert kept["file"] == "again.safetensors" and kept["licence"] == first["licence"]
    with pytest.raises(CheckpointError, match="ends in .pt"):
        convert(tmp_path / "face.pt", tmp_path / "out.safetensors", "nvidia")


REFUSED: dict[str, tuple[Any, str]] = {
    "web page": (b"\n<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>", "a web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 134\n", "git lfs pull"),
    "server's answer": (b'{"error": "Entry not found"}', "a server's error message"),
    "zeros": (bytes(5000), "zeros only"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "unpack it"),
    "array": (b"\x93NUMPY" + bytes(50), "numpy array"),
    "diffusion, wrapped": ({"state_dict": {"model.diffusion_model.input_blocks.0.weight": torch.ones(1)}}, "diffusion"),
    "diffusers": ({"down_blocks.0.resnets.0.conv1.weight": torch.ones(1)}, "diffusion"),
    "lucidrains, bare": ({f"S.net.{i}.weight": torch.ones(1) for i in range(6)}, "lucidrains"),
    "stylegan3": ({"G_ema": {"synthesis.L0_36_512.weight": torch.ones(1)}}, "StyleGAN3"),
    "stylegan1": ({"generator.progression.0.conv1.weight": torch.ones(1)}, "StyleGAN1"),
    "latent": ({"latent": torch.ones(18, 512), "name": "me"}, "Load Latent"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, sentence = REFUSED[name]
    path = tmp_path / "face.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.load_generator(path)


def test_files_with_classes_in_them_are_named(fake_modules: FakeModules, tmp_path: Path) -> None:
    callback = fake_modules.put("pytorch_lightning.callbacks", "ModelCheckpoint", type("ModelCheckpoint", (), {}))
    weights = {"model.diffusion_model.out.weight": torch.ones(1)}
    torch.save({"callbacks": callback(), "state_dict": weights}, tmp_path / "sd.ckpt")
    with pytest.raises(CheckpointError, match="a diffusion model"):
        checkpoints.inspect(tmp_path / "sd.ckpt")
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=r"whole network.*torch.nn.modules.linear.Linear.*state_dict\(\)"):
        checkpoints.inspect(tmp_path / "whole.pt")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "pkl", "safetensors"])
def test_files_that_are_cut_off(
    kind: str, keep: float, original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if kind == "pkl":
        path.write_bytes(nvidia_pickle(original, fake_modules))
    elif kind == "safetensors":
        checkpoints.save_generator(original, tmp_path / "file.safetensors")
        path = tmp_path / "file.safetensors"
    else:
        torch.save(to_rosinality(original), path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(CheckpointError, match=r"cut off.*Download it again"):
        checkpoints.load_generator(path)


def test_a_file_that_python_2_wrote_is_read(tmp_path: Path) -> None:
    """torchvision's older weights and lpips' are such files: byte strings for text, one list per pair, tensors v1."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    def number(value: int) -> bytes:
        return b"\x8a\x01" + bytes([value])

    system = b"\x80\x02}(" + text("little_endian") + b"\x88u."
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("7") + text("cuda:0") + number(6) + b"NtQ"
    sizes = b"(" + number(2) + number(3) + b"t(" + number(3) + number(1) + b"t"
    pair = b"](" + text("g") + b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + sizes + b"tRe"
    state = b"\x80\x02ccollections\nOrderedDict\n](" + pair + b"e\x85R."
    keys = b"\x80\x02](" + text("7") + b"e."
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    values = torch.arange(6.0).numpy().tobytes()
    path = tmp_path / "old.pth"
    path.write_bytes(magic + b"\x80\x02M\xe9\x03." + system + state + keys + (6).to_bytes(8, "little") + values)
    assert torch.equal(torch.load(path, weights_only=True, map_location="cpu")["g"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(read_contents(path).data["g"], torch.arange(6.0).reshape(2, 3))

"""Files as people have them: wrapped, prefixed, half-empty, oddly saved. Each loads exactly or says what to do."""

from __future__ import annotations

import collections
import gzip
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import slow_stylegan2 as slow
import torch
from checkpoint_files import FakeModules, Tree, nvidia_tree
from safetensors.torch import save_file
from test_psp import MEAN, assert_same, build, encoder_state
from torch import Tensor, nn

from facestylist.latents.files import load_latents
from facestylist.models import checkpoints
from facestylist.models.checkpoints import CheckpointError
from facestylist.models.checkpoints.export import to_nvidia, to_rosinality
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def original() -> FaceGenerator:
    with torch.random.fork_rng():
        generator = Generator(GeneratorConfig(16, (6, 5, 4), 8, 8, 8)).eval()
        critic = Discriminator(DiscriminatorConfig(16, (6, 5, 4))).eval()
    slow.randomise(generator, 1)
    slow.randomise(critic, 2)
    generator.mean_latent.normal_(generator=torch.Generator().manual_seed(3))
    return FaceGenerator(generator, critic)


def other(state: State) -> State:
    """The network beside the one that is wanted."""
    return {name: tensor * 0.5 for name, tensor in state.items()}


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def noted(tensor: Tensor) -> Tensor:
    """A tensor that somebody hung an attribute on."""
    tensor.note = "first layer"  # type: ignore[attr-defined]
    return tensor


def arrays(state: State) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in state.items()}


def sliced(state: State) -> State:
    """All tensors as parts of one storage, as optimisers with flat parameters leave them."""
    flat, found, position = torch.cat([tensor.flatten() for tensor in state.values()]), {}, 0
    for name, tensor in state.items():
        found[name] = flat[position : position + tensor.numel()].view(tensor.shape)
        position += tensor.numel()
    return found


def turned(state: State) -> State:
    """Not contiguous: columns first."""
    return {name: t.transpose(-1, -2).contiguous().transpose(-1, -2) if t.ndim > 1 else t for name, t in state.items()}


HUGE = {
    "state": {i: {"step": 5, "exp_avg": torch.zeros(64, 64), "exp_avg_sq": torch.zeros(64, 64)} for i in range(700)},
    "param_groups": [{"params": list(range(700)), "betas": (0.0, 0.99)}],
}

WITH_MEAN: dict[str, Callable[[State, Tensor, State], Any]] = {
    "called w_avg": lambda s, m, d: {"g_ema": s, "w_avg": m},
    "called mean_w, in double precision": lambda s, m, d: {"g_ema": s, "mean_w": m.double()[None]},
    "among the weights": lambda s, m, d: {"g_ema": {**s, "latent_avg": m}},
    "an array of numpy": lambda s, m, d: {"g_ema": s, "latent_avg": m.numpy()},
    "columns first": lambda s, m, d: {"g_ema": s, "latent_avg": m.expand(6, -1).numpy().T.copy().T},
    "a list": lambda s, m, d: {"g_ema": s, "latent_avg": m.tolist()},
    "a parameter": lambda s, m, d: {"g_ema": s, "latent_avg": nn.Parameter(m.clone())},
    "a level deeper": lambda s, m, d: {"g_ema": {"state_dict": s}, "latent_avg": m},
    "parameters": lambda s, m, d: {"g_ema": {k: nn.Parameter(t.clone()) for k, t in s.items()}, "latent_avg": m},
    "with attributes": lambda s, m, d: {"g_ema": {k: noted(t.clone()) for k, t in s.items()}, "latent_avg": m},
    "in double precision": lambda s, m, d: {"g_ema": {k: t.double() for k, t in s.items()}, "latent_avg": m},
    "parts of one storage": lambda s, m, d: {"g_ema": sliced(s), "latent_avg": m},
    "columns first, weights": lambda s, m, d: {"g_ema": turned(s), "latent_avg": m},
    "tied": lambda s, m, d: {"g": s, "g_ema": s, "d": d, "latent_avg": m},
    "a default dictionary": lambda s, m, d: {"g_ema": collections.defaultdict(list, s), "latent_avg": m},
    "arrays of numpy": lambda s, m, d: {"g_ema": arrays(s), "latent_avg": m.numpy()},
    "lists of numbers": lambda s, m, d: {"g_ema": {k: t.tolist() for k, t in s.items()}, "latent_avg": m.tolist()},
    "in a list": lambda s, m, d: {"model": [s, d], "latent_avg": m},
    "compiled": lambda s, m, d: {"g_ema": under("_orig_mod.", s), "latent_avg": m},
    "compiled and DataParallel": lambda s, m, d: {"params_ema": under("module._orig_mod.", s), "latent_avg": m},
    "wrapped within": lambda s, m, d: {"state_dict": under("generator.module._orig_mod.", s), "latent_avg": m},
    "optimisers": lambda s, m, d: {"g": other(s), "d": d, "g_ema": s, "latent_avg": m, "optim": [HUGE, HUGE]},
}
WITHOUT_MEAN: dict[str, Callable[[State, State], Any]] = {
    "a training module": lambda s, d: {"state_dict": under("g.", other(s)) | under("g_ema.", s) | under("d.", d)},
    "frozen beside trained": lambda s, d: {
        "g_ema": under("generator_frozen.generator.", other(s)) | under("generator_trainable.generator.", s)
    },
    "a level deeper": lambda s, d: {"model": {"g_ema": s, "g": other(s), "d": d}, "epoch": 3},
    "two levels deeper": lambda s, d: {"state_dict": {"networks": {"g_ema": s}}},
    "without an average": lambda s, d: {"netG": s, "netD": d},
    "an averaged one by another name": lambda s, d: {"netG": other(s), "netG_ema": s},
}


@pytest.mark.parametrize("how", WITH_MEAN)
def test_a_rosinality_file_with_its_mean_latent(how: str, original: FaceGenerator, tmp_path: Path) -> None:
    native = to_rosinality(original)
    torch.save(WITH_MEAN[how](native["g_ema"], native["latent_avg"], native["d"]), tmp_path / "f.pt")
    loaded = checkpoints.load_generator(tmp_path / "f.pt")
    assert_same(original.generator, loaded.generator)
    assert torch.equal(loaded.mean_latent, original.mean_latent)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("how", ["arrays of numpy", "parameters", "in double precision", "in a list"])
def test_a_state_dict_in_a_plain_pickle(how: str, protocol: int, original: FaceGenerator, tmp_path: Path) -> None:
    native = to_rosinality(original)
    content = WITH_MEAN[how](native["g_ema"], native["latent_avg"], native["d"])
    (tmp_path / "f.pkl").write_bytes(pickle.dumps(content, protocol))
    loaded = checkpoints.load_generator(tmp_path / "f.pkl")
    assert_same(original.generator, loaded.generator)
    assert torch.equal(loaded.mean_latent, original.mean_latent)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_arrays_and_tensors_of_half_precision(dtype: torch.dtype, original: FaceGenerator, tmp_path: Path) -> None:
    native = to_rosinality(original)
    half = {name: tensor.to(dtype) for name, tensor in native["g_ema"].items()}
    torch.save({"g_ema": arrays(half) if dtype == torch.float16 else half}, tmp_path / "f.pt")
    weight = checkpoints.load_generator(tmp_path / "f.pt").generator.synthesis.blocks[0].conv1.weight
    assert torch.equal(weight.flatten(), half["conv1.conv.weight"].float().flatten())


@pytest.mark.parametrize("how", WITHOUT_MEAN)
def test_the_right_one_of_several_generators(how: str, original: FaceGenerator, tmp_path: Path) -> None:
    native = to_rosinality(original)
    torch.save(WITHOUT_MEAN[how](native["g_ema"], native["d"]), tmp_path / "f.pt")
    loaded = checkpoints.load_generator(tmp_path / "f.pt")
    loaded.generator.mean_latent.copy_(original.mean_latent)
    assert_same(original.generator, loaded.generator)
    if "module" in how or how == "a level deeper":
        assert loaded.discriminator is not None and original.discriminator is not None
        assert_same(original.discriminator, loaded.discriminator)


@pytest.mark.parametrize("prefix", ["G_ema.", "module.G_ema.", "model."])
def test_nvidias_names_behind_a_prefix(prefix: str, original: FaceGenerator, tmp_path: Path) -> None:
    native = to_nvidia(original)
    flat = under(prefix, native["G_ema"]) | under("D.", native["D"])
    save_file({name: tensor.clone() for name, tensor in flat.items()}, tmp_path / "f.safetensors")
    torch.save({"g_ema": native["G_ema"], "d": native["D"]}, tmp_path / "f.pt")
    for file in ("f.safetensors", "f.pt"):
        loaded = checkpoints.load_generator(tmp_path / file)
        assert_same(original.generator, loaded.generator)
        assert loaded.discriminator is not None and original.discriminator is not None
        assert_same(original.discriminator, loaded.discriminator)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_generator_that_pti_saved_whole(
    zipped: bool, original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torch.save(G)`: NVIDIA's record of a network, its tensors beside it; its source text is not run."""
    monkeypatch.chdir(tmp_path)
    torch.save(
        nvidia_tree(original, fake_modules).persistent("Generator"), "pti.pt", _use_new_zipfile_serialization=zipped
    )
    loaded = checkpoints.load_generator("pti.pt")
    assert_same(original.generator, loaded.generator)
    assert loaded.provenance["family"] == "nvidia" and loaded.provenance["init.architecture"] == "skip"
    assert [path.name for path in tmp_path.iterdir()] == ["pti.pt"]


def test_a_pickle_of_one_network(original: FaceGenerator, fake_modules: FakeModules, tmp_path: Path) -> None:
    tree = nvidia_tree(original, fake_modules)
    for class_name in ("Generator", "StyleGAN2Network"):
        (tmp_path / "g.pkl").write_bytes(pickle.dumps(tree.persistent(class_name)))
        loaded = checkpoints.load_generator(tmp_path / "g.pkl")
        assert_same(original.generator, loaded.generator)
        assert loaded.discriminator is None


def test_a_training_of_dualstylegan_keeps_its_discriminator(original: FaceGenerator, tmp_path: Path) -> None:
    native = to_rosinality(original)
    dual = under("generator.", native["g_ema"]) | {"res.0.conv.0.weight": torch.ones(2, 2, 3, 3)}
    torch.save({"g": other(dual), "g_ema": under("module.", dual), "d": native["d"]}, tmp_path / "f.pt")
    loaded = checkpoints.load_generator(tmp_path / "f.pt")
    assert loaded.provenance["family"] == "dualstylegan"
    loaded.generator.mean_latent.copy_(original.mean_latent)
    assert_same(original.generator, loaded.generator)
    assert loaded.discriminator is not None and original.discriminator is not None
    assert_same(original.discriminator, loaded.discriminator)


ENCODERS: dict[str, Callable[[State], Any]] = {
    "alone": lambda s: {name.removeprefix("encoder."): tensor for name, tensor in s.items()},
    "without a wrapper": lambda s: s | {"latent_avg": MEAN},
    "under another entry": lambda s: {"model": s, "latent_avg": MEAN},
    "part of a module": lambda s: {"state_dict": under("net.", s), "latent_avg": MEAN},
    "DataParallel within": lambda s: {
        "state_dict": {name.replace("encoder.", "encoder.module."): t for name, t in s.items()},
        "latent_avg": MEAN,
    },
    "mean as an array": lambda s: {"state_dict": s, "latent_avg": MEAN.numpy()},
    "mean in its options": lambda s: {"state_dict": s, "opts": {"latent_avg": MEAN, "start_from_latent_avg": True}},
    "optimiser": lambda s: {"state_dict": s, "latent_avg": MEAN, "optimizer": HUGE, "best_val_loss": 0.3},
}


@pytest.mark.parametrize("how", ENCODERS)
def test_encoders_in_every_wrapping(how: str, tmp_path: Path) -> None:
    network = build()
    torch.save(ENCODERS[how](encoder_state(network)), tmp_path / "e.pt")
    loaded = checkpoints.load_encoder(tmp_path / "e.pt")
    if how == "alone":
        assert loaded.network.config.mean == "generator"  # type: ignore[union-attr]
    else:
        assert torch.equal(loaded.network.mean_latent, MEAN.expand(8, -1))  # type: ignore[arg-type]
        network.mean_latent.copy_(MEAN)
    assert_same(network, loaded.network)


def test_a_latent_that_is_an_array(tmp_path: Path) -> None:
    codes = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(1))
    torch.save({"latent": codes.numpy(), "name": "me"}, tmp_path / "l.pt")
    assert torch.equal(load_latents(tmp_path / "l.pt").w_plus, codes)


def script() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(1)), buffer)
    return buffer.getvalue()


def blurred(state: State, name: str) -> State:
    return {**state, name: torch.ones(4, 4) / 4}


REFUSED: dict[str, tuple[Callable[[State, State], Any], str]] = {
    "another blur": (lambda s, d: {"g_ema": blurred(s, "convs.0.conv.blur.kernel")}, "convs.0.conv.blur.kernel.*blur"),
    "another upsampling": (lambda s, d: {"g_ema": blurred(s, "to_rgbs.0.upsample.kernel")}, "another blur"),
    "another downsampling": (lambda s, d: {"g_ema": s, "d": blurred(d, "convs.1.skip.0.kernel")}, "another blur"),
    "wavelets": (lambda s, d: {"g_ema": {**s, "to_rgb1.bias": torch.zeros(1, 12, 1, 1)}}, "12 channels.*SWAGAN"),
    "a mean that is no number": (lambda s, d: {"g_ema": s, "latent_avg": torch.full((8,), float("nan"))}, "not finite"),
    "a weight that is no number": (
        lambda s, d: {"g_ema": {**s, "convs.1.activate.bias": s["convs.1.activate.bias"] * float("inf")}},
        "conv1.bias` holds values that are not finite.*diverged",
    ),
    "gfpgan": (lambda s, d: {"params_ema": {"style_conv1.modulated_conv.weight": MEAN}}, "BasicSR"),
    "a parsing network": (lambda s, d: {"cp.resnet.conv1.weight": MEAN}, "face_guides"),
    "insightface": (lambda s, d: {"layer1.0.bn1.weight": MEAN, "features.weight": MEAN}, "model_ir_se50.pth"),
    "python 2": (lambda s, d: pickle.dumps({"g_ema": 1}, 0), "protocol 0 or 1"),
    "python 2, binary": (lambda s, d: pickle.dumps({"g_ema": 1}, 1), "protocol 0 or 1"),
    "onnx": (lambda s, d: b"\x08\x09\x12\x07pytorch" + bytes(50), "an ONNX model"),
    "gzip": (lambda s, d: gzip.compress(pickle.dumps(1)), r"unpack it, and choose the file that was in it\. A"),
    "an old tar": (lambda s, d: b"storages" + bytes(249) + b"ustar" + bytes(2000), "PyTorch from before 2017"),
    "a LoRA": (lambda s, d: {"base_model.model.q_proj.lora_A.weight": MEAN}, "a LoRA of a diffusion or language"),
    "a LoRA of Kohya": (lambda s, d: {"lora_unet_down_blocks_0.lora_up.weight": MEAN}, "a LoRA of a diffusion"),
    "SDXL": (lambda s, d: {"conditioner.embedders.0.weight": MEAN}, "a diffusion model"),
    "TorchScript": (lambda s, d: script(), "TorchScript.*not weights; loading it would run code"),
    "tar": (lambda s, d: b"a.pt" + bytes(253) + b"ustar" + bytes(2000), "a tar archive; unpack it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_come_out_wrong_is_refused(name: str, original: FaceGenerator, tmp_path: Path) -> None:
    make, sentence = REFUSED[name]
    native = to_rosinality(original)
    content = make(native["g_ema"], native["d"])
    if isinstance(content, bytes):
        (tmp_path / "f.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "f.pt")
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.load_generator(tmp_path / "f.pt")


def test_a_network_of_another_kind_alone_is_named(fake_modules: FakeModules, tmp_path: Path) -> None:
    tree = Tree()
    tree.put("probability", torch.zeros(1), True)
    fake_modules.put("torch_utils.persistence", "_reconstruct_persistent_obj", lambda meta: None)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"augment_pipe": tree.persistent("AugmentPipe")}))
    with pytest.raises(CheckpointError, match="not a checkpoint of a known kind"):
        checkpoints.load_generator(tmp_path / "a.pkl")

"""dlib's face recognition network: its arithmetic, where it looks, its three kinds of file, and files that attack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dlib_files
import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close, roundings
from torch import Tensor

from facestylist.models.checkpoints import CheckpointError, inspect, load_generator, load_identity
from facestylist.models.checkpoints.convert import convert
from facestylist.models.dlib import ALIGNED_EYES, DlibConfig, DlibFace, crop_for_dlib
from facestylist.models.identity import identity_similarity

pytestmark = pytest.mark.usefixtures("global_rng_untouched")
NAME = "dlib_face_recognition_resnet_model_v1.dat"


@pytest.fixture(scope="module")
def network() -> DlibFace:
    return dlib_files.network()


@pytest.fixture(scope="module")
def data(network: DlibFace) -> bytes:
    return dlib_files.dat(network)


def faces(count: int = 2, side: int = 64, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(count, 3, 9, 9, generator=random) * 2 - 1, side, mode="bicubic").clamp(-1, 1)


def same(one: DlibFace, other: Any) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_published_network_has_29_convolutions() -> None:
    with torch.device("meta"):
        state = DlibFace(DlibConfig()).state_dict()
    assert sum(name.endswith("conv.weight") for name in state) == 29
    assert sum(tensor.numel() for tensor in state.values()) == 5_614_592


def test_it_is_computed_step_by_step(network: DlibFace) -> None:
    """In float64, as dlib's layers are described: sums over kernels of padded pictures, written out once more."""
    net = dlib_files.network().double()
    picture = faces(1, 150)[0].double()
    state = net.state_dict()

    def conv(x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x, kernel = F.pad(x, [padding] * 4), weight.shape[-1]
        windows = x.unfold(1, kernel, stride).unfold(2, kernel, stride)
        out = torch.einsum("ocij,chwij->ohw", weight, windows) + state[f"{name}.conv.bias"][:, None, None]
        return out * state[f"{name}.scale"][:, None, None] + state[f"{name}.shift"][:, None, None]

    x = ((picture + 1) * 127.5 - torch.tensor([122.782, 117.001, 104.298]).double()[:, None, None]) / 256
    x = conv(x, "stem", 2, 0).relu().unfold(1, 3, 2).unfold(2, 3, 2).amax((3, 4))
    assert x.shape == (4, 35, 35)
    for number, (width, halves) in enumerate(((4, False), (6, True), (6, False), (8, True), (8, True))):
        y = conv(x, f"blocks.{number}.conv1", 2 if halves else 1, 0 if halves else 1).relu()
        y = conv(y, f"blocks.{number}.conv2", 1, 1)
        short = x.unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)) if halves else x
        total = torch.zeros(width, max(y.shape[1], short.shape[1]), max(y.shape[2], short.shape[2])).double()
        for part in (y, short):
            total[: part.shape[0], : part.shape[1], : part.shape[2]] += part
        x = total.relu()
    assert x.shape == (8, 4, 4) and y.shape == (8, 3, 3)
    wanted = state["fc.weight"] @ x.mean((1, 2))
    assert_close(net(picture[None])[0].float(), wanted, roundings(net))  # its mean colour is float32
    with pytest.raises(ValueError, match=r"\[N, 3, 150, 150\], not \[1, 3, 64, 64\]"):
        network(faces(1))


@pytest.mark.parametrize("side", [96, 256, 512])
@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_the_chip_has_the_eyes_where_dlib_has_them(side: int, turn: float) -> None:
    eyes = torch.tensor(ALIGNED_EYES) * side
    middle = eyes.mean(0)
    cos, sin = torch.tensor(turn).cos(), torch.tensor(turn).sin()
    eyes = (eyes - middle) @ torch.stack([torch.stack([cos, sin]), torch.stack([-sin, cos])]) + middle
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="xy"), -1) + 0.5
    dots = [torch.exp(-(grid - eye).square().sum(-1) / (2 * (side / 60) ** 2)) for eye in eyes]
    picture = torch.stack([*dots, torch.zeros(side, side)])[None]
    chip = crop_for_dlib(picture, None if turn == 0 else eyes[None])
    assert chip.shape == (1, 3, 150, 150)
    places = torch.stack(torch.meshgrid(torch.arange(150), torch.arange(150), indexing="xy"), -1) + 0.5
    for dot, wanted in zip(chip[0], ((48.23, 47.64), (100.78, 47.62)), strict=False):
        centre = (places * dot[..., None]).sum((0, 1)) / dot.sum()
        assert (centre - torch.tensor(wanted)).abs().max() < 0.25  # of a pixel
    with pytest.raises(ValueError, match="aligned square faces"):
        crop_for_dlib(picture[:, :, 1:])


def test_similarity_means_what_arcfaces_does(network: DlibFace) -> None:
    a = torch.zeros(5, 5)
    b = torch.zeros(5, 5)
    b[:, 2] = torch.tensor([0.0, 0.3, 0.6, 6 / 7, 9.0])
    torch.testing.assert_close(network.similarity(a, b), torch.tensor([1.0, 0.65, 0.3, 0.0, -1.0]))
    made, other = faces(), faces(seed=2)
    likeness = identity_similarity(network, made, other)
    known = network.describe(other)
    apart = (network.describe(made) - known).norm(dim=1)
    assert_close(likeness, 1 - apart * 0.7 / 0.6, roundings(network), float(known.norm(dim=1).max()))
    assert torch.equal(identity_similarity(network, made, made), torch.ones(2))
    for against in (made.clone(), other):
        seen = made.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(identity_similarity(network, seen, against).sum(), seen)
        assert torch.isfinite(gradient).all() and bool(gradient.abs().sum() > 0) == (against is other)


def test_dlibs_own_file_is_read_to_the_bit(network: DlibFace, data: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(data)
    info = inspect(tmp_path / NAME)
    assert (info.family, info.kind, info.resolution, info.num_ws) == ("dlib", "embedding", 150, None)
    assert "CC0" in info.licence
    loaded = load_identity(tmp_path / NAME)
    assert isinstance(loaded, DlibFace) and loaded.config == network.config and same(network, loaded)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    convert(tmp_path / NAME, tmp_path / "ours.safetensors")
    again = load_identity(tmp_path / "ours.safetensors")
    assert again.config == network.config and same(network, again)
    ours = inspect(tmp_path / "ours.safetensors")
    assert (ours.family, ours.metadata["origin_family"]) == ("facestylist", "dlib") and "CC0" in ours.licence
    with pytest.raises(CheckpointError, match="layout is for an ArcFace network; the file's kind is 'dlib'"):
        convert(tmp_path / NAME, tmp_path / "no.pt", "arcface")
    with pytest.raises(CheckpointError, match="a face recognition network and no generator"):
        load_generator(tmp_path / NAME)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_face_apis_copy_is_read_to_half_a_step(network: DlibFace, packed: bool, shards: int, tmp_path: Path) -> None:
    manifest, steps = dlib_files.tfjs(network, tmp_path, packed, shards)
    weights = sorted(path for path in tmp_path.iterdir() if path != manifest)
    assert len(weights) == shards
    for path in (manifest, weights[0]):
        assert inspect(path).family == "dlib"
        loaded = load_identity(path).state_dict()
        for name, tensor in network.state_dict().items():
            # Half a step, and what float32 rounds in a product and a sum as large as the largest value.
            bound = steps.get(name, 0.0) + (2**-22 * float(tensor.abs().max()) if name in steps else 0.0)
            assert (loaded[name] - tensor).abs().max() <= bound, name
    convert(manifest, tmp_path / "ours.safetensors")
    assert same(load_identity(manifest), load_identity(tmp_path / "ours.safetensors"))  # type: ignore[arg-type]


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_identity(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and text.endswith(".") and len(text) < 600 and text.isprintable()
    return text


def test_a_file_that_is_cut_off_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / NAME
    cuts = {*range(17, 400, 3), *range(400, len(data), 401), len(data) - 1}
    for cut in sorted(cuts):
        path.write_bytes(data[:cut])
        refused(path)
    path.write_bytes(data[: len(data) // 2])
    assert "cut off" in refused(path)


def test_a_file_that_lies_is_refused(data: bytes, tmp_path: Path) -> None:
    path, first = tmp_path / NAME, data.index(b"con_4") + 5
    shape = data[first : first + 11]
    huge = b"\x01\x02" + b"\x08" + b"\xff" * 7 + b"\x7f" + b"\x01\x01" * 3
    lies: dict[str, tuple[bytes, bytes, str]] = {
        "a tensor of 9 exabytes": (b"con_4" + shape, b"con_4" + huge, "cut off"),
        "a tensor of negative length": (b"con_4\x01\x02", b"con_4\x01\x02\x81\x05\x01\x05", "proper shape"),
        "an integer of 15 bytes": (b"con_4\x01", b"con_4\x0f", "an integer of 15 bytes"),
        "an unknown layer": (b"affine_", b"affinex", "unknown kind"),
        "another input": (b"input_rgb_image_sized", b"input_rgb_image_sizee", "its input is"),
        "a name without end": (b"\x01\x05relu_", b"\x04\xff\xff\xff\x7frelu_", "a name of 2147483647 letters"),
        "other layers": (b"\x01\x09add_prev_", b"\x01\x05relu_", "its 44 layers are not those"),
        "more layers than announced": (b"\x01\x02\x01\x03\x01\x15", b"\x01\x03\x01\x15", "more layers than"),
        "another stride": (b"\x01\x07\x01\x07\x01\x02", b"\x01\x07\x01\x07\x01\x03", "a convolution of"),
        "no filters": (b"\x01\x04\x01\x07\x01\x07", b"\x01\x00\x01\x07\x01\x07", "a convolution of"),
        "too many filters": (b"\x01\x04\x01\x07\x01\x07", b"\x03\xff\xff\x7f\x01\x07\x01\x07", "has shape"),
        "a control byte": (b"con_4\x01", b"con_4\x41", "an integer of"),
    }
    for what, (before, after, sentence) in lies.items():
        assert before in data, what
        path.write_bytes(data.replace(before, after, 1))
        assert sentence in refused(path), what
    path.write_bytes(data + b"\x01")
    refused(path)
    path.write_bytes(b"\x01\x01\x01\x0aloss_mmod_" + bytes(300))
    assert "one of dlib's files" in refused(path)
    path.write_bytes(data[:17] + b"\x01\x02" * 200_000)
    refused(path)


def test_bytes_that_flipped_are_refused_or_read(data: bytes, tmp_path: Path) -> None:
    """Whatever stands in the file, the end is a network or a sentence."""
    path = tmp_path / NAME
    layers = [data.index(name) for name in (b"con_4", b"affine_", b"fc_2")]
    structure = [*range(17, 120), *(first + i for first in layers for i in range(30))]
    random = torch.Generator().manual_seed(3)
    for number in torch.randperm(len(structure), generator=random)[:80].tolist():
        changed = bytearray(data)
        changed[structure[number]] ^= 0x85
        path.write_bytes(changed)
        try:
            load_identity(path)
        except CheckpointError as error:
            assert str(error).startswith(str(path))


def test_a_manifest_that_lies_is_refused(network: DlibFace, tmp_path: Path) -> None:
    manifest, _ = dlib_files.tfjs(network, tmp_path)
    whole = json.loads(manifest.read_text())

    def changed(**change: Any) -> str:
        entry = {**whole[0]["weights"][0], **change}
        manifest.write_text(json.dumps([{**whole[0], "weights": [entry, *whole[0]["weights"][1:]]}]))
        return refused(manifest)

    assert "bytes of weights" in changed(shape=[7, 7, 3, 2**40])
    assert "announces" in changed(shape=[7, 7, 3, 5])
    assert "shape" in changed(shape=[7, 7, 3, -4])
    assert "shape" in changed(shape=[1] * 40)
    assert "shape" in changed(shape="7733")
    assert "float32 or uint8 is read" in changed(quantization={"dtype": "uint16", "scale": 1, "min": 0})
    assert "float32 or uint8 is read" in changed(dtype="string")
    assert "not finite" in changed(quantization={"dtype": "uint8", "scale": float("nan"), "min": 0})
    assert "damaged" in changed(quantization=3)
    assert "damaged" in changed(quantization={"dtype": "uint8", "scale": "x", "min": 0})
    for paths in (["../face_recognition_model.bin"], [str(tmp_path / "face_recognition_model.bin")], 3, [""], [".."]):
        manifest.write_text(json.dumps([{**whole[0], "paths": paths}]))
        refused(manifest)
    for text in ("{}", "[3]", "[[]]", "[" * 100_000, "", "[{}]", "\x00"):
        manifest.write_text(text)
        refused(manifest)
    manifest.write_text(json.dumps([{"paths": [], "weights": []}]))
    assert "not a checkpoint of a known kind" in refused(manifest)
    manifest.write_text(json.dumps(whole))
    load_identity(manifest)
    weights = tmp_path / "face_recognition_model.bin"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "cut off" in refused(weights)
    weights.write_bytes(weights.read_bytes() + b"12")
    assert "damaged" in refused(weights)
    weights.unlink()
    assert "`face_recognition_model.bin` are not beside it. Put both files into the same folder" in refused(manifest)
    weights.write_bytes(b"\x7f" * 900)
    manifest.unlink()
    assert f"put their manifest, {manifest.name}, beside it" in refused(weights)

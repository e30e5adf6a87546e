"""pSp, e4e, ReStyle and ArcFace: narrow networks in every variant of their files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import slow_stylegan2 as slow
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tolerances import assert_close, roundings
from torch import Tensor

from facestylist.latents.encoding import default_steps, initial_w_plus, invert_with_encoder, refined_w_plus
from facestylist.models import checkpoints
from facestylist.models.checkpoints import CheckpointError
from facestylist.models.checkpoints.convert import convert
from facestylist.models.checkpoints.export import to_rosinality
from facestylist.models.checkpoints.formats import rosinality
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.identity import identity_similarity
from facestylist.models.irse import ArcFace, ArcFaceConfig, TrunkConfig, crop_for_arcface
from facestylist.models.psp import PspConfig, PspEncoder
from facestylist.models.types import FaceEncoder, FaceGenerator

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

W_DIM, NUM_WS = 12, 8
NARROW = {"stem": 8, "widths": (8, 10, 12, 16), "units": (1, 2, 2, 1), "squeeze": (2, 2, 3, 4)}
FPN = (0, 0, 0, 1, 1, 1, 1, 2)


def build(levels: tuple[int, ...] = FPN, deltas: bool = False, in_channels: int = 3, mean: str = "file") -> PspEncoder:
    """A narrow encoder of random weights."""
    trunk = TrunkConfig(in_channels, **NARROW)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        network = PspEncoder(PspConfig(NUM_WS, W_DIM, trunk, levels, deltas, mean)).eval()
    randomise(network, 5)
    network.mean_latent.zero_()
    return network


def randomise(network: torch.nn.Module, seed: int) -> None:
    """Random weights and statistics that keep the values of a trunk within bounds."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.dtype != torch.float32:
                tensor.fill_(1000)
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=random)
            elif tensor.ndim >= 2:
                tensor.normal_(0, tensor[0].numel() ** -0.5, generator=random)
            else:
                tensor.uniform_(-0.1, 0.9, generator=random)


@pytest.fixture(scope="module")
def decoder() -> Generator:
    with torch.random.fork_rng():
        generator = Generator(GeneratorConfig(32, (6, 6, 5, 4), W_DIM, W_DIM, 8)).eval()
    slow.randomise(generator, 1)
    return generator


def encoder_state(network: PspEncoder) -> dict[str, Tensor]:
    """The tensors as the authors' files name them: ours, without the mean latent."""
    return {f"encoder.{name}": tensor for name, tensor in network.state_dict().items() if name != "mean_latent"}


def decoder_state(generator: Generator) -> dict[str, Tensor]:
    ours = generator.state_dict()
    return {f"decoder.{native}": ours[name] for name, native in rosinality.generator_names(4, 8)}


def pictures(count: int = 2, channels: int = 3, side: int = 256, seed: int = 3) -> Tensor:
    coarse = torch.rand(count, channels, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=(side, side), mode="bilinear")


def assert_same(network: torch.nn.Module, other: torch.nn.Module) -> None:
    ours, theirs = network.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]) and tensor.dtype == theirs[name].dtype, name


MEAN = torch.randn(W_DIM, generator=torch.Generator().manual_seed(8))
NEW_OPTIONS = {"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": True, "output_size": 32}


@pytest.mark.parametrize("shape", [(NUM_WS, W_DIM), (W_DIM,), (1, W_DIM), (1, NUM_WS, W_DIM), (18, W_DIM)])
def test_psp_with_the_mean_in_every_shape(shape: tuple[int, ...], decoder: Generator, tmp_path: Path) -> None:
    network = build()
    state = encoder_state(network) | decoder_state(decoder)
    torch.save({"state_dict": state, "latent_avg": MEAN.expand(shape), "opts": NEW_OPTIONS}, tmp_path / "psp.pt")
    loaded = checkpoints.load_encoder(tmp_path / "psp.pt")
    assert (loaded.resolution, loaded.num_ws, loaded.w_dim) == (256, NUM_WS, W_DIM)
    assert torch.equal(loaded.network.mean_latent, MEAN.expand(NUM_WS, -1))
    assert loaded.provenance["family"] == "psp" and loaded.provenance["opts.output_size"] == "32"
    network.mean_latent.copy_(MEAN)
    assert_same(network, loaded.network)
    generator = checkpoints.load_generator(tmp_path / "psp.pt")
    assert torch.equal(generator.mean_latent, MEAN)
    ours = decoder.state_dict()
    assert all(torch.equal(t, ours[n]) for n, t in generator.generator.state_dict().items() if n != "mean_latent")
    info = checkpoints.inspect(tmp_path / "psp.pt")
    assert (info.family, info.kind, info.resolution, info.num_ws) == ("psp", "encoder", 256, NUM_WS)
    assert info.parameters == sum(p.numel() for p in network.parameters()) and info.has_mean_latent
    assert info.metadata["decoder"] == "rosinality generator, 32 px"


def test_means_that_fit_no_layer_are_refused(tmp_path: Path) -> None:
    other = torch.randn(3, W_DIM, generator=torch.Generator().manual_seed(1))
    torch.save({"state_dict": encoder_state(build()), "latent_avg": other}, tmp_path / "e.pt")
    with pytest.raises(CheckpointError, match=r"mean latent has shape \[3, 12\], where \[12\] or \[8, 12\] belongs"):
        checkpoints.load_encoder(tmp_path / "e.pt")


def test_e4e_adds_the_first_code_to_the_others(tmp_path: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in encoder_state(build()).items()}
    e4e = argparse.Namespace(encoder_type="Encoder4Editing", stylegan_size=32, device="cuda:0")
    torch.save({"state_dict": state, "latent_avg": MEAN, "opts": e4e}, tmp_path / "a.pt")
    torch.save({"state_dict": state, "latent_avg": MEAN * 0}, tmp_path / "b.pt")
    seen = pictures()
    with torch.no_grad():
        ours = checkpoints.load_encoder(tmp_path / "a.pt").network(seen) - MEAN
        codes = checkpoints.load_encoder(tmp_path / "b.pt").network(seen)
    size = float((ours + MEAN).abs().max())
    assert_close(ours[:, 0], codes[:, 0], 4, size)
    assert_close(ours[:, 1:], codes[:, :1] + codes[:, 1:], 4, size)
    info = checkpoints.inspect(tmp_path / "a.pt")
    assert info.family == "e4e" and info.metadata["opts.stylegan_size"] == "32"
    assert checkpoints.inspect(tmp_path / "b.pt").family == "psp"


def test_a_file_without_its_encoder_type_is_told_by_its_other_options(tmp_path: Path) -> None:
    state = encoder_state(build())
    torch.save({"state_dict": state, "opts": {"progressive_start": 20000}}, tmp_path / "x.pt")
    torch.save(state, tmp_path / "my_e4e.pt")
    for name in ("x.pt", "my_e4e.pt"):
        info = checkpoints.inspect(tmp_path / name)
        assert info.family == "e4e" and "does not say" in info.metadata["encoder_type_note"], name


def face_generator(decoder: Generator) -> FaceGenerator:
    decoder.mean_latent.copy_(MEAN)
    return FaceGenerator(decoder, None)


def test_without_a_mean_the_generators_is_added_when_the_file_says_so(decoder: Generator, tmp_path: Path) -> None:
    network = build()
    state = encoder_state(network)
    torch.save({"state_dict": state, "opts": NEW_OPTIONS}, tmp_path / "none.pt")
    torch.save({"state_dict": state, "opts": NEW_OPTIONS | {"start_from_latent_avg": False}}, tmp_path / "off.pt")
    seen = pictures(side=64)
    none, off = (checkpoints.load_encoder(tmp_path / f"{name}.pt") for name in ("none", "off"))
    assert not checkpoints.inspect(tmp_path / "none.pt").has_mean_latent
    enlarged = F.interpolate(seen, size=(256, 256), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = network(enlarged)
    generator = face_generator(decoder)
    depth = roundings(network)
    assert_close(invert_with_encoder(seen, none, generator).w_plus, expected + MEAN, depth)
    assert_close(invert_with_encoder(seen, off, generator).w_plus, expected, depth)
    # A second look corrects by the difference alone, whatever the mean.
    second = [invert_with_encoder(seen, encoder, generator, steps=2) for encoder in (none, off)]
    assert all(torch.isfinite(latent.w_plus).all() for latent in second)
    checkpoints.save_encoder(none, tmp_path / "none.safetensors")
    again = checkpoints.load_encoder(tmp_path / "none.safetensors")
    assert_close(invert_with_encoder(seen, again, generator).w_plus, expected + MEAN, depth)


@pytest.mark.parametrize("deltas", [False, True])
def test_restyle_starts_from_the_average_face_and_adds_up(deltas: bool, decoder: Generator, tmp_path: Path) -> None:
    network = build((0,) * NUM_WS, deltas, in_channels=6)
    options = {"encoder_type": "ProgressiveBackboneEncoder" if deltas else "BackboneEncoder", "n_iters_per_batch": 5}
    content = {"state_dict": encoder_state(network) | decoder_state(decoder), "latent_avg": MEAN, "opts": options}
    torch.save(content, tmp_path / "restyle.pt")
    encoder, generator = checkpoints.load_encoder(tmp_path / "restyle.pt"), face_generator(decoder)
    assert checkpoints.inspect(tmp_path / "restyle.pt").family == "restyle" and default_steps(encoder) == 5
    seen = pictures()

    def heads(both: Tensor) -> Tensor:
        last = network.maps(both)[-1]
        codes = torch.stack([head(last) for head in network.styles], dim=1)
        return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1) if deltas else codes

    with torch.no_grad():
        codes = MEAN.expand(2, NUM_WS, -1)
        for _ in range(3):
            drawn = F.interpolate(decoder.synthesis(codes), size=(256, 256), mode="nearest")
            codes = codes + heads(torch.cat([seen, drawn], dim=1))
    first = ours = initial_w_plus(encoder, seen, generator)
    for _ in range(2):
        with torch.no_grad():
            drawn = decoder.synthesis(ours)
        ours = refined_w_plus(encoder, seen, ours, drawn, first, generator)
    assert_close(ours, codes, 3 * (roundings(network) + roundings(decoder)))
    assert invert_with_encoder(seen, encoder, generator, steps=2).w_plus.shape == (2, NUM_WS, W_DIM)
    with pytest.raises(ValueError, match="needs a generator"):
        encoder.network(seen)
    with torch.no_grad():
        assert_close(encoder.network(torch.cat([seen, seen], 1)), encoder.network(seen, seen), roundings(network))


def test_one_w_code_for_all_layers(tmp_path: Path) -> None:
    network = build(())
    assert "linear.weight" in network.state_dict() and not hasattr(network, "styles")
    options = {"encoder_type": "WEncoder", "output_size": 32}
    torch.save({"state_dict": encoder_state(network), "latent_avg": MEAN, "opts": options}, tmp_path / "w.pt")
    encoder = checkpoints.load_encoder(tmp_path / "w.pt")
    with torch.no_grad():
        w_plus = encoder.network(pictures())
        last = network.maps(pictures())[-1].mean((2, 3))
    assert w_plus.shape == (2, NUM_WS, W_DIM)
    expected = last @ network.linear.weight.T / 16**0.5 + network.linear.bias + MEAN
    assert_close(w_plus, expected[:, None].expand_as(w_plus), roundings(network))


@pytest.mark.parametrize("in_channels", [3, 6])
def test_our_own_file_keeps_every_bit(in_channels: int, decoder: Generator, tmp_path: Path) -> None:
    network = build(FPN if in_channels == 3 else (0,) * NUM_WS, True, in_channels)
    options = {"encoder_type": "Encoder4Editing"}
    content = {"state_dict": encoder_state(network) | decoder_state(decoder), "latent_avg": MEAN, "opts": options}
    torch.save(content, tmp_path / "e4e.pt", _use_new_zipfile_serialization=False)
    encoder, generator = (f(tmp_path / "e4e.pt") for f in (checkpoints.load_encoder, checkpoints.load_generator))
    target = tmp_path / "e4e.safetensors"
    checkpoints.save_encoder(encoder, target, dict(encoder.provenance), generator=generator)
    again = checkpoints.load_encoder(target)
    assert_same(encoder.network, again.network)
    assert again.network.config == encoder.network.config
    assert_same(generator.generator, checkpoints.load_generator(target).generator)
    stored = load_file(target)
    for name, tensor in encoder_state(network).items():
        assert torch.equal(stored[name], tensor) and stored[name].dtype == tensor.dtype, name
    info = checkpoints.inspect(target)
    assert (info.family, info.kind, info.num_ws) == ("facestylist", "encoder", NUM_WS)
    assert info.metadata["encoder_type"] == "Encoder4Editing"
    checkpoints.save_encoder(encoder, tmp_path / "half.safetensors", half=True)
    half = checkpoints.load_encoder(tmp_path / "half.safetensors").network
    shown = pictures(1, in_channels)
    with torch.no_grad():
        codes = encoder.network(shown)
        assert (half(shown) - codes).abs().max() < 0.02 * codes.abs().max()
        with torch.autocast("cpu", torch.bfloat16):
            coarse = encoder.network(shown)
    assert coarse.dtype == torch.float32 and (coarse - codes).abs().max() < 0.05 * codes.abs().max()


@pytest.mark.parametrize(
    ("levels", "deltas", "channels", "encoder_type"),
    [
        (FPN, False, 3, "GradualStyleEncoder"),
        (FPN, True, 3, "Encoder4Editing"),
        ((0,) * NUM_WS, True, 6, "ProgressiveBackboneEncoder"),
        ((), False, 3, "WEncoder"),
    ],
)
def test_the_way_back_changes_nothing(
    levels: tuple[int, ...], deltas: bool, channels: int, encoder_type: str, decoder: Generator, tmp_path: Path
) -> None:
    theirs = to_rosinality(face_generator(decoder))["g_ema"]
    states = encoder_state(build(levels, deltas, channels)) | {f"decoder.{name}": t for name, t in theirs.items()}
    options = {"encoder_type": encoder_type, "output_size": 32, "start_from_latent_avg": True}
    torch.save({"state_dict": states, "latent_avg": MEAN, "opts": options}, tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pt", "psp")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert set(back["state_dict"]) == set(states)
    for name, tensor in states.items():
        assert torch.equal(back["state_dict"][name], tensor) and tensor.dtype == back["state_dict"][name].dtype, name
    assert torch.equal(back["latent_avg"], MEAN.expand(NUM_WS, -1)) and back["opts"] == options
    first, again = (checkpoints.load_encoder(tmp_path / name) for name in ("theirs.pt", "back.pt"))
    assert first.network.config == again.network.config
    with pytest.raises(CheckpointError, match="arcface's layout is for an ArcFace network"):
        convert(tmp_path / "back.pt", tmp_path / "no.pt", "arcface")
    assert not (tmp_path / "no.pt").exists()


def test_encoders_load_in_inference_mode_and_can_be_trained(tmp_path: Path) -> None:
    torch.save({"state_dict": encoder_state(build())}, tmp_path / "e.pt")
    before = (tmp_path / "e.pt").read_bytes()
    with torch.inference_mode():
        network = checkpoints.load_encoder(tmp_path / "e.pt").network
    network(pictures(1)).square().mean().backward()
    weight = network.input_layer[0].weight  # type: ignore[index,union-attr]
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    with torch.no_grad():
        weight.zero_()
    assert (tmp_path / "e.pt").read_bytes() == before


def broken(**changes: Any) -> dict[str, Any]:
    return {"state_dict": encoder_state(build()) | changes}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: {"state_dict": encoder_state(build((0,) * NUM_WS, in_channels=19))}, "19 channels .*label maps"),
        (
            lambda: {"state_dict": {"encoder.conv1.weight": MEAN, "encoder.styles.0.linear.weight": MEAN}},
            "ResNet-34.*cars",
        ),
        (lambda: broken(**{"encoder.styles.2.linear.bias": MEAN[:3]}), r"styles.2.linear.bias` has shape \[3\], where"),
        (lambda: broken(**{"encoder.latlayer2.bias": None}), "latlayer2.bias` is missing"),
        (lambda: broken(**{"encoder.body.1.shortcut_layer.0.weight": None}), "3 stages and not 4"),
    ],
)
def test_other_encoders_are_refused_by_name(content: Any, sentence: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "e.pt")
    with pytest.raises(CheckpointError, match=sentence):
        checkpoints.load_encoder(tmp_path / "e.pt")


def test_a_file_says_what_it_holds_when_something_else_is_wanted(tmp_path: Path) -> None:
    torch.save(broken(), tmp_path / "e.pt")
    with pytest.raises(CheckpointError, match="an encoder and no generator"):
        checkpoints.load_generator(tmp_path / "e.pt")
    with pytest.raises(CheckpointError, match="an encoder and no face recognition network.*model_ir_se50.pth"):
        checkpoints.load_identity(tmp_path / "e.pt")


@pytest.fixture(scope="module")
def arcface() -> ArcFace:
    config = ArcFaceConfig(TrunkConfig(**NARROW), side=112, embedding=24)  # type: ignore[arg-type]
    with torch.random.fork_rng():
        network = ArcFace(config).eval()
    randomise(network, 6)
    with torch.no_grad():
        # Else what all pictures have in common would hide what tells them apart.
        for part in (network.output_layer[3].bias, network.output_layer[4].bias, network.output_layer[4].running_mean):
            part.zero_()
    return network


@pytest.mark.parametrize("prefix", ["", "module.", "facenet."])
def test_arcface_file(prefix: str, arcface: ArcFace, tmp_path: Path) -> None:
    torch.save({prefix + name: tensor for name, tensor in arcface.state_dict().items()}, tmp_path / "model_ir_se50.pth")
    info = checkpoints.inspect(tmp_path / "model_ir_se50.pth")
    assert (info.family, info.kind, info.resolution, info.num_ws) == ("arcface", "embedding", 112, None)
    loaded = checkpoints.load_identity(tmp_path / "model_ir_se50.pth")
    assert loaded.config == arcface.config
    assert_same(arcface, loaded)
    checkpoints.save_identity(loaded, tmp_path / "ours.safetensors")
    assert_same(arcface, checkpoints.load_identity(tmp_path / "ours.safetensors"))
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pt", "arcface")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(back[name], tensor) for name, tensor in arcface.state_dict().items())
    with pytest.raises(CheckpointError, match="a face recognition network and no generator"):
        checkpoints.load_generator(tmp_path / "model_ir_se50.pth")
    with pytest.raises(CheckpointError, match="holds no encoder"):
        checkpoints.load_encoder(tmp_path / "model_ir_se50.pth")


def test_identity_is_a_differentiable_cosine(arcface: ArcFace) -> None:
    faces, others = pictures(2), pictures(2, seed=4)
    same = identity_similarity(arcface, faces, faces)
    assert_close(same, torch.ones(2), 3 * arcface.config.embedding)  # a product and two lengths
    faces.requires_grad_()
    likeness = identity_similarity(arcface, faces, others)
    assert (likeness < 0.9999).all() and likeness.shape == (2,)
    (gradient,) = torch.autograd.grad(likeness.sum(), faces)
    # What lies outside the cut does not matter.
    assert gradient[:, :, :35].abs().max() == 0 and gradient[:, :, 100:150, 100:150].abs().max() > 0
    with pytest.raises(ValueError, match="2 faces cannot be compared with 1"):
        identity_similarity(arcface, faces, others[:1])


def test_the_cut_is_that_of_psps_identity_loss() -> None:
    shown = pictures(1, side=512)
    at256 = F.avg_pool2d(shown, 2)
    expected = F.adaptive_avg_pool2d(at256[:, :, 35:223, 32:220], (112, 112))
    assert_close(crop_for_arcface(shown), expected, 2 * 2 + 3 * 3)  # two means
    with pytest.raises(ValueError, match="aligned square faces"):
        crop_for_arcface(shown[:, :, :100])


def test_configurations_that_fit_no_network_are_refused() -> None:
    for wrong in ({"levels": (0, 1)}, {"levels": (1,) * 8}, {"mean": "other"}):
        with pytest.raises(ValueError):
            PspConfig(8, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4 stages"):
        TrunkConfig(units=(1, 2))


def test_wrong_pictures_are_refused(arcface: ArcFace) -> None:
    with pytest.raises(ValueError, match=r"\[N, 3, 256, 256\], not \[1, 3, 64, 64\]"):
        build()(pictures(1, side=64))
    with pytest.raises(ValueError, match=r"\[N, 3, 112, 112\]"):
        arcface(pictures(1))
    assert default_steps(FaceEncoder(build(), 256, NUM_WS, W_DIM)) == 1

"""Guides: networks in their public layout, against slow computations; who feels the pull; what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from guide_files import as_transformers, bisenet_state, dino_state, lpips_states, save_all, save_dlib
from tolerances import assert_close, layers, rounding, roundings
from torch import Tensor

from facestylist.models.checkpoints import CheckpointError, load_identity
from facestylist.models.checkpoints.guides import (
    dino_from_state,
    find_lpips_linear,
    load_bisenet,
    load_dino,
    load_lpips,
)
from facestylist.training.guides import files
from facestylist.training.guides.files import open_guide
from facestylist.training.guides.hints import KINDS, SUGGESTED_WEIGHTS, likely_first, parse_request
from facestylist.training.guides.networks import NetworkGuide

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return save_all(tmp_path_factory.mktemp("face_guides"))


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(7)
    return tuple(
        F.interpolate(torch.rand(2, 3, 9, 9, generator=random) * 2 - 1, 64, mode="bicubic").clamp(-1, 1)
        for _ in range(2)
    )


def guide(saved: dict[str, list[Path]], kind: str) -> NetworkGuide:
    return open_guide(kind, saved[kind], 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_pictures_are_no_distance_and_others_are(
    kind: str, saved: dict[str, list[Path]], pictures: tuple[Tensor, Tensor]
) -> None:
    prediction, source = pictures
    judge = guide(saved, kind)
    assert (judge.name, judge.weight) == (kind, 0.5)
    value = judge(prediction, source)
    assert value.shape == () and float(value) > 1e-6
    assert float(judge(prediction, prediction.clone())) == pytest.approx(0.0, abs=0.001 * float(value))


@pytest.mark.parametrize("kind", KINDS)
def test_the_pull_is_felt_by_what_is_made_alone(
    kind: str, saved: dict[str, list[Path]], pictures: tuple[Tensor, Tensor]
) -> None:
    prediction, source = (picture.clone().requires_grad_() for picture in pictures)
    judge = guide(saved, kind)
    judge(prediction, source).backward()
    assert source.grad is None
    assert prediction.grad is not None and torch.isfinite(prediction.grad).all() and prediction.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in judge.network.parameters())
    # A step against the gradient brings the two closer.
    before = float(judge(prediction.detach(), source.detach()))
    nearer = prediction.detach() - prediction.grad * (0.02 / prediction.grad.abs().max())
    assert float(judge(nearer, source.detach())) < before


@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_picture_gives_a_finite_gradient(kind: str, saved: dict[str, list[Path]]) -> None:
    prediction = torch.zeros(1, 3, 64, 64, requires_grad=True)
    guide(saved, kind)(prediction, torch.ones(1, 3, 64, 64)).backward()
    assert prediction.grad is not None and torch.isfinite(prediction.grad).all()


def test_the_identity_of_a_guide_is_its_weights(saved: dict[str, list[Path]], tmp_path: Path) -> None:
    names = {guide(saved, kind).identity for kind in KINDS}
    assert len(names) == len(KINDS)
    assert guide(saved, "parsing").identity in names
    state = bisenet_state()
    state["ffm.conv1.weight"] = state["ffm.conv1.weight"] + 0.1
    torch.save(state, tmp_path / "other.pth")
    assert open_guide("parsing", [tmp_path / "other.pth"]).identity not in names


@pytest.mark.parametrize("backbone", ["vgg", "alex"])
def test_lpips_is_its_formula(backbone: str, tmp_path: Path, pictures: tuple[Tensor, Tensor]) -> None:
    """sum over stages of the mean over positions of sum over channels of w * (a / |a| - b / |b|)^2, layer by layer."""
    state, linear = lpips_states(backbone)
    torch.save(state, tmp_path / "backbone.pth")
    torch.save(linear, tmp_path / "linear.pth")
    network = load_lpips(tmp_path / "backbone.pth", tmp_path / "linear.pth")
    assert network.config.backbone == backbone
    # What stands where in torchvision's `features`: c a convolution with its ReLU, p a pooling; x: a compared map.
    layout = {
        "vgg": "0c 2c x 4p 5c 7c x 9p 10c 12c 14c x 16p 17c 19c 21c x 23p 24c 26c 28c x",
        "alex": "0c x 2p 3c x 5p 6c x 8c x 10c x",
    }[backbone].split()
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def maps(picture: Tensor) -> list[Tensor]:
        x, found = (picture - shift[:, None, None]) / scale[:, None, None], []
        for step in layout:
            if step == "x":
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
            elif step.endswith("p"):
                x = F.max_pool2d(x, 2, 2) if backbone == "vgg" else F.max_pool2d(x, 3, 2)
            else:
                place = f"features.{step[:-1]}"
                weight = state[f"{place}.weight"]
                stride, padding = (4, 2) if weight.shape[-1] == 11 else (1, weight.shape[-1] // 2)
                x = F.conv2d(x, weight, state[f"{place}.bias"], stride, padding).relu()
        return found

    prediction, source = pictures
    wanted = torch.zeros(2)
    for stage, (a, b) in enumerate(zip(maps(prediction), maps(source), strict=True)):
        weight = linear[f"lin{stage}.model.1.weight"][0, :, 0, 0]
        wanted += torch.einsum("nchw,c->nhw", (a - b) ** 2, weight).mean((1, 2))
    assert_close(network(prediction, source), wanted, 2 * roundings(network))


def test_lpips_reads_the_other_layouts(tmp_path: Path, pictures: tuple[Tensor, Tensor]) -> None:
    state, linear = lpips_states("vgg")
    torch.save(state, tmp_path / "vgg16.pth")
    torch.save(linear, tmp_path / "vgg.pth")
    expected = load_lpips(tmp_path / "vgg16.pth", tmp_path / "vgg.pth")(*pictures)
    slices = {"0": 1, "2": 1, "5": 2, "7": 2, "10": 3, "12": 3, "14": 3, "17": 4, "19": 4, "21": 4}
    whole = {
        f"net.slice{slices.get(name.split('.')[1], 5)}.{name.removeprefix('features.')}": tensor
        for name, tensor in state.items()
        if name.startswith("features.")
    }
    torch.save({"state_dict": {**whole, **linear}}, tmp_path / "whole.pth")
    assert torch.equal(load_lpips(tmp_path / "whole.pth")(*pictures), expected)
    from safetensors.torch import save_file

    save_file(state, tmp_path / "timm.safetensors")
    assert torch.equal(load_lpips(tmp_path / "timm.safetensors", tmp_path / "vgg.pth")(*pictures), expected)


def test_the_linear_layers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for backbone in ("vgg", "alex"):
        state, linear = lpips_states(backbone)
        torch.save(state, tmp_path / f"{backbone}-backbone.pth")
        (tmp_path / backbone).mkdir()
        torch.save(linear, tmp_path / backbone / "linear.pth")
    (tmp_path / "broken.pth").write_bytes(b"x")
    places = [tmp_path / "missing.pth", tmp_path / "broken.pth", tmp_path / "vgg-backbone.pth"]
    assert find_lpips_linear(tmp_path / "vgg-backbone.pth", places) is None
    places += [tmp_path / "alex" / "linear.pth", tmp_path / "vgg" / "linear.pth"]
    # Both narrow backbones have the same widths here: the first that fits is taken.
    assert find_lpips_linear(tmp_path / "alex-backbone.pth", places) == tmp_path / "alex" / "linear.pth"
    monkeypatch.setattr(files, "LPIPS_PACKAGES", {})
    assert open_guide("lpips", [tmp_path / "vgg-backbone.pth"], places=[tmp_path / "vgg"]).name == "lpips"
    with pytest.raises(CheckpointError, match="convolutions alone. Choose LPIPS' linear layers, `vgg.pth` of lpips"):
        open_guide("lpips", [tmp_path / "vgg-backbone.pth"])


def test_dino_is_a_transformer_computed_slowly(tmp_path: Path) -> None:
    """Two heads, one token at a time, with the keys of the last block as its normalised input times their matrix."""
    state = dino_state(registers=1)
    torch.save(state, tmp_path / "dino.pth")
    network = load_dino(tmp_path / "dino.pth")
    picture = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(1)) * 2 - 1
    keys = network.last_keys(picture)
    assert keys.shape == (1, 17, 128)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return (x - mean) / (variance + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = ((picture[0] + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    patches = []
    for row in range(4):
        for column in range(4):
            patch = normal[:, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
            patches.append(state["patch_embed.proj.weight"].flatten(1) @ patch.flatten())
    patches_ = torch.stack(patches) + state["patch_embed.proj.bias"] + state["pos_embed"][0, 1:]
    cls = state["cls_token"][0] + state["pos_embed"][0, :1]
    x = torch.cat([cls, state["register_tokens"][0], patches_])

    def qkv(x: Tensor, block: int) -> Tensor:
        place = f"blocks.{block}"
        return norm(x, f"{place}.norm1") @ state[f"{place}.attn.qkv.weight"].T + state[f"{place}.attn.qkv.bias"]

    q, k, v = qkv(x, 0).split(128, dim=1)
    heads = []
    for head in range(2):
        part = slice(64 * head, 64 * head + 64)
        heads.append(torch.softmax(q[:, part] @ k[:, part].T / 8, dim=1) @ v[:, part])
    attended = torch.cat(heads, 1) @ state["blocks.0.attn.proj.weight"].T + state["blocks.0.attn.proj.bias"]
    x = x + state["blocks.0.ls1.gamma"] * attended
    hidden = norm(x, "blocks.0.norm2") @ state["blocks.0.mlp.fc1.weight"].T + state["blocks.0.mlp.fc1.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    x = x + state["blocks.0.ls2.gamma"] * (hidden @ state["blocks.0.mlp.fc2.weight"].T + state["blocks.0.mlp.fc2.bias"])
    wanted = qkv(x, 1).split(128, dim=1)[1]
    assert_close(keys[0], torch.cat([wanted[:1], wanted[2:]]), roundings(network))


def test_dino_in_every_layout_is_the_same(tmp_path: Path) -> None:
    state = dino_state()
    torch.save({"teacher": {f"backbone.{name}": tensor for name, tensor in state.items()}}, tmp_path / "a.pth")
    torch.save(as_transformers(state), tmp_path / "b.pth")
    # The names of its version 5.
    later = {
        "attention.attention.query": "attention.q_proj",
        "attention.attention.key": "attention.k_proj",
        "attention.attention.value": "attention.v_proj",
        "attention.output.dense": "attention.o_proj",
    }
    renamed = as_transformers(state)
    for old, new in later.items():
        renamed = {name.replace(old, new): tensor for name, tensor in renamed.items()}
    torch.save(renamed, tmp_path / "c.pth")
    picture = torch.rand(1, 3, 28, 42, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = load_dino(tmp_path / "a.pth")(picture)
    assert torch.equal(load_dino(tmp_path / "b.pth")(picture), expected)
    assert torch.equal(load_dino(tmp_path / "c.pth")(picture), expected)
    with torch.inference_mode():
        # As ComfyUI holds it: half precision, made in inference mode.
        clip = {name: tensor.half() for name, tensor in as_transformers(state).items()}
        network = dino_from_state(clip)
    # Its matrices are rounded to half precision.
    near = rounding(layers(network), float(expected.abs().max()), torch.float16)
    assert torch.allclose(network(picture), expected, rtol=0, atol=near)
    picture.requires_grad_()
    network.last_keys(picture).square().sum().backward()
    assert picture.grad is not None


def test_dino_without_layer_scale_is_read(tmp_path: Path) -> None:
    state = dino_state(patch=8, scale=False)
    torch.save(state, tmp_path / "dino.pth")
    ones = {f"blocks.{block}.ls{which}.gamma": torch.ones(128) for block in range(2) for which in (1, 2)}
    torch.save(state | ones, tmp_path / "scaled.pth")
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(load_dino(tmp_path / "dino.pth")(picture), load_dino(tmp_path / "scaled.pth")(picture))


def test_dino_agrees_with_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="compares with transformers where it is installed")
    config = transformers.Dinov2Config(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        theirs = transformers.Dinov2Model(config).eval()
    torch.save(theirs.state_dict(), tmp_path / "dino.pth")
    ours = load_dino(tmp_path / "dino.pth")
    picture = torch.rand(1, 3, 42, 70, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        wanted = theirs((picture / 2 + 0.5 - ours.mean) / ours.std).last_hidden_state
    assert_close(ours(picture), wanted, roundings(ours))


def test_parsing_is_the_divergence_of_its_labels(saved: dict[str, list[Path]], pictures: tuple[Tensor, Tensor]) -> None:
    judge = guide(saved, "parsing")
    prediction, source = (
        judge.network(F.interpolate(picture, (512, 512), mode="bilinear", antialias=True)).double().log_softmax(1)
        for picture in pictures
    )
    assert prediction.shape == (2, 5, 64, 64)
    wanted = (source.exp() * (source - prediction)).sum(1).mean()
    near = rounding(source.numel(), float((source - prediction).abs().mean()))
    assert float(judge(*pictures)) == pytest.approx(float(wanted), abs=near)


def test_the_parsing_network_computed_step_by_step(tmp_path: Path) -> None:
    state = bisenet_state()
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "79999_iter.pth")
    network = load_bisenet(tmp_path / "79999_iter.pth").double()
    state = {name: tensor.double() for name, tensor in state.items()}
    picture = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(1)).double() * 2 - 1

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()

    def block(x: Tensor, name: str) -> Tensor:
        return norm(conv(x, f"{name}.conv"), f"{name}.bn").relu()

    def twice(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def average(x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((picture + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    x = F.max_pool2d(norm(conv(x, "cp.resnet.conv1", 2), "cp.resnet.bn1").relu(), 3, 2, 1)
    maps = []
    for stage in range(1, 5):
        for index in range(2):
            place, stride = f"cp.resnet.layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1
            short = x
            if f"{place}.downsample.0.weight" in state:
                short = norm(conv(x, f"{place}.downsample.0", stride), f"{place}.downsample.1")
            x = norm(conv(x, f"{place}.conv1", stride), f"{place}.bn1").relu()
            x = (norm(conv(x, f"{place}.conv2"), f"{place}.bn2") + short).relu()
        maps.append(x)

    def refined(x: Tensor, name: str) -> Tensor:
        x = block(x, f"{name}.conv")
        return x * torch.sigmoid(norm(conv(average(x), f"{name}.conv_atten"), f"{name}.bn_atten"))

    context = block(twice(refined(maps[3], "cp.arm32") + block(average(maps[3]), "cp.conv_avg")), "cp.conv_head32")
    context = block(twice(refined(maps[2], "cp.arm16") + context), "cp.conv_head16")
    fused = block(torch.cat([maps[1], context], 1), "ffm.convblk")
    fused = fused * torch.sigmoid(conv(conv(average(fused), "ffm.conv1").relu(), "ffm.conv2")) + fused
    wanted = conv(block(fused, "conv_out.conv"), "conv_out.conv_out")
    assert wanted.shape == (1, 5, 12, 8)
    assert_close(network(picture), wanted, roundings(network))


def test_identity_is_one_minus_the_cosine(saved: dict[str, list[Path]], pictures: tuple[Tensor, Tensor]) -> None:
    network = load_identity(saved["identity"][0])
    from facestylist.models.irse import ArcFace, crop_for_arcface

    assert isinstance(network, ArcFace)
    prediction, source = (network(crop_for_arcface(picture, 32)) for picture in pictures)
    wanted = 1 - float((prediction * source).sum(1).mean())
    assert float(guide(saved, "identity")(*pictures)) == pytest.approx(wanted, abs=rounding(3 * prediction.shape[1]))


def test_dlibs_network_is_an_identity_guide_too(tmp_path: Path, pictures: tuple[Tensor, Tensor]) -> None:
    network = save_dlib(tmp_path / "dlib.safetensors")
    prediction, source = pictures
    judge = open_guide("identity", [tmp_path / "dlib.safetensors"])
    apart = (network.describe(prediction) - network.describe(source)).norm(dim=1)
    near = rounding(roundings(network), float(network.describe(prediction).norm(dim=1).max()))
    assert float(judge(prediction, source)) == pytest.approx(float((apart * 0.7 / 0.6).mean()), abs=near)
    assert float(judge(prediction, prediction.clone())) == 0.0
    seen = prediction.clone().requires_grad_()
    judge(seen, source).backward()
    assert seen.grad is not None and seen.grad.abs().sum() > 0
    nearer = prediction - seen.grad * (0.02 / seen.grad.abs().max())
    assert float(judge(nearer, source)) < float(judge(prediction, source))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named(kind: str, saved: dict[str, list[Path]]) -> None:
    wrong = saved["parsing" if kind != "parsing" else "dino"][0]
    with pytest.raises(CheckpointError, match=str(wrong.name)) as refused:
        open_guide(kind, [wrong])
    assert "Choose" in str(refused.value) or "Accepted" in str(refused.value)


def test_what_does_not_belong_together_is_refused(saved: dict[str, list[Path]], tmp_path: Path) -> None:
    _, linear = lpips_states("vgg")
    linear["lin0.model.1.weight"] = torch.ones(1, 5, 1, 1)
    torch.save(linear, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"have \[5, 6, 8, 8, 8\] channels, where \[4, 6, 8, 8, 8\] belong"):
        load_lpips(saved["lpips"][0], tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="it holds the linear layers of LPIPS, not the convolutions"):
        load_lpips(saved["lpips"][1])
    state = bisenet_state()
    del state["ffm.conv1.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="`ffm.conv1.weight` is missing"):
        load_bisenet(tmp_path / "cut.pth")
    del state["conv_out.conv_out.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        load_bisenet(tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match="no DINOv2 network"):
        dino_from_state({"vision_model.embeddings.class_embedding": torch.ones(3)})
    with pytest.raises(ValueError, match="There is no guide 'clip'"):
        open_guide("clip", [tmp_path])
    with pytest.raises(ValueError, match="takes one file, not 2"):
        open_guide("dino", saved["lpips"])


def test_requests_of_the_command_line() -> None:
    assert parse_request("lpips=a/vgg16.pth+vgg.pth:0.25").files == ("a/vgg16.pth", "vgg.pth")
    assert parse_request("lpips=a/vgg16.pth+vgg.pth:0.25").weight == 0.25
    windows = parse_request("dino=C:\\nets\\dino.pth")
    assert windows.files == ("C:\\nets\\dino.pth",) and windows.weight == SUGGESTED_WEIGHTS["dino"]
    assert parse_request("parsing=x.pth:2").weight == 2
    for text in ("vgg=x.pth", "lpips", "lpips="):
        with pytest.raises(ValueError, match="is no guide; write KIND=FILE"):
            parse_request(text)


def test_likely_files_come_first() -> None:
    names = ["79999_iter.pth", "alexnet.pth", "dinov2.pth", "model_ir_se50.pth"]
    assert [likely_first(kind, names)[0] for kind in KINDS] == [names[1], names[3], names[2], names[0]]

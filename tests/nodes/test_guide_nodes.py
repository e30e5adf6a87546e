"""Guides as nodes and as a flag of the command line: files found, chained, used, and missing ones explained."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from node_bench import RESOLUTION, run_node
from tolerances import assert_close, roundings
from torch import Tensor

from facestylist.models.types import FaceGenerator
from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.runtime.folders import Folders

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("training", "models")]
from guide_files import as_transformers, dino_state, save_all, save_dlib  # noqa: E402

pytestmark = pytest.mark.usefixtures("global_rng_untouched")
SHORT: dict[str, Any] = {"steps": 2, "batch_size": 2, "style_name": "red", "precision": "fp32", "preview_interval": 0}


@pytest.fixture
def filled(folders: Folders) -> Folders:
    save_all(folders.models / "face_guides")
    return folders


@pytest.fixture
def style_images() -> Tensor:
    return torch.rand(4, RESOLUTION, RESOLUTION, 3, generator=torch.Generator().manual_seed(1))


def test_the_right_file_is_offered_first(filled: Folders) -> None:
    first = {}
    for name in ("Lpips", "Identity", "Dino", "Parsing"):
        types = NODE_CLASS_MAPPINGS[f"FaceStylist{name}Guide"].INPUT_TYPES()["required"]  # type: ignore[attr-defined]
        first[name] = types["backbone" if name == "Lpips" else "file"][0][0]
    assert first == {
        "Lpips": "vgg16-397923af.pth",
        "Identity": "model_ir_se50.pth",
        "Dino": "dinov2_vits14_pretrain.pth",
        "Parsing": "79999_iter.pth",
    }


def test_guides_chain_and_pull(filled: Folders, source: FaceGenerator, style_images: Tensor) -> None:
    (guides,) = run_node("LpipsGuide")
    (guides,) = run_node("IdentityGuide", guides=guides, weight=2.0)
    (guides,) = run_node("DinoGuide", guides=guides)
    assert [(guide.name, guide.weight) for guide in guides] == [("lpips", 0.5), ("identity", 2.0), ("dino", 1.0)]
    with pytest.raises(ValueError, match="already contains a dino guide"):
        run_node("DinoGuide", guides=guides)
    given = {"source": source, "style_images": style_images, **SHORT}
    guided, *_ = run_node("FinetuneGenerator", **given, guides=guides)
    plain, *_ = run_node("FinetuneGenerator", **given)
    assert any(
        not torch.equal(tensor, plain.generator.state_dict()[name])
        for name, tensor in guided.generator.state_dict().items()
    )
    runs = sorted((filled.output / "facestylist_runs").iterdir())
    assert len(runs) == 2, "a guide makes another run"
    headers = [(run / "losses.csv").read_text().splitlines()[0] for run in runs]
    assert sum("guide identity" in header and "guide lpips" in header for header in headers) == 1
    loose = {
        "min_contrast": 0.0,
        "drop_quality": 0.0,
        "drop_structure": 0.0,
        "max_saturated": 1.0,
        "duplicate_bits": -1,
    }
    pairs, _ = run_node("MakePairs", source=source, target=guided, count=2, **loose)
    short = {"steps": 2, "settings": "discriminator_alone = 1\npreview_interval = 0"}
    *_, losses = run_node("TrainWithPairs", source=source, style=guided, pairs=pairs, guides=guides, **short)
    assert {"guide identity", "guide lpips", "guide dino"} <= set(losses)


def test_an_identity_guide_judges_pairs(filled: Folders, source: FaceGenerator) -> None:
    style = source.to("cpu").replace(style="ink")
    for block in style.generator.synthesis.blocks:
        block.to_rgb.weight.data.mul_(-1)
    network = save_dlib(filled.models / "face_guides" / "dlib.safetensors")
    (guides,) = run_node("IdentityGuide", file="dlib.safetensors")
    loose = {"min_contrast": 0.0, "max_saturated": 1.0, "duplicate_bits": -1, "flip_prob": 0.0, "affine_prob": 0.0}
    loose |= {f"min_identity_{level}": -1.0 for level in (1, 2, 3)}
    pairs, _ = run_node("MakePairs", source=source, target=style, count=2, identity=guides, **loose)
    likeness = pairs.scores["identity"][pairs.level == 3]
    codes = pairs.w_plus[pairs.level == 3]
    drawn = [generator.generator.synthesis(codes).clamp(-1, 1) for generator in (source, style)]
    wanted = 1 - (network.describe(drawn[0]) - network.describe(drawn[1])).norm(dim=1) * 0.7 / 0.6
    size = float(network.describe(drawn[0]).norm(dim=1).max())
    depth = roundings(source.generator) + roundings(network)
    assert_close(likeness, wanted.clamp_min(-1), depth, size)
    strict = {**loose, "min_identity_3": float(wanted.max()) + 0.01}
    pairs, report = run_node("MakePairs", source=source, target=style, count=2, identity=guides, **strict)
    assert 3 not in pairs.level.tolist() and "identity" in report
    (others,) = run_node("ParsingGuide")
    with pytest.raises(ValueError, match="`identity` contains no identity guide"):
        run_node("MakePairs", source=source, target=style, count=2, identity=others, **loose)


def test_the_guides_networks_can_be_converted(folders: Folders) -> None:
    from dlib_files import dat, network

    from facestylist.models.checkpoints import load_identity

    guides = folders.models / "face_guides"
    guides.mkdir(parents=True)
    (guides / "dlib_face.dat").write_bytes(dat(network()))
    path, report = run_node("ConvertCheckpoint", checkpoint="face_guides/dlib_face.dat", name="")
    assert Path(path) == guides / "dlib_face.safetensors" and "family: dlib" in report
    types: Any = NODE_CLASS_MAPPINGS["FaceStylistIdentityGuide"]
    assert types.INPUT_TYPES()["required"]["file"][0] == ["dlib_face.dat", "dlib_face.safetensors", "embedded"]
    (guide,) = run_node("IdentityGuide", file="dlib_face.dat")[0]
    assert torch.equal(guide.network.fc.weight, load_identity(path).fc.weight)  # type: ignore[union-attr]


def test_clip_vision_is_an_alternative(filled: Folders) -> None:
    class ClipVision:
        def get_sd(self) -> dict[str, Tensor]:
            return as_transformers(dino_state())

    (from_clip,) = run_node("DinoGuide", clip_vision=ClipVision(), file="none")
    (from_file,) = run_node("DinoGuide")
    assert from_clip[0].identity == from_file[0].identity


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Lpips", "vgg16-397923af.pth"),
        ("Identity", "model_ir_se50.pth"),
        ("Dino", "dinov2_vits14_pretrain.pth"),
        ("Parsing", "79999_iter.pth"),
    ],
)
def test_absent_weights_are_explained(name: str, wanted: str, folders: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS[f"FaceStylist{name}Guide"]
    with pytest.raises(ValueError, match=f"put .*{wanted}") as refused:
        run_node(f"{name}Guide", **({"file": "mine.pth"} if name == "Identity" else {}))
    assert str(folders.models / "face_guides") in str(refused.value)
    if hasattr(node, "VALIDATE_INPUTS"):
        assert wanted in node.VALIDATE_INPUTS("none")
        assert node.VALIDATE_INPUTS(None) is True


def test_a_guide_counts_as_changed_when_its_file_does(filled: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistParsingGuide"]
    before = node.IS_CHANGED(file="79999_iter.pth", weight=0.1)
    assert node.IS_CHANGED(file="79999_iter.pth", weight=0.5, guides=None) == before
    with (filled.models / "face_guides" / "79999_iter.pth").open("ab") as file:
        file.write(b"more")
    assert node.IS_CHANGED(file="79999_iter.pth", weight=0.1) != before


def test_the_command_line_takes_guides(
    filled: Folders, source: FaceGenerator, style_images: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from facestylist.cli.main import main
    from facestylist.core.pictures import write_picture
    from facestylist.models.checkpoints import save_generator

    save_generator(source, tmp_path / "source.safetensors")
    for index, picture in enumerate(style_images):
        write_picture(picture, tmp_path / "styles" / f"{index}.png")
    command = [
        "finetune",
        "--source",
        str(tmp_path / "source.safetensors"),
        "--styles",
        str(tmp_path / "styles"),
        "--no-align",
        "--out",
        str(tmp_path / "red.safetensors"),
        "--run-dir",
        str(tmp_path / "run"),
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--models-dir",
        str(filled.models),
        "--json",
    ]
    weights = str(filled.models / "face_guides" / "vgg16-397923af.pth")
    assert main([*command, "--guide", f"lpips={weights}+vgg.pth:0.25", "--guide", "parsing=79999_iter.pth"]) == 0
    last = json.loads(capsys.readouterr().out)["last"]
    assert last["guide lpips"] >= 0 and last["guide parsing"] >= 0
    loose = "min_contrast = 0\ndrop_quality = 0\ndrop_structure = 0\nmax_saturated = 1\nduplicate_bits = -1\n"
    (tmp_path / "pairs.toml").write_text(loose)
    networks = ["--source", str(tmp_path / "source.safetensors"), "--models-dir", str(filled.models), "--json"]
    style, pairs = str(tmp_path / "red.safetensors"), str(tmp_path / "red.pairs.safetensors")
    making = ["--target", style, "--out", pairs, "--count", "2", "--config", str(tmp_path / "pairs.toml")]
    assert main(["pairs", *networks, *making]) == 0
    training = ["--style", style, "--pairs", pairs, "--out", str(tmp_path / "redder.safetensors")]
    training += ["--run-dir", str(tmp_path / "pairs"), "--steps", "2", "--discriminator-alone", "1"]
    capsys.readouterr()
    assert main(["train-pairs", *networks, *training, "--guide", "parsing=79999_iter.pth"]) == 0
    assert json.loads(capsys.readouterr().out)["last"]["guide parsing"] >= 0
    elsewhere = ["--run-dir", str(tmp_path / "other")]
    assert main([*command, *elsewhere, "--guide", "dino=absent.pth"]) == 1
    assert "There is no file absent.pth. The dino guide needs weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--guide", "clip=x.pth"])
    assert "write KIND=FILE" in capsys.readouterr().err

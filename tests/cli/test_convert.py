"""`convert` in both directions, and what `inspect` says about a file with things left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from facestylist.cli.commands import convert as commands
from facestylist.cli.main import main
from facestylist.models.checkpoints import convert, export, load_generator, save_generator
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig.make(16, 64, 8, z_dim=8, w_dim=8, mapping_layers=2)).eval()
    generator.mean_latent.fill_(0.25)
    save_generator(FaceGenerator(generator, None), "ours.safetensors")
    return "ours.safetensors"


@pytest.mark.parametrize(("layout", "entry"), [("rosinality", "g_ema"), ("nvidia", "G_ema")])
def test_there_and_back(layout: str, entry: str, ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", ours, "theirs.pt", "--layout", layout, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["kind"], told["layout"]) == (["theirs.pt"], "generator", layout)
    assert entry in torch.load("theirs.pt", weights_only=True)
    assert main(["convert", "theirs.pt", "back.safetensors"]) == 0
    assert "had no discriminator" in capsys.readouterr().err
    before, after = load_generator(ours), load_generator("back.safetensors")
    assert before.w_space == after.w_space and after.provenance["origin_family"] == layout
    for name, tensor in before.generator.state_dict().items():
        assert torch.equal(after.generator.state_dict()[name], tensor), name


def test_the_flag_offers_every_layout() -> None:
    assert (convert.OURS, *export.LAYOUTS) == commands.LAYOUTS


def test_wrong_usage(ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", ours, "out.pt", "--layout", "facestylist"]) == 2
    assert main(["convert", ours, "out.safetensors", "--layout", "nvidia"]) == 2
    assert main(["convert", ours, "out.pt", "--half"]) == 2
    assert "has to end in" in capsys.readouterr().err


def test_inspect_says_what_is_missing(ours: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", ours, "theirs.pt"]) == 0
    state = torch.load("theirs.pt", weights_only=True)["g_ema"]
    torch.save({name: tensor for name, tensor in state.items() if "noises" not in name}, "bare.pt")
    capsys.readouterr()
    assert main(["inspect", "bare.pt"]) == 0
    said = capsys.readouterr().out
    assert "family            rosinality\n" in said and "num_ws            6\n" in said
    for lack in ("discriminator", "mean latent", "noise buffers"):
        assert lack in said
    assert "non-commercial" in said
    del state["convs.0.conv.weight"]
    torch.save(state, "broken.pt")
    assert main(["inspect", "broken.pt", "--json"]) == 0
    assert "generator.synthesis.blocks.1.conv0.weight" in json.loads(capsys.readouterr().out)["missing"]

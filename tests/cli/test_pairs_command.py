"""`pairs`: a file, a folder of pictures and a sheet, from one process and from two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tolerances import assert_close, roundings

from facestylist.cli.main import main
from facestylist.models.checkpoints import load_generator, save_encoder, save_generator, save_identity
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.dlib import DlibConfig, DlibFace
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.training.data.style_images import load_style_folder
from facestylist.training.pairs.manifest import load_pairs
from facestylist.training.pairs.renderer import PairRenderer
from facestylist.training.pairs.types import PAIR_ORIGINS

SIZE = 64
pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """source.safetensors, and style.safetensors without a discriminator."""
    folder = tmp_path_factory.mktemp("networks")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GeneratorConfig.make(SIZE, 8 * SIZE, 16, z_dim=16, w_dim=16, mapping_layers=2)
        generator = Generator(config).eval().requires_grad_(False)
        discriminator = Discriminator(DiscriminatorConfig(SIZE, config.channels)).eval().requires_grad_(False)
    source = FaceGenerator(generator, discriminator)
    save_generator(source, folder / "source.safetensors", {})
    style = source.to("cpu")
    for block in style.generator.synthesis.blocks:
        block.to_rgb.weight.mul_(-1)
    save_generator(style.replace(discriminator=None, style="ink"), folder / "style.safetensors", {})
    return folder


def arguments(networks: Path, *more: str) -> list[str]:
    loose = ["--min-contrast", "0", "--max-saturated", "1", "--duplicate-bits", "-1"]
    loose += ["--max-reconstruction-error", "4", "--flip-prob", "0"]
    files = ["--source", str(networks / "source.safetensors"), "--target", str(networks / "style.safetensors")]
    return ["pairs", *files, "--count", "4", "--json", *loose, *more]


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def test_pairs_with_pictures_and_a_sheet(networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, export, sheet = tmp_path / "p.safetensors", tmp_path / "set", tmp_path / "sheet.png"
    given = arguments(networks, "--out", str(out), "--export", str(export), "--preview", str(sheet), "--seed", "3")
    assert main([*given, "--export-levels", "3", "--prompt", "as {style}", "--captions"]) == 0
    record = shown(capsys)
    assert record["pairs"] == 16 and record["files"] == [str(out), str(sheet), str(export)]
    assert any("no discriminator" in note for note in record["notes"])
    assert [row["kept"] for row in record["rows"]] == [4, 4, 4, 4]
    assert record["settings"]["seed"] == 3 and record["settings"]["flip_prob"] == 0
    lines = [json.loads(line) for line in (export / "metadata.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["as ink"] * 4
    with Image.open(sheet) as picture:
        assert picture.width > 800
    pairs = load_pairs(out)
    source, style = (load_generator(networks / f"{name}.safetensors") for name in ("source", "style"))
    before, _ = PairRenderer(pairs, source, style)(range(16))
    assert before.shape == (16, 3, SIZE, SIZE)
    # Again into the same folder: told before anything is made.
    assert main([*given]) == 1
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--identity", "--arcface"])
def test_a_network_that_tells_people_apart(
    flag: str, networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng():
        save_identity(DlibFace(DlibConfig((4, 4), (1, 1), 4)), tmp_path / "models" / "face_guides" / "dlib.safetensors")
    given = arguments(networks, "--out", str(tmp_path / "p.safetensors"), "--min-identity-3", "1")
    assert main([*given, flag, "dlib.safetensors", "--models-dir", str(tmp_path / "models")]) == 0
    record = shown(capsys)
    assert record["rows"][0]["kept"] == 4 and record["rows"][3]["kept"] == 0 < record["rows"][3]["identity"]
    assert main([*given, flag, "absent.dat"]) == 1
    assert "absent.dat: there is no such file" in capsys.readouterr().err


def test_photos_and_style_pictures(networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = torch.Generator().manual_seed(0)
    for name in ("a", "b", "c"):
        tile = (torch.rand(8, 8, 3, generator=random) * 255).byte().numpy()
        for kind in ("photos", "styles"):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(tile).resize((SIZE, SIZE)).save(tmp_path / kind / f"{name}.png")
    given = arguments(
        networks,
        "--out",
        str(tmp_path / "p.safetensors"),
        "--photos",
        str(tmp_path / "photos"),
        "--styles",
        str(tmp_path / "styles"),
        "--no-align",
        "--steps",
        "2",
        "--levels",
        "3",
        "--anchor-variants",
        "2",
    )
    assert main(given) == 0
    made = {row["origin"]: row["made"] for row in shown(capsys)["rows"]}
    assert made == {"synthetic": 5, "photo": 3, "anchor": 6}


def test_known_photos_are_read_in_place_of_the_style_pictures(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = load_generator(networks / "source.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = (
            Encoder(EncoderConfig(SIZE, source.num_ws, source.w_dim, (8, 8, 8, 8, 8))).eval().requires_grad_(False)
        )
    save_encoder(FaceEncoder(network, SIZE, source.num_ws, source.w_dim), tmp_path / "e.safetensors", half=False)
    random = torch.Generator().manual_seed(0)
    for kind, names in (("photos", "cab"), ("styles", "bac")):
        (tmp_path / kind).mkdir()
        for name in names:
            tile = (torch.rand(8, 8, 3, generator=random) * 255).byte().numpy()
            Image.fromarray(tile).resize((SIZE, SIZE)).save(tmp_path / kind / f"{name}.png")
    given = arguments(networks, "--out", str(tmp_path / "p.safetensors"), "--levels", "3", "--no-align")
    given += ["--encoder", str(tmp_path / "e.safetensors"), "--keep-anchor-colours", "--anchor-variants", "1"]
    given += ["--style-photos", str(tmp_path / "photos")]
    assert main(given) == 2  # photos of nothing
    given += ["--styles", str(tmp_path / "styles")]
    assert main(given) == 0
    pairs = load_pairs(tmp_path / "p.safetensors")
    read = pairs.w_plus[pairs.origin == PAIR_ORIGINS.index("anchor")]
    photos = load_style_folder(tmp_path / "photos", SIZE).images
    expected = network(photos)
    # Both are centred on the source's own faces: their differences are what the photos say.
    rank = pairs.picture[pairs.origin == PAIR_ORIGINS.index("anchor")]
    difference = read - expected[rank]
    assert_close(difference, difference[:1].expand_as(difference), roundings(network), float(read.abs().max()))
    (tmp_path / "photos" / "b.png").unlink()
    capsys.readouterr()
    assert main(given) == 2
    assert "has no usable photo for b.png" in capsys.readouterr().err


def test_two_processes_make_one_set(
    networks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        given = arguments(networks, "--out", str(tmp_path / "p.safetensors"), "--export", str(tmp_path / "set"))
        assert main([*given, "--count", "5"]) == 0
        record = shown(capsys)
        assert record["rank"] == int(rank) and record["pairs"] == (12, 8)[int(rank)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p-00000-of-00002.safetensors",
        "p-00001-of-00002.safetensors",
        "set-00000-of-00002",
        "set-00001-of-00002",
    ]
    pairs = load_pairs(tmp_path / "p.safetensors")
    assert len(pairs) == 20
    # Different people: no code of the one is among those of the other.
    codes = pairs.w_plus[pairs.level == 3]
    assert len(codes.unique(dim=0)) == 5


def test_wrong_usage(networks: Path, tmp_path: Path) -> None:
    assert main(arguments(networks, "--out", str(tmp_path / "p.pt"))) == 2
    assert main(arguments(networks, "--out", str(tmp_path / "p.safetensors"), "--prompt", "{who}")) == 1
    assert main(arguments(networks, "--out", str(tmp_path / "p.safetensors"), "--levels", "7")) == 2
    assert list(tmp_path.iterdir()) == []

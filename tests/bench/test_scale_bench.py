"""`facestylist bench speed --scale`: what is measured is told once, and every point is drawn where its numbers say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from facestylist.cli.main import main
from facestylist.tools.bench import scale
from facestylist.tools.bench.scale_plot import HEIGHT, LEFT, TOP, WIDTH, Panel, scale_svg, scale_table
from facestylist.tools.bench.speed import Measured
from facestylist.tools.bench.speed_jobs import GRID, large_photo

PANELS = [
    Panel(
        "Batches", "faces at a time", "faces/s", {"small": [(1, 40), (4, 80)], "<large>": [(1, 2), (4, 2)]}, True, "A."
    ),
    Panel("Faces", "faces", "faces/s", {"one": [(1, 0.5), (2, 1.0), (10, 3.0)]}, False, "B."),
]


def test_points_are_drawn_where_their_numbers_say() -> None:
    root = ElementTree.fromstring(scale_svg(PANELS))  # noqa: S314 - our own
    name = root.tag.removesuffix("svg")
    assert root[0].tag == f"{name}rect" and root[0].get("fill") is not None, "a ground, whatever the page's"
    lines = [[tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in root.iter(f"{name}polyline")]
    small, large, one = lines
    # Logarithmic: doubled is as far everywhere, and half of the way from 1 to 4 is 2.
    unit = (large[0][1] - small[0][1]) / torch.tensor(20.0).log2().item()
    assert small[0][1] - small[1][1] == pytest.approx(unit, abs=0.1) and large[0][1] == large[1][1]
    # Linear, from 0.
    bottom = HEIGHT - 50
    assert (bottom - one[1][1]) == pytest.approx(2 * (bottom - one[0][1]), abs=0.2)
    assert one[2][0] - one[0][0] == pytest.approx(9 * (one[1][0] - one[0][0]), abs=20 * 0.05), "tenths are written"
    texts = [e.text for e in root.iter(f"{name}text")]
    assert {"Batches", "faces at a time", "faces/s", "small", "<large>", "10"} <= set(texts)
    for number, line in enumerate((small, large)):
        assert all(LEFT < x < WIDTH and TOP <= y <= bottom for x, y in line), number
    names = [e for e in root.iter(f"{name}text") if e.text in ("small", "<large>", "one")]
    assert all(float(e.get("y") or 0) % HEIGHT < TOP for e in names), "above the curves"


def test_the_numbers_as_a_table() -> None:
    lines = scale_table(PANELS[0])
    assert lines[0] == "| Batches: faces/s; faces at a time | 1 | 4 | last : first |"
    assert lines[2:] == ["| small | 40 | 80 | 2 |", "| <large> | 2 | 2 | 1 |", "", "A."]


def test_photos_of_any_size_with_any_number_of_faces() -> None:
    photo = large_photo(2, (200, 500), GRID)
    assert photo.shape == (1, 3, 200, 500) and bool((photo[..., 200:] == 0).all())
    assert torch.equal(photo[..., :100, :100], photo[..., :100, 100:200])


def test_the_command_draws_and_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def timed(prepare: Callable[[], Callable[[], object]]) -> Callable[[int], Measured]:
        prepare()()
        return lambda rounds: Measured(1, 0.5, None, rounds)

    monkeypatch.setattr(scale, "timed", timed)
    commands: list[list[str]] = []

    def timed_process(command: list[str]) -> object:
        commands.append(command)
        amount = (
            int(command[command.index("--steps") + 1]) if "--steps" in command else sum("photos" in c for c in command)
        )
        return lambda rounds: Measured(1, 10.0 + 2.0 * amount, None, 1)

    monkeypatch.setattr(scale, "timed_process", timed_process)
    document = tmp_path / "d.md"
    document.write_text("<!-- scale: begin -->\n<!-- scale: end -->\n")
    options = ["--work", str(tmp_path), "--pictures", str(tmp_path), "--fill", str(document), "--json"]
    assert main(["bench", "speed", "--scale", "--quick", *options]) == 0
    found = json.loads(capsys.readouterr().out)["scale"]
    assert found == json.loads((tmp_path / "scale.json").read_text())["scale"]
    assert found["Generators by the batch"] == {"128 px, shipped": [[1, 2.0], [2, 4.0]]}
    assert set(found["Photos by their size"]) == {"generator", "student"}
    # Two seconds for each photo and each step, and ten to start.
    assert found["Processes of one thread each"] == {"stylise, photos/s": [[1, 0.5]], "stage 1, steps/s": [[1, 0.5]]}
    assert len(commands) == 4 and all("torch.distributed.run" in command for command in commands)
    assert (tmp_path / "scale.svg").is_file() and len(re.findall(r"^\|---", document.read_text(), re.M)) == 4
    assert main(["bench", "quality", "--scale"]) == 2

"""The fast stylizer: the identity at level 0, any size, tiles, files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tolerances import assert_close, roundings

from facestylist.core.assets import list_embedded, resolve
from facestylist.models import checkpoints, stylizer
from facestylist.models.stylizer import FastStylizer, FastStylizerConfig, draw
from facestylist.models.types import FaceStylizer

pytestmark = pytest.mark.numeric


def network(medium: str = "none", seed: int = 3) -> FastStylizer:
    tiny = FastStylizer(FastStylizerConfig(medium, (4, 6, 6, 8), 8, 4)).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weight in tiny.parameters():
        weight.copy_(0.15 * torch.randn(weight.shape, generator=generator))
    return tiny


def pictures(height: int, width: int, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("medium", ["none", "pencil", "paint", "flat", "cel"])
def test_level_0_is_the_picture_and_level_3_is_not(medium: str) -> None:
    given = pictures(50, 67)
    drawn = network(medium)(given, torch.tensor([0.0]))
    assert torch.equal(drawn, given)
    assert (network(medium)(given, torch.tensor([3.0])) - given).abs().mean() > 1e-3


def test_levels_may_differ_in_a_batch() -> None:
    given = pictures(32, 32, 2)
    both = network()(given, torch.tensor([0.5, 3.0]))
    assert_close(both[1:], network()(given[1:], torch.tensor([3.0])), roundings(network()))


def test_drawing_keeps_size_range_and_strength_0() -> None:
    given = pictures(61, 90, 2)
    drawn = draw(network("pencil"), given)
    assert drawn.shape == given.shape
    assert drawn.abs().max() <= 1
    assert torch.equal(draw(network(), given, 0.0), given)
    assert draw(network(), given, stroke_size=2.0).shape == given.shape
    with pytest.raises(ValueError, match="strength is 1.5"):
        draw(network(), given, 1.5)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    given = stylizer.F.avg_pool2d(pictures(240, 288), 5, 1, 2)
    whole = draw(network("pencil"), given)
    monkeypatch.setattr(stylizer, "TILE", 144)
    monkeypatch.setattr(stylizer, "OVERLAP", 96)
    told = []
    tiled = draw(network("pencil"), given, on_tile=lambda done, total: told.append((done, total)))
    assert len(told) == told[-1][1] == 12
    assert (tiled - whole).abs().mean() < 0.1 * (whole - given).abs().mean()


def test_round_trip(tmp_path: Path) -> None:
    made = FaceStylizer(network("paint"), "oil", {"note": "a test"})
    path = tmp_path / "oil.safetensors"
    checkpoints.save_stylizer(made, path, {"note": "a test"}, half=False)
    read = checkpoints.load_stylizer(path)
    assert (read.style, read.medium, read.provenance["note"]) == ("oil", "paint", "a test")
    given = pictures(40, 40)
    assert torch.equal(draw(read.network, given), draw(made.network, given))
    told = checkpoints.inspect(path)
    assert (told.kind, told.resolution, told.num_ws) == ("stylizer", 0, None)
    with pytest.raises(checkpoints.CheckpointError, match="a fast stylizer and no generator"):
        checkpoints.load_generator(path)


def test_other_files_are_refused() -> None:
    with pytest.raises(checkpoints.CheckpointError, match="no fast stylizer|no embedded fast stylizer"):
        checkpoints.load_stylizer("embedded:cartoon-of-nobody")


@pytest.mark.parametrize("name", list_embedded("stylizer"))
def test_the_shipped_students_draw(name: str) -> None:
    student = checkpoints.load_stylizer(name)
    assert student.provenance["licence"]
    path = Path(resolve(name, "stylizer"))
    assert path.stat().st_size < 2.5e6
    given = stylizer.F.avg_pool2d(pictures(96, 96), 9, 1, 4)
    drawn = draw(student.network, given)
    assert 0.05 < (drawn - given).abs().mean() < 1.9

"""The bench of the fast stylizers: what its numbers mean, and that it writes its section and its sheet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from facestylist.core.assets import list_embedded
from facestylist.tools.bench import students


def shapes(size: int = 96) -> torch.Tensor:
    """A picture of soft blobs, `[1, 3, S, S]` in 0..1."""
    coarse = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def test_agreement_is_1_for_the_photo_and_falls_with_shifts() -> None:
    photo = shapes()
    same, negative = students.agreement(photo, photo), students.agreement(1 - photo, photo)
    moved = students.agreement(photo.roll(8, 3), photo)
    assert moved.strength < 0.6 and moved.direction < 0.85
    assert same.strength == pytest.approx(1.0, abs=0.01 * (1 - moved.strength))
    assert same.direction == pytest.approx(1.0, abs=0.01 * (1 - moved.direction))
    # A drawing in white on black has the same edges.
    assert negative.strength == pytest.approx(1.0, abs=0.01 * (1 - moved.strength))
    unrelated = students.agreement(torch.rand(photo.shape, generator=torch.Generator().manual_seed(3)), photo)
    assert unrelated.strength < 0.3 and 0.5 < unrelated.direction < 0.75


@pytest.mark.parametrize("look", students.BASELINES)
def test_filters_give_pictures(look: str) -> None:
    drawn = students.BASELINES[look](shapes(48))
    assert drawn.shape == (1, 3, 48, 48) and drawn.min() >= 0 and drawn.max() <= 1
    assert (drawn - shapes(48)).abs().mean() > 0.01


def test_distances_of_twins() -> None:
    twins = torch.zeros(2, 3, 64, 64)
    assert students.twin_distances(twins, twins) == (0.0, 0.0)
    off = twins.clone()
    off[..., :8] = 1.0
    whole, face = students.twin_distances(off, twins)
    assert whole == pytest.approx(0.5 / 8) and face == 0.0


@pytest.mark.skipif(not list_embedded("stylizer", "rendered"), reason="the stylizers are not there: run `make assets`")
def test_section_and_sheet(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray((shapes(64)[0].permute(1, 2, 0) * 255).byte().numpy()).save(tmp_path / "photos" / "a.png")
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    page.write_text("before\n<!-- students: begin -->\nold\n<!-- students: end -->\nafter\n")
    portraits = str(tmp_path / "photos")
    students.main(["--portraits", portraits, "--students", "sketch", "--faces", "0", "--fill", str(page)])
    text = page.read_text()
    assert "| sketch | " in text and "long way" not in text and "old" not in text and text.endswith("\nafter\n")
    with Image.open(tmp_path / "docs" / "pictures" / "students.jpg") as sheet:
        assert sheet.width > 3 * students.SHEET_WIDTH

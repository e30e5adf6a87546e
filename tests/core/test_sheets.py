"""Contact sheets, grids and curves: everything is where it should be, and odd input draws something."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from facestylist.core.pictures import pil_to_image
from facestylist.core.sheets import GAP, Row, contact_sheet, labelled_grid
from facestylist.training.reports.sheet import loss_curves


@pytest.fixture
def red() -> Tensor:
    picture = torch.zeros(10, 20, 3)
    picture[..., 0] = 1
    return picture


@pytest.fixture
def blue() -> Tensor:
    picture = torch.zeros(10, 10, 3)
    picture[..., 2] = 1
    return picture


def test_contact_sheet_places_pictures_in_rows(red: Tensor, blue: Tensor) -> None:
    sheet = contact_sheet([Row([red, blue], ["a", "b"], 40), Row([blue], ["c"], 80, "Second")], "Title", "note")
    assert sheet.width == 80 + 40 + 3 * GAP
    pixels = np.asarray(sheet)
    is_red, is_blue = ((pixels == colour).all(axis=-1) for colour in ((255, 0, 0), (0, 0, 255)))
    assert is_red.sum() == 80 * 40
    assert is_blue.sum() == 40 * 40 + 80 * 80
    assert np.argwhere(is_blue)[:, 0].max() > np.argwhere(is_red)[:, 0].max()


def test_rows_without_a_height_fill_the_width(red: Tensor, blue: Tensor) -> None:
    sheet = contact_sheet([Row([red, None, blue], ["", "", ""]), Row([blue], ["b"])], "", width=200 + 4 * GAP)
    assert sheet.width == 200 + 4 * GAP
    pixels = np.asarray(sheet)
    is_red = (pixels == (255, 0, 0)).all(axis=-1)
    assert is_red.sum() == 100 * 50, "twice as wide as high; the gap counts as a square"
    assert np.argwhere((pixels == (0, 0, 255)).all(axis=-1))[:, 1].max() == 200 + 3 * GAP - 1


def test_a_grid_has_its_names_and_its_holes(red: Tensor, blue: Tensor) -> None:
    named = labelled_grid([[blue, blue], [blue, None]], ["one", "two"], ["first", "second"], "Title", cell=50)
    bare = labelled_grid([[blue, blue], [blue, None]], ["one", "two"], cell=50)
    for grid in (named, bare):
        assert ((np.asarray(grid) == (0, 0, 255)).all(axis=-1)).sum() == 3 * 50 * 50
    assert named.width > bare.width and named.height > bare.height
    assert labelled_grid([[blue]], [""]).height > 160, "small pictures are shown large enough to see"


def test_a_pillow_picture_as_image(red: Tensor) -> None:
    image = pil_to_image(contact_sheet([Row([red], ["a"], 10)], ""))
    assert image.dtype == torch.float32 and image.shape[0] == 1 and image.shape[3] == 3
    assert float(image.min()) >= 0 and float(image.max()) <= 1


@pytest.mark.parametrize(
    "values", [[], [1.0], [2.0, 2.0, 2.0], [float("nan")] * 3, [1.0, float("inf"), 0.5], list(range(5000))]
)
def test_any_loss_can_be_drawn(values: list[float]) -> None:
    plot = loss_curves({"loss": values, "other": [0.1, 0.2]}, 600, 200)
    assert plot.size == (600, 200)
    drawn = len(plot.getcolors(100_000) or [])
    assert drawn > 3

"""Pixels that are no numbers in pictures that did not come over a wire: they stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import assert_close
from torch import Tensor

from facestylist.core.sheets import Row, contact_sheet
from facestylist.detection.detectors import detect_faces
from facestylist.faces.align import extract_crop
from facestylist.faces.tracks import find_shots
from facestylist.faces.types import Detection
from facestylist.models.stylizer import FastStylizer, FastStylizerConfig, draw
from facestylist.training.finetune.palette import colour_map

BAD = (float("nan"), float("inf"), float("-inf"))


def even(value: float) -> Tensor:
    """A picture of one colour, in which filling leaves no trace, with 16 pixels that are no numbers."""
    photo = torch.full((3, 96, 96), 0.25)
    photo[1, 10:14, 20:24] = value
    return photo


@pytest.mark.parametrize("value", BAD)
def test_what_is_made_of_a_picture_is_as_without(value: float) -> None:
    photo, clean = even(value), even(0.25)
    for scale, corner in ((0.4, 5.0), (1.0, -10.0), (4.7, -90.0)):
        matrix = torch.tensor([[scale, 0.1, corner], [-0.1, scale, corner]])
        # A blur that shrinks sums over rows and columns of 96 at most.
        assert_close(extract_crop(photo, matrix, 48), extract_crop(clean, matrix, 48), 2 * 96)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FastStylizer(FastStylizerConfig("none", (4, 8, 8, 8), 8, 4)).eval()
    for stroke in (0.0, 2.0):
        assert torch.equal(draw(network, photo[None], 1.0, stroke), draw(network, clean[None], 1.0, stroke))
    assert find_shots(torch.stack([photo, clean, clean])).tolist() == find_shots(torch.stack([clean] * 3)).tolist()
    ramp = torch.linspace(-1, 1, 3 * 96 * 96).view(1, 3, 96, 96)
    for one, other in zip(colour_map(photo[None], ramp), colour_map(clean[None], ramp), strict=True):
        assert torch.equal(one, other)
    sheet = contact_sheet([Row([photo.permute(1, 2, 0)], ["one"], 96)], "")
    whole = contact_sheet([Row([clean.permute(1, 2, 0)], ["one"], 96)], "")
    assert 0 < (np.asarray(sheet) != np.asarray(whole)).any(-1).sum() <= 16


def test_detectors_are_asked_about_numbers_only() -> None:
    class Asked:
        photo: Tensor

        def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
            self.photo = photo
            return []

    asked = Asked()
    detect_faces(asked, even(float("nan")))
    assert torch.equal(asked.photo, even(0.25))

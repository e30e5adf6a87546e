"""The measures of the reference benchmark: nearer in colour is nearer, place does not count, and the table adds up."""

from __future__ import annotations

import argparse

import pytest
import torch
from tolerances import rounding
from torch import Tensor

from facestylist.procedural import Label
from facestylist.tools.bench.judges import Judge
from facestylist.tools.bench.reference import Outcome, colour, table, texture


def halves(left: tuple[float, float, float], right: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """A picture of two colours, and its label map: skin on the left, hair on the right."""
    picture = torch.cat([torch.tensor(c)[:, None, None].expand(3, 16, 8) for c in (left, right)], 2)
    labels = torch.full((16, 16), int(Label.SKIN))
    labels[:, 8:] = int(Label.HAIR)
    return picture, labels


def test_colour_is_compared_part_by_part() -> None:
    reference = halves((0.5, 0.0, 0.0), (0.0, 0.0, 0.5))
    assert colour(*reference, *reference) == 0
    mirrored = (reference[0].flip(2), reference[1].flip(1))
    assert colour(*mirrored, *reference) == pytest.approx(0, abs=rounding(16 * 8)), "where the parts are does not count"
    skin_off = halves((0.5, 0.4, 0.0), (0.0, 0.0, 0.5))
    assert colour(*skin_off, *reference) == pytest.approx(0.2, abs=rounding(16 * 8)), "0.4 on half of the area"
    exchanged = halves((0.0, 0.0, 0.5), (0.5, 0.0, 0.0))
    assert colour(*exchanged, *reference) > colour(*skin_off, *reference)
    elsewhere = (reference[0], torch.full((16, 16), int(Label.BEARD)))
    assert colour(*elsewhere, *reference) == 0, "no part in common"


def test_texture_sees_grain(global_rng_untouched: None) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Judge().eval()
    random = torch.Generator().manual_seed(1)
    flat, grain = torch.zeros(3, 32, 32), torch.randn(3, 32, 32, generator=random) * 0.5
    other_grain = torch.randn(3, 32, 32, generator=random) * 0.5
    assert texture(judge, grain, other_grain) < 0.3 * texture(judge, flat, other_grain)
    assert texture(judge, grain, grain) == 0


def test_the_table_counts() -> None:
    options = argparse.Namespace(faces=2, references=2, steps=3, amount=0.8, layer_cut=0, structure=0.0)
    true, mixed = torch.tensor([True] * 4), torch.tensor([True, True, True, False])
    one = torch.ones(4)
    outcome = Outcome("ink", mixed, true, ~true, one, one * 0.5, one * 0.4, one * 0.38, one[:2] * 0.6, 0.01)
    lines = table([outcome], options, 1.0)
    row = "75.0 % | 100.0 % | 0.0 % | 0.50 | 40.0 | 38.0 | -2.0 | 60.0 |"
    assert lines[-2] == f"| ink | {row}" and lines[-1] == f"| **all** | {row}"
    assert "2 held-out people, 2 references" in "\n".join(lines)

"""One course of a learning rate, in all its shapes."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import rounding

from facestylist.training.kit.schedule import cosine_fall, warm_up_cosine


def test_it_rises_holds_and_falls() -> None:
    values = [warm_up_cosine(n, 100, 5, hold=0.6, start=0.02) for n in (0, 4, 30, 80, 100, 101)]
    assert values[:3] == [0.02, pytest.approx(0.82), 1.0] and values[3] == pytest.approx(0.5)
    assert values[4] == values[5] == pytest.approx(0.0, abs=rounding(1, dtype=torch.float64))


def test_without_a_plateau_it_is_a_half_cosine_down_to_the_floor() -> None:
    assert [cosine_fall(p, floor=0.1) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert warm_up_cosine(25, 100, 50, floor=0.02) == pytest.approx(0.5 * (0.02 + 0.49 * (1 + math.cos(math.pi / 4))))

"""Steadiness of numbers over time: noise goes, movement stays, nothing lags."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close, rounding
from torch import Tensor

import facestylist.faces.temporal as temporal
from facestylist.faces.temporal import local_parabola, noise_variance, smooth_series, widths_up_to

TIMES = torch.arange(60)
WALK = torch.stack([40 + TIMES.double(), 8 * (TIMES / 8).sin()], 1)
SHAKE = torch.stack([3 * (2 * math.pi * TIMES / 12).sin(), 3 * (2 * math.pi * TIMES / 12).cos()], 1).double()

CUT = 1e-5
"""`local_parabola` leaves out what has a smaller part of the weight, and solves the rest to rounding over this."""


def noisy(values: Tensor, deviation: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return values + deviation * torch.randn(values.shape, generator=generator, dtype=values.dtype)


def error(values: Tensor, true: Tensor) -> float:
    return float((values - true).square().mean().sqrt())


def trembling(values: Tensor) -> float:
    return float(values.diff(n=2, dim=0).abs().mean())


def test_a_parabola_is_kept_to_its_ends() -> None:
    times = torch.tensor([0, 1, 2, 5, 6, 9])
    values = torch.stack([0.3 * times.double() ** 2 - 4 * times, torch.full((6,), 7.0).double()], 1)
    for width in (0.5, 1.5, 4.0):
        smooth, own = local_parabola(values, times, width)
        assert torch.allclose(smooth, values, rtol=0, atol=CUT * float(values.abs().max()))
        assert (own <= 1 + rounding(len(times), 1 / CUT, torch.float64)).all()
    lonely, own = local_parabola(values, times * 100, 1.0)
    assert torch.allclose(lonely, values) and own.tolist() == pytest.approx([1.0] * 6)


def test_nothing_lags() -> None:
    step = (torch.arange(41) >= 20).double()[:, None]
    smooth, _ = local_parabola(step, torch.arange(41), 2.0)
    assert torch.allclose(smooth[:20, 0], 1 - smooth[20:40, 0].flip(0), rtol=0, atol=CUT)


@pytest.mark.parametrize("true", [WALK, SHAKE, torch.zeros(60, 2).double()], ids=["walk", "shake", "still"])
def test_what_does_not_tremble_is_left_alone(true: Tensor) -> None:
    assert error(smooth_series(true, TIMES, 4.0), true) < 0.02


@pytest.mark.parametrize(("true", "errors", "tremblings"), [(WALK, 0.6, 0.1), (SHAKE, 0.8, 0.4)], ids=["walk", "shake"])
def test_trembling_goes_and_the_movement_stays(true: Tensor, errors: float, tremblings: float) -> None:
    for deviation in (0.3, 1.0):
        given = noisy(true, deviation)
        smooth = smooth_series(given, TIMES, 4.0)
        assert error(smooth, true) < errors * error(given, true), "nearer to the truth, not only steadier"
        excess = trembling(smooth) - trembling(true), trembling(given) - trembling(true)
        assert excess[0] < tremblings * excess[1]


def test_a_quick_turn_after_a_long_rest_is_kept() -> None:
    true = torch.where((TIMES < 40)[:, None], SHAKE[40], SHAKE)
    given = noisy(true, 0.3)
    smooth = smooth_series(given, TIMES, 6.0)
    assert error(smooth[:30], true[:30]) < 0.6 * error(given[:30], true[:30]), "steady where nothing moves"
    assert error(smooth[46:], true[46:]) < error(given[46:], true[46:]), "and quick where it does"


def test_the_noise_is_measured_beside_the_movement() -> None:
    for deviation in (0.1, 1.0):
        found = noise_variance(noisy(WALK, deviation), TIMES) ** 0.5
        assert found == pytest.approx(deviation, rel=0.2)
    # Of a swing of 8 with a period of 2 pi 8 frames (1/8)^4 is left.
    assert noise_variance(WALK, TIMES) < (8 / 8**4) ** 2 / 70
    assert noise_variance(noisy(WALK, 1.0), 2 * TIMES) == 0, "frames that are apart tell nothing"
    short = noisy(WALK[:6], 1.0)
    assert torch.equal(smooth_series(short, TIMES[:6], 4.0), short)


def test_the_widest_smoothing_is_the_one_that_is_asked_for() -> None:
    assert widths_up_to(0) == widths_up_to(0.5) == []
    assert widths_up_to(4.0) == pytest.approx([2 ** (k / 2) for k in range(-1, 5)])
    given = noisy(WALK, 1.0)
    assert torch.equal(smooth_series(given, TIMES, 0), given)
    little, much = (error(smooth_series(given, TIMES, most), WALK) for most in (1.0, 6.0))
    assert much < 0.8 * little < 0.8 * error(given, WALK)
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="smoothing"):
            smooth_series(given, TIMES, wrong)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = noisy(WALK, 1.0)
    whole, own = local_parabola(given, TIMES, 1.5)
    monkeypatch.setattr(temporal, "_ROWS", 7)
    parts, own_parts = local_parabola(given, TIMES, 1.5)
    assert_close(parts, whole, len(TIMES), float(given.abs().max()) / CUT)
    assert_close(own_parts, own, len(TIMES), 1 / CUT)

"""Pairs are compared by place, or, as far as strokes are free, by how strong they are hereabouts."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close, rounding
from torch import Tensor

from facestylist.training.losses.pictures import edge_distance, feature_distance, importance, pixel_distance

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("global_rng_untouched")]


def strokes(shift: float, side: int = 128) -> Tensor:
    """Stripes of 4 pixels `[1, 3, side, side]`, moved across by `shift` pixels."""
    x = torch.arange(side).float() + shift
    return (0.5 * torch.sin(2 * torch.pi * x / 4 + 0.3)).expand(1, 3, side, side)


def whole(prediction: Tensor, target: Tensor, freedom: float) -> float:
    weights = importance(prediction.shape[-1])
    layers = [[x, x[..., ::2, ::2]] for x in (prediction, target)]
    return float(
        pixel_distance(prediction, target, weights, freedom)
        + edge_distance(prediction, target, weights, freedom)
        + feature_distance(layers[0], layers[1], freedom)
    )


@pytest.mark.parametrize("freedom", [0.0, 0.5, 1.0])
def test_equal_pictures_are_at_no_distance(freedom: float) -> None:
    assert whole(strokes(0), strokes(0), freedom) == 0.0


def test_strokes_elsewhere_beat_no_strokes_only_where_they_are_free() -> None:
    """By place, the mean of all strokes is the best answer; free strokes make it the worst."""
    target, elsewhere, averaged = strokes(0), strokes(2), strokes(0) * 0
    assert whole(elsewhere, target, 0.0) > 1.5 * whole(averaged, target, 0.0)
    assert whole(elsewhere, target, 1.0) < 0.1 * whole(averaged, target, 1.0)


def test_colours_and_strength_are_still_compared_where_strokes_are_free() -> None:
    target = strokes(0)
    found = float(pixel_distance(target + 0.2, target, importance(128), 1.0))
    assert found == pytest.approx(0.2, rel=rounding(3 * 128**2))
    assert whole(0.5 * strokes(2), target, 1.0) > 3 * whole(strokes(2), target, 1.0)
    prediction = strokes(2).clone().requires_grad_(True)
    weights = importance(128)
    loss = pixel_distance(prediction, target, weights, 1.0) + edge_distance(prediction, target, weights, 1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    assert bool(gradient.isfinite().all())


def test_distance_by_place_is_the_plain_one() -> None:
    random = torch.Generator().manual_seed(0)
    prediction, target = (torch.rand(2, 3, 16, 16, generator=random) for _ in range(2))
    even = torch.ones(1, 1, 16, 16)
    expected = (prediction - target).abs().mean((1, 2, 3))
    assert_close(pixel_distance(prediction, target, even), expected, 3 * 16 * 16)
    assert_close(feature_distance([prediction, prediction], [target, target]), 2 * expected, 3 * 16 * 16)
    halved = [torch.nn.functional.avg_pool2d(prediction - target, 2**k) if k else prediction - target for k in range(3)]
    steps = sum(d.diff(dim=k).abs().mean((1, 2, 3)) for d in halved for k in (-1, -2))
    assert_close(edge_distance(prediction, target, even), steps, 3 * 16 * 16)
    assert float(importance(32).mean()) == pytest.approx(1.0, abs=rounding(32**2))
    assert float(importance(32)[0, 0, 16, 16]) > 4 * float(importance(32)[0, 0, 0, 0])

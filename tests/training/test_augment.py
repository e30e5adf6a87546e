"""Augmentation, its controller, and the running average of weights."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from facestylist.training.data.augment import (
    MAX_PROBABILITY,
    AdaptiveProbability,
    apply_augmentation,
    draw_augmentation,
    flip,
)
from facestylist.training.kit.ema import ExponentialMovingAverage


def augment(images: Tensor, probability: float, random: torch.Generator) -> Tensor:
    return apply_augmentation(images, draw_augmentation(len(images), random), probability)


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_probability_zero_changes_nothing_but_draws_the_same_numbers(pictures: Tensor) -> None:
    off, on = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    assert torch.equal(augment(pictures, 0.0, off), pictures)
    augment(pictures, 0.7, on)
    assert torch.equal(off.get_state(), on.get_state())


def test_some_pictures_change_and_the_others_stay_bit_for_bit(pictures: Tensor) -> None:
    changed = augment(pictures, 0.1, torch.Generator().manual_seed(1))
    share = (changed != pictures).flatten(1).any(1).float().mean().item()
    wanted = 1 - 0.9**5
    assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / 400) ** 0.5), "within four standard errors"
    assert changed.abs().max() < 3.5 and torch.isfinite(changed).all()


def test_same_seed_same_result_and_gradient_to_every_picture(pictures: Tensor) -> None:
    images = pictures.clone().requires_grad_()
    first = augment(images, 0.8, torch.Generator().manual_seed(2))
    assert torch.equal(first, augment(pictures, 0.8, torch.Generator().manual_seed(2)))
    (gradient,) = torch.autograd.grad(first.sum(), images)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_colour_changes_are_what_they_say() -> None:
    grey = torch.zeros(200, 3, 4, 4)
    changed = augment(grey, 0.5, torch.Generator().manual_seed(0))
    # A grey picture stays one grey; the mean of 3 x 4 x 4 equal numbers may not be quite that number.
    assert_close(changed.std((1, 2, 3)), torch.zeros(200), 3 * 4 * 4, float(changed.abs().max()))
    assert 0.25 < changed.abs().max() <= 0.3


def test_flip_mirrors_about_half(pictures: Tensor) -> None:
    flipped = flip(pictures, torch.Generator().manual_seed(0))
    mirrored = (flipped == pictures.flip(3)).flatten(1).all(1)
    same = (flipped == pictures).flatten(1).all(1)
    assert (mirrored ^ same).all() and 0.3 < mirrored.float().mean() < 0.7


def test_ada_matters_within_a_short_run() -> None:
    # 300 iterations of batch 8, fully overfitting: with half the run as its ramp it gets to the maximum.
    ada = AdaptiveProbability(0.0, target=0.6, ramp_pictures=0.5 * 300 * 8)
    for _ in range(100):
        ada.update(torch.ones(8, 1))
    assert ada.probability == pytest.approx(2 / 3)
    for _ in range(100):
        ada.update(torch.ones(8, 1))
    assert ada.probability == MAX_PROBABILITY
    for _ in range(60):
        ada.update(torch.tensor([[1.0], [-1.0]]).repeat(4, 1))
    assert ada.probability == pytest.approx(MAX_PROBABILITY - 0.4)


def test_average_warms_up_and_leaves_frozen_weights_alone() -> None:
    live, average = nn.Linear(1, 1), nn.Linear(1, 1)
    for network, value in ((live, 1.0), (average, 0.0)):
        nn.init.constant_(network.weight, value)
        nn.init.constant_(network.bias, value)
    live.bias.requires_grad_(False)
    average.requires_grad_(False)
    ema = ExponentialMovingAverage(live, average, 0.999)
    ema.update()
    assert average.weight.item() == pytest.approx(0.9), "the first update keeps a tenth"
    for _ in range(100):
        ema.update()
    assert average.weight.item() == pytest.approx(1.0)
    assert average.bias.item() == 0.0


def test_average_reaches_its_decay() -> None:
    live, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    ema = ExponentialMovingAverage(live, average, 0.9)
    ema.updates = 1000
    nn.init.constant_(live.weight, 1.0)
    nn.init.constant_(average.weight, 0.0)
    average.requires_grad_(False)
    ema.update()
    assert average.weight.item() == pytest.approx(0.1)

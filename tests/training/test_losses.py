"""Adversarial losses against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close, rounding

from facestylist.training.losses.adversarial import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_gamma_heuristic,
    r1_penalty,
    running_statistics,
    second_moments,
    texture_distance,
)

pytestmark = pytest.mark.numeric


def test_logistic_losses() -> None:
    fake, real = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    assert generator_loss(fake).item() == pytest.approx((math.log(2) + math.log1p(math.exp(-2))) / 2)
    expected = (math.log(2) + math.log1p(math.exp(2))) / 2 + (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2
    assert discriminator_loss(fake, real).item() == pytest.approx(expected)


def test_r1_of_a_linear_discriminator_is_its_squared_weight() -> None:
    weight = torch.linspace(-1, 1, 3 * 4 * 4).requires_grad_()
    pictures = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    penalty = r1_penalty(lambda x: x.flatten(1) @ weight[:, None], pictures)
    assert penalty.item() == pytest.approx(weight.square().sum().item(), rel=rounding(3 * 4 * 4 + 5))
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert_close(gradient, 2 * weight, 8)


def test_path_length_of_a_linear_generator() -> None:
    # picture = scale * w summed into one pixel row: |J' y| is scale * |y| whatever w is.
    scale = torch.tensor(3.0, requires_grad=True)
    w_plus = torch.rand(4, 1, 3 * 8 * 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pictures = (scale * w_plus[:, 0]).view(4, 3, 8, 8)
    direction = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    lengths = 3.0 * direction.div(8).flatten(1).norm(dim=1)
    penalty, mean = path_length_penalty(pictures, w_plus, torch.zeros(()), direction)
    depth = 3 * 8 * 8 + 4  # a length, and the mean of four
    assert mean.item() == pytest.approx(0.01 * lengths.mean().item(), rel=rounding(depth))
    assert penalty.item() == pytest.approx((lengths - mean).square().mean().item(), rel=rounding(2 * depth))
    (gradient,) = torch.autograd.grad(penalty, scale)
    assert gradient.item() == pytest.approx((2 * (lengths - mean) * lengths / 3).mean().item(), rel=rounding(3 * depth))


def test_gamma_heuristic() -> None:
    assert r1_gamma_heuristic(256, 16) == pytest.approx(0.8192)


def test_texture_statistics_see_colour_and_texture_but_not_place() -> None:
    random = torch.Generator().manual_seed(0)
    feature = torch.randn(2, 3, 8, 8, generator=random)
    (moments,) = second_moments([feature])
    flat = feature.transpose(0, 1).flatten(1)
    assert_close(moments[:3, :3], flat @ flat.t() / 128, 128)
    assert_close(moments[3, :3], flat.mean(1), 128, float(flat.abs().mean(1).max()))
    assert moments[3, 3] == 1
    shifted = second_moments([feature.roll((3, 2), (2, 3))])
    # Squares of 4 x 4 such differences.
    assert texture_distance(shifted, [moments]).item() <= 4 * 4 * rounding(128) ** 2
    brighter = [feature + 0.5]
    assert texture_distance(second_moments(brighter), [moments]).item() > 0.05


def test_running_statistics_forget_and_carry_no_gradient() -> None:
    first, second = torch.ones(2, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    (kept,) = running_statistics([], [first], 0.9)
    assert torch.equal(kept, first) and not kept.requires_grad
    (kept,) = running_statistics([kept], [second], 0.9)
    assert torch.allclose(kept, torch.full((2, 2), 0.9)) and not kept.requires_grad

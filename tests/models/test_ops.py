"""Operators against their definitions in float64, at the borders too."""

from __future__ import annotations

import math

import pytest
import slow_stylegan2 as slow
import torch
from tolerances import assert_close

from facestylist.models import ops

pytestmark = pytest.mark.numeric

GENERATOR = torch.Generator().manual_seed(0)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR)


def test_filter_kernel_is_the_binomial_one() -> None:
    kernel = ops.fir_kernel(gain=4)
    assert kernel.sum().item() == pytest.approx(4)
    assert torch.allclose(kernel[0], torch.tensor([1.0, 3, 3, 1]) * 4 / 64)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 5, 8, 6), (1, 1, 2, 2)])
def test_resampling_is_zero_insertion_and_filter(shape: tuple[int, ...]) -> None:
    x = _random(*shape)
    torch.testing.assert_close(ops.upsample(x), slow.upsample(x))
    torch.testing.assert_close(ops.downsample(x), slow.downsample(x))


def test_downsample_differentiates_twice() -> None:
    x = _random(1, 2, 4, 6).requires_grad_()
    assert torch.autograd.gradcheck(ops.downsample, x)
    assert torch.autograd.gradgradcheck(ops.downsample, x)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("by_weights", [True, False])
def test_styled_convolution(up: bool, by_weights: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "PIXELS_PER_WEIGHT", 0 if by_weights else math.inf)
    layer = ops.StyledConv(5, 4, w_dim=6, resolution=8, up=up).double()
    slow.randomise(layer, 1)
    x, w = _random(3, 5, 4, 4) if up else _random(3, 5, 8, 8), _random(3, 6)
    state = {f"layer.{name}": tensor for name, tensor in slow.double_state(layer).items()}
    expected = slow.modulated_conv(state, "layer", x, w, up=up)
    expected = slow.activate(expected + layer.noise_const * layer.noise_strength + layer.bias[:, None, None])
    torch.testing.assert_close(layer(x, w, layer.noise_const), expected)


@pytest.mark.parametrize("by_weights", [True, False])
def test_an_empty_batch_stays_empty(by_weights: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "PIXELS_PER_WEIGHT", 0 if by_weights else math.inf)
    layer = ops.StyledConv(5, 4, w_dim=6, resolution=8)
    assert layer(torch.zeros(0, 5, 8, 8), torch.zeros(0, 6), layer.noise_const).shape == (0, 4, 8, 8)


def test_float16_has_room_for_what_a_convolution_gives() -> None:
    layer = ops.StyledConv(64, 64, w_dim=6, resolution=8)
    slow.randomise(layer, 1)
    x = torch.randn(1, 64, 8, 8, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []
    convolve = layer._convolve
    layer._convolve = lambda *given: seen.append(convolve(*given)) or seen[-1]  # type: ignore[method-assign]
    with torch.autocast("cpu", torch.float16), torch.no_grad():
        layer(x.half(), torch.ones(1, 6), None)
    # Weights of unit variance are scaled before they meet the activations, so that the result is of their size.
    assert len(seen) == 1 and seen[0].abs().max() < 10 * x.abs().max()


def test_demodulation_stays_in_float32_under_autocast() -> None:
    weight, styles = torch.randn(4, 5, 3, 3, generator=GENERATOR), torch.randn(2, 5, generator=GENERATOR)
    with torch.autocast("cpu", torch.bfloat16):
        under = ops.demodulation(weight, styles)
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, ops.demodulation(weight, styles), rtol=0, atol=0)


def test_large_styles_do_not_overflow_float16() -> None:
    layer = ops.StyledConv(8, 8, w_dim=4, resolution=4)
    with torch.no_grad():
        layer.affine.weight.mul_(20000)
    x, w = torch.randn(2, 8, 4, 4, generator=GENERATOR), torch.randn(2, 4, generator=GENERATOR)
    half = layer(x.half(), w, None)
    assert half.dtype == torch.float16 and half.isfinite().all()
    # Pictures, styles, weights, their norm, products and the gain are rounded to half precision.
    assert_close(half, layer(x, w, None), 8)


def test_clamp_limits_convolutions() -> None:
    layer = ops.EqualConv2d(3, 4, 3, clamp=0.1)
    x = 5 * torch.randn(2, 3, 6, 6, generator=GENERATOR)
    assert layer(x).abs().max().item() == pytest.approx(0.1)
    assert layer(x, gain=0.5).abs().max().item() == pytest.approx(0.05)

"""The discriminator: its definition, R1, its conventions."""

from __future__ import annotations

import pytest
import slow_stylegan2 as slow
import torch
from tolerances import assert_close, layers, rounding, roundings

from facestylist.models.discriminator import Discriminator, DiscriminatorConfig, minibatch_stddev

pytestmark = pytest.mark.numeric

CONFIG = DiscriminatorConfig(resolution=16, channels=(6, 5, 4))


@pytest.fixture
def network() -> Discriminator:
    discriminator = Discriminator(CONFIG)
    slow.randomise(discriminator, 4)
    return discriminator


def _images(n: int) -> torch.Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(n)) * 2 - 1


@pytest.mark.parametrize(("batch", "group"), [(8, 4), (4, 4), (6, 3), (3, 3), (1, 1)])
def test_logits_and_r1_are_those_of_the_definition(network: Discriminator, batch: int, group: int) -> None:
    images = _images(batch).requires_grad_()
    exact_images = images.detach().double().requires_grad_()
    state = {name: tensor.requires_grad_() for name, tensor in slow.double_state(network).items()}
    logits, exact = network(images), slow.discriminator(state, exact_images, group)
    assert logits.shape == (batch, 1)
    depth = roundings(network) + batch
    assert_close(logits, exact, depth)

    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), exact_images, create_graph=True)
    r1, exact_r1 = gradient.square().sum(dim=(1, 2, 3)), exact_gradient.square().sum(dim=(1, 2, 3))
    # There and back, a square, and a sum over the pixels.
    depth = 2 * depth + 1 + images[0].numel()
    assert_close(r1, exact_r1, depth)
    # What the R1 penalty teaches the weights.
    for name in ("blocks.0.skip.weight", "blocks.0.conv1.weight", "from_rgb.weight"):
        (ours,) = torch.autograd.grad(r1.sum(), network.get_parameter(name), retain_graph=True)
        (theirs,) = torch.autograd.grad(exact_r1.sum(), state[name], retain_graph=True)
        assert_close(ours, theirs, 2 * depth)


def test_features_come_from_high_to_low_resolution(network: Discriminator) -> None:
    logits, features = network(_images(2), return_features=True)
    assert [tuple(feature.shape) for feature in features] == [(2, 5, 8, 8), (2, 6, 4, 4)]
    assert torch.equal(logits, network(_images(2)))
    assert [block.resolution for block in network.blocks] == [16, 8]


def test_minibatch_deviation_is_zero_for_equal_pictures() -> None:
    x = torch.ones(4, 2, 3, 3)
    # What is added to a variance before its root is 1e-8.
    assert_close(minibatch_stddev(x, 4)[:, 2], torch.full((4, 3, 3), 1e-4), 18)
    x[0] += 2
    assert minibatch_stddev(x, 4)[:, 2].min() > 0.5


def test_autocast_is_close(network: Discriminator) -> None:
    images = _images(4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(images)
    assert logits.dtype == torch.float32
    exact = network(images)
    assert (logits - exact).abs().max() < rounding(layers(network), float(exact.detach().abs().max()), torch.bfloat16)


def test_conditional_discriminator_projects_on_its_condition() -> None:
    network = Discriminator(DiscriminatorConfig(resolution=8, channels=(4, 4), c_dim=3))
    images = torch.zeros(2, 3, 8, 8)
    assert network(images, torch.eye(3)[:2]).shape == (2, 1)
    with pytest.raises(ValueError, match="conditional"):
        network(images)


def test_wrong_pictures_and_architectures_are_refused(network: Discriminator) -> None:
    with pytest.raises(ValueError, match=r"\[N, 3, 16, 16\], and \[1, 3, 8, 8\] was given"):
        network(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="resnet"):
        DiscriminatorConfig(resolution=16, channels=(6, 5, 4), architecture="skip")

"""The generator: its definition, its conventions, its precision."""

from __future__ import annotations

import math

import pytest
import slow_stylegan2 as slow
import torch
from tolerances import assert_close, layers, rounding, roundings

from facestylist.models import ops
from facestylist.models.generator import Generator, GeneratorConfig, channel_widths, resolutions_up_to

pytestmark = pytest.mark.numeric

CONFIG = GeneratorConfig(resolution=16, channels=(6, 5, 4), z_dim=7, w_dim=8, mapping_layers=3)


@pytest.fixture
def network() -> Generator:
    generator = Generator(CONFIG).eval()
    slow.randomise(generator, 3)
    return generator


def _latent(n: int = 2, seed: int = 5) -> torch.Tensor:
    return torch.randn(n, CONFIG.num_ws, CONFIG.w_dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("by_weights", [True, False])
def test_pictures_features_and_gradients_are_those_of_the_definition(
    network: Generator, by_weights: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "PIXELS_PER_WEIGHT", 0 if by_weights else math.inf)
    state = slow.double_state(network)
    w_plus = _latent().requires_grad_()
    image, features = network.synthesis(w_plus, return_features=True)
    exact_w = w_plus.detach().double().requires_grad_()
    exact, exact_features = slow.synthesis(state, exact_w)
    depth = roundings(network)
    assert_close(image, exact, depth)
    assert list(features) == [4, 8, 16]
    for resolution, feature in features.items():
        assert feature.shape == (2, CONFIG.channels[CONFIG.resolutions.index(resolution)], resolution, resolution)
        assert_close(feature, exact_features[resolution], depth)
    assert_close(network.synthesis(w_plus, noise="none"), slow.synthesis(state, exact_w, noise=False)[0], depth)

    probe = torch.randn(image.shape, generator=torch.Generator().manual_seed(9))
    (gradient,) = torch.autograd.grad((image * probe).mean(), w_plus, create_graph=True)
    (exact_gradient,) = torch.autograd.grad((exact * probe.double()).mean(), exact_w, create_graph=True)
    # On the way back as many as on the way there, and a sum over the pixels.
    depth = 2 * depth + probe[0].numel()
    assert_close(gradient, exact_gradient, depth)
    # Path-length regularisation differentiates that gradient again.
    (second,) = torch.autograd.grad(gradient.square().sum(), w_plus)
    (exact_second,) = torch.autograd.grad(exact_gradient.square().sum(), exact_w)
    assert_close(second, exact_second, 2 * depth)


def test_mapping_is_that_of_the_definition(network: Generator) -> None:
    z = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    exact = slow.mapping(slow.double_state(network), z.double(), 3, 0.01)
    assert_close(network.mapping(z), exact, roundings(network.mapping) + 7)


def test_truncation_moves_the_first_codes_towards_the_mean(network: Generator) -> None:
    network.mean_latent.normal_(generator=torch.Generator().manual_seed(2))
    w = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    truncated = network.truncate(w, psi=0.5, cutoff=2)
    assert truncated.shape == (2, 6, 8)
    torch.testing.assert_close(truncated[:, 1], (w + network.mean_latent) / 2)
    torch.testing.assert_close(truncated[:, 2], w)
    torch.testing.assert_close(network.truncate(w, 0.0), network.mean_latent.expand(2, 6, 8))


def test_style_mixing_takes_the_first_codes_of_one_and_the_rest_of_the_other(network: Generator) -> None:
    mixed = network.style_mix(torch.zeros(1, 8), torch.ones(1, 6, 8), crossover=2)
    assert mixed[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1]


def test_noise(network: Generator) -> None:
    w_plus = _latent()
    const = network.synthesis(w_plus)
    given = network.synthesis(w_plus, noise=network.synthesis.noise_const())
    torch.testing.assert_close(given, const, rtol=0, atol=0)
    assert [tuple(noise.shape) for noise in network.synthesis.noise_const()] == list(network.noise_shapes)
    assert network.noise_shapes == ((1, 1, 4, 4), (1, 1, 8, 8), (1, 1, 8, 8), (1, 1, 16, 16), (1, 1, 16, 16))

    def drawn(seed: int) -> torch.Tensor:
        return network.synthesis(w_plus, noise="random", generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(drawn(1), drawn(1), rtol=0, atol=0)
    assert not torch.allclose(drawn(1), drawn(2))
    with pytest.raises(ValueError, match="takes 5 noise tensors, and 1 were given"):
        network.synthesis(w_plus, noise=[torch.zeros(1, 1, 4, 4)])
    with pytest.raises(ValueError, match="const, random, none"):
        network.synthesis(w_plus, noise="loud")


def test_random_noise_leaves_the_global_generator_alone(network: Generator, global_rng_untouched: None) -> None:
    network.synthesis(_latent(), noise="random", generator=torch.Generator().manual_seed(1))


def test_wrong_codes_are_refused_by_shape(network: Generator) -> None:
    with pytest.raises(ValueError, match=r"\[N, 6, 8\], and \[2, 5, 8\] was given"):
        network.synthesis(torch.zeros(2, 5, 8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_close_and_gives_float32_pictures(network: Generator, dtype: torch.dtype) -> None:
    w_plus = _latent()
    exact = network.synthesis(w_plus)
    with torch.autocast("cpu", dtype):
        image, features = network.synthesis(w_plus, return_features=True)
    assert image.dtype == torch.float32 and features[16].dtype == dtype
    assert (image - exact).abs().max() < rounding(layers(network.synthesis), float(exact.abs().max()), dtype)


def test_conditional_mapping_needs_its_condition() -> None:
    network = Generator(GeneratorConfig(resolution=8, channels=(4, 4), z_dim=4, w_dim=4, mapping_layers=2, c_dim=3))
    z = torch.zeros(1, 4)
    assert network(z, torch.eye(3)[:1]).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="conditional"):
        network(z)


def test_mean_latent_estimate_is_seeded(network: Generator, global_rng_untouched: None) -> None:
    first = network.estimate_mean_latent(500)
    torch.testing.assert_close(first, network.estimate_mean_latent(500), rtol=0, atol=0)
    z = torch.randn(500, 7, generator=torch.Generator().manual_seed(0))
    assert_close(first, network.mapping(z).mean(0), roundings(network.mapping) + 500)


def test_configurations_are_checked() -> None:
    assert resolutions_up_to(16) == (4, 8, 16)
    assert channel_widths(1024, 32768, 512) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert GeneratorConfig.make(1024).num_ws == 18
    with pytest.raises(ValueError, match="power of two"):
        GeneratorConfig.make(100)
    with pytest.raises(ValueError, match="needs 3 channel widths"):
        GeneratorConfig(resolution=16, channels=(4, 4))

"""Latents from seeds and pictures from latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import assert_close, roundings

from facestylist.latents.sampling import sample_latent, seeded_z, synthesise
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


@pytest.fixture(scope="module")
def generator() -> FaceGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(GeneratorConfig.make(16, 128, 8, z_dim=8, w_dim=6, mapping_layers=2))
    network.mean_latent.fill_(0.25)
    return FaceGenerator(network.requires_grad_(False), None, style="test")


@pytest.mark.usefixtures("global_rng_untouched")
def test_seeds_follow_the_reference_convention() -> None:
    z = seeded_z([0, 7, 2**32 + 7], 8)
    assert np.allclose(z[0], np.random.RandomState(0).randn(1, 8)[0])
    assert np.allclose(z[1], np.random.RandomState(7).randn(1, 8)[0])
    assert torch.equal(z[1], z[2])
    assert seeded_z([], 8).shape == (0, 8)


def test_truncation_moves_towards_the_mean(generator: FaceGenerator) -> None:
    whole = sample_latent(generator, [1, 2]).w_plus
    half = sample_latent(generator, [1, 2], 0.5).w_plus
    assert whole.shape == (2, generator.num_ws, 6)
    assert_close(half, 0.25 + 0.5 * (whole - 0.25), 4)
    assert torch.allclose(sample_latent(generator, [1], 0.0).w_plus, torch.full((1, generator.num_ws, 6), 0.25))


def test_pictures_do_not_depend_on_the_batch(generator: FaceGenerator) -> None:
    latent = sample_latent(generator, range(5))
    pictures = synthesise(generator, latent, batch_size=2)
    assert pictures.shape == (5, 3, 16, 16)
    assert_close(pictures, synthesise(generator, latent, batch_size=8), roundings(generator.generator))


def test_the_noise_of_a_latent_is_used(generator: FaceGenerator) -> None:
    for conv in generator.generator.synthesis.convolutions():
        conv.noise_strength.fill_(1.0)
    latent = sample_latent(generator, [1, 2])
    shared = tuple(torch.zeros(shape) for shape in generator.generator.noise_shapes)
    each = tuple(torch.cat([n, n + 1]) for n in shared)
    constant = synthesise(generator, latent)
    zero = synthesise(generator, latent.replace(noise=shared))
    apart = synthesise(generator, latent.replace(noise=each), batch_size=1)
    assert not torch.allclose(zero, constant, atol=1e-3)
    assert_close(apart[0], zero[0], roundings(generator.generator))
    assert not torch.allclose(apart[1], zero[1], atol=1e-3)


def test_no_latents_make_no_pictures(generator: FaceGenerator) -> None:
    assert synthesise(generator, sample_latent(generator, [])).shape == (0, 3, 16, 16)


def test_latents_of_another_generator_are_refused(generator: FaceGenerator) -> None:
    latent = sample_latent(generator, [1])
    with pytest.raises(ValueError, match="another generator than 'test'"):
        synthesise(generator, latent.replace(w_space="other"))
    with pytest.raises(ValueError, match="hold 3 codes of length 6"):
        synthesise(generator, latent.replace(w_plus=latent.w_plus[:, :3]))

"""A narrow random generator for tests of latents, and a style that shares its W."""

from __future__ import annotations

import torch

from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


def make_generator(seed: int = 0, resolution: int = 32, w_dim: int = 16) -> FaceGenerator:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        config = GeneratorConfig.make(resolution, 256, 16, z_dim=16, w_dim=w_dim, mapping_layers=2)
        network = Generator(config).requires_grad_(False).eval()
    network.mean_latent.copy_(network.estimate_mean_latent(1000))
    return FaceGenerator(network, None)


def make_style(source: FaceGenerator) -> FaceGenerator:
    other = make_generator(seed=7)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    return other.replace(style="ink")

"""Tiny random networks, made without drawing from the global random generator."""

from __future__ import annotations

import torch
from torch import Tensor

from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator


def make_source(resolution: int = 32, seed: int = 0) -> FaceGenerator:
    """A generator and discriminator of `resolution` px with random weights and audible noise."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = {"channel_base": 8 * resolution, "channel_max": 16}
        config = GeneratorConfig.make(resolution, z_dim=16, w_dim=16, mapping_layers=2, **widths)
        generator = Generator(config).requires_grad_(False).eval()
        discriminator = Discriminator(DiscriminatorConfig.make(resolution, **widths)).requires_grad_(False).eval()
    for convolution in generator.synthesis.convolutions():
        convolution.noise_strength.fill_(0.1)
    # Colours of trained size: a random generator's own lie far outside -1..1.
    z = torch.randn(16, 16, generator=torch.Generator().manual_seed(seed))
    spread = generator(z).std()
    for block in generator.synthesis.blocks:
        block.to_rgb.weight.mul_(0.3 / spread)
    generator.mean_latent.copy_(generator.estimate_mean_latent(1000))
    return FaceGenerator(generator, discriminator, provenance={"file": "random"})


def make_styles(count: int, resolution: int = 32, seed: int = 5) -> Tensor:
    """Smooth reddish pictures `[count, 3, R, R]` in -1..1 that the random generator does not make."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=random) * 2 - 1
    pictures = torch.nn.functional.interpolate(coarse, resolution, mode="bicubic", align_corners=False)
    return (pictures * 0.5 + torch.tensor([0.5, -0.2, -0.3])[:, None, None]).clamp(-1, 1)


class Darkness:
    """A guide that wants pictures as dark as their source's minus `below`."""

    def __init__(self, weight: float, name: str = "darkness", below: float = 0.0) -> None:
        self.name, self.weight, self.identity, self.below = name, weight, f"darkness {below}", below

    def __call__(self, made: Tensor, source: Tensor) -> Tensor:
        assert made.shape == source.shape and made.dtype == source.dtype == torch.float32
        assert not source.requires_grad
        return (made.mean((1, 2, 3)) - source.mean((1, 2, 3)) + self.below).square().mean()

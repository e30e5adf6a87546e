"""Latents from seeds, and pictures from latents."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..models.generator import Generator
from ..models.types import FaceGenerator, FaceLatent, device_of, name_of


def seeded_z(seeds: Iterable[int], z_dim: int) -> Tensor:
    """`[N, z_dim]` float32 on the CPU: row i is `numpy.random.RandomState(seed_i).randn(1, z_dim)`.

    The convention of the reference implementations, so that a seed names the same face there and here. Seeds beyond
    their range 0..2^32-1 wrap around.
    """
    rows = [np.random.RandomState(seed % 2**32).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float() if rows else torch.zeros(0, z_dim)


@torch.no_grad()
def sample_latent(generator: FaceGenerator, seeds: Iterable[int], truncation_psi: float = 1.0) -> FaceLatent:
    """One latent per seed, moved towards the mean latent by `truncation_psi` (1 leaves it, 0 is the mean)."""
    network = generator.generator
    mean = generator.mean_latent.to(device_of(generator))
    z = seeded_z(seeds, network.config.z_dim).to(mean.device)
    w = network.mapping(z) if len(z) else mean.new_zeros(0, generator.w_dim)
    return FaceLatent(
        w_plus=network.broadcast(mean + truncation_psi * (w - mean)).clone(),
        w_space=generator.w_space,
        generator=generator.style,
    )


@torch.no_grad()
def synthesise(generator: FaceGenerator, latent: FaceLatent, batch_size: int = 8) -> Tensor:
    """What the generator draws for each latent: `[N, 3, R, R]` float32, about -1..1 and not clamped; N may be 0.

    Uses the noise the latents were found with, or else the generator's constant noise, so that the same latent gives
    the same picture every time.

    Raises:
        ValueError: the latents belong to a generator with another W, or have another number of codes.
    """
    network = generator.generator
    if latent.w_plus.shape[1:] != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"These latents hold {latent.w_plus.shape[1]} codes of length {latent.w_plus.shape[2]}, but the generator "
            f"{name_of(generator)} takes {generator.num_ws} of length {generator.w_dim}. Invert the faces with the "
            "generator this style was fine-tuned from."
        )
    if latent.w_space and latent.w_space != generator.w_space:
        raise ValueError(
            f"These latents belong to another generator than {name_of(generator)}: the same code means a different "
            "face there. Invert the faces with the generator this style was fine-tuned from."
        )
    device = device_of(generator)
    pictures = []
    for start in range(0, len(latent), batch_size):
        part = latent.select(slice(start, start + batch_size))
        noise = "const" if part.noise is None else [n.to(device) for n in part.noise]
        pictures.append(network.synthesis(part.w_plus.to(device), noise=noise).float())
    return torch.cat(pictures) if pictures else torch.zeros(0, 3, generator.resolution, generator.resolution)


@torch.no_grad()
def mixed_w_plus(
    network: Generator, count: int, probability: float, random: torch.Generator, device: torch.device
) -> Tensor:
    """`[count, num_ws, w_dim]` of fresh z; with `probability`, the later codes of a face come from a second z.

    All is drawn on the CPU, so that a seed means the same on every device.
    """
    z = torch.randn(2 * count, network.config.z_dim, generator=random).to(device)
    crossover = torch.randint(1, network.num_ws, (count, 1), generator=random)
    mixed = torch.rand(count, 1, generator=random) < probability
    second = (mixed & (torch.arange(network.num_ws) >= crossover)).to(device)
    first, other = network.mapping(z).chunk(2) if count else z.new_zeros(2, 0, network.config.w_dim)
    return torch.where(second[:, :, None], other[:, None], first[:, None])


def map_z(network: Generator, z: Tensor) -> Tensor:
    """w `[N, w_dim]` of z `[N, z_dim]`; from a conditional generator, of no class."""
    c_dim = network.config.c_dim
    return network.mapping(z, torch.zeros(len(z), c_dim, device=z.device) if c_dim else None)


W_SAMPLES = 2000
"""Latents drawn to learn the spread of W."""


@torch.no_grad()
def w_statistics(network: Generator, mean_latent: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The mean latent `[w_dim]` and one number, the standard deviation of w about it."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(W_SAMPLES, network.config.z_dim, generator=random).to(mean_latent.device)
    w = map_z(network, z)
    mean = mean_latent.detach().float().clone()
    return mean, (w - mean).square().mean().sqrt()

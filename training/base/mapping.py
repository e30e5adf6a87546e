"""z to w in closed form: w becomes the principal components of people's codes, and z is drawn like them.

The encoder's last layer and every style of the generator are affine in w, so a change of w's basis is exact and stays
inside ordinary StyleGAN2 files. In the new basis each number of z scales one number of w, which two layers of a mapping
network hold exactly: a leaky ReLU and its mirror image carry a signed number through.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from ...models.encoder import Encoder
from ...models.generator import Generator, MappingNetwork
from ...models.ops import LEAKY_SLOPE, SQRT2, EqualLinear

WELL_KNOWN, NARROWEST = 200, 1e-3
"""Directions that are made equally wide; how wide the others count at least, in parts of the widest."""
SPREAD = 0.9
"""Samples' deviation relative to people's: the last tenth of a Gaussian's reach is nobody."""


@torch.no_grad()
def whiten(encoder: Encoder, generator: Generator, codes: Tensor) -> Tensor:
    """Turns W so that codes `[N, w_dim]` of people have mean 0, no correlation, and a deviation of 1 in the order of
    their share of the variance. Pictures stay what they are. Returns the codes in the new basis.

    Directions with little or no variance keep a deviation below 1, so that rounding in them is not blown up.
    """
    mean = codes.double().mean(0)
    centred = codes.double() - mean
    _, deviations, directions = torch.linalg.svd(centred / math.sqrt(max(len(codes) - 1, 1)), full_matrices=True)
    least = max(float(deviations[min(WELL_KNOWN, len(deviations) - 1)]) / 2, NARROWEST * float(deviations[0]))
    scale = torch.full((codes.shape[1],), least, dtype=torch.float64)
    scale[: len(deviations)] = torch.maximum(deviations, scale[: len(deviations)])
    basis = directions.T * scale  # w = mean + basis @ new w

    for block in generator.synthesis.each_block():
        for layer in (block.conv0, block.conv1, block.to_rgb):
            if layer is None:
                continue
            affine = layer.affine
            weight = affine.weight.double() * affine.weight_gain
            affine.bias.add_(((weight @ mean) / affine.lr_multiplier).to(affine.bias))
            affine.weight.copy_((weight @ basis) / affine.weight_gain)
    back = directions / scale[:, None]
    out = encoder.out
    # The encoder adds a mean and scales: both become part of its last layer.
    weight = encoder.latent_std.double()[:, None] * out.weight.double()
    bias = encoder.mean_latent.double() + encoder.latent_std.double() * out.bias.double()
    out.weight.copy_(back @ weight)
    out.bias.copy_(back @ (bias - mean))
    encoder.mean_latent.zero_()
    encoder.latent_std.fill_(1.0)
    generator.mean_latent.zero_()
    return (centred @ back.T).float()


@torch.no_grad()
def fill_mapping(mapping: MappingNetwork, spread: float = SPREAD) -> None:
    """Makes `mapping`, of two layers, give `w[:z_dim] = spread * z` for z of root mean square 1, and 0 beyond.

    Raises:
        ValueError: w is not at least twice as long as z, which the two mirrored halves need.
    """
    first, second = cast("list[EqualLinear]", list(mapping.layers))
    count, width = mapping.z_dim, first.weight.shape[0]
    if 2 * count > width:
        raise ValueError(f"A mapping from {count} numbers needs codes of at least {2 * count}, not {width}.")
    one = torch.eye(count)
    mirrored = torch.zeros_like(first.weight)
    mirrored[:count], mirrored[count : 2 * count] = spread * one, -spread * one
    first.weight.copy_(mirrored / first.weight_gain)
    # A layer gives sqrt(2) * leaky(x), so with a = leaky(t) and b = leaky(-t) the first gives sqrt(2) a, sqrt(2) b, and
    # t's positive part is (a + slope * b) / (1 - slope^2), its negative part (b + slope * a) / (1 - slope^2).
    # The second layer's own leaky ReLU gives t again from positive / sqrt(2) - negative / (sqrt(2) * slope).
    share = 1 / (SQRT2 * (1 - LEAKY_SLOPE**2))
    positive, negative = 1 / SQRT2, 1 / (SQRT2 * LEAKY_SLOPE)
    weight = torch.zeros_like(second.weight)
    weight[:count, :count] = one * share * (positive - LEAKY_SLOPE * negative)
    weight[:count, count : 2 * count] = one * share * (LEAKY_SLOPE * positive - negative)
    second.weight.copy_(weight / second.weight_gain)
    for layer in (first, second):
        layer.bias.zero_()

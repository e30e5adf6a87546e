"""z to w in closed form: w becomes the principal components of people's codes, and z is drawn like them.

The encoder's last layer and every style of the generator are affine in w, so a change of w's basis is exact and stays
inside ordinary StyleGAN2 files. In the new basis each number of z is one number of w, which two layers of a mapping
network hold exactly.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ...models.encoder import Encoder
from ...models.generator import Generator, MappingNetwork
from ...models.ops import LEAKY_SLOPE, EqualLinear

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
    variances, directions = torch.linalg.eigh(centred.T @ centred / max(len(codes) - 1, 1))
    deviations, directions = variances.clamp(min=0).sqrt().flip(0), directions.flip(1).T
    least = max(float(deviations[min(WELL_KNOWN, len(deviations) - 1)]) / 2, NARROWEST * float(deviations[0]))
    scale = deviations.clamp(min=least)
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

    A layer gives sqrt(2) times the leaky ReLU, whose two slopes the second layer exchanges: with the first layer's sign
    turned, their product is the same on both sides of zero.
    """
    first, second = cast("list[EqualLinear]", list(mapping.layers))
    for layer, gain in ((first, -spread), (second, -1 / (2 * LEAKY_SLOPE))):
        layer.weight.copy_(torch.eye(*layer.weight.shape) * (gain / layer.weight_gain))
        layer.bias.zero_()

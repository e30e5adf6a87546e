"""A head start in colour: a generator's palette moved to that of a style before anything is learned.

Learning paper white and pencil grey from a discriminator takes a colour generator hundreds of steps, in which it tries
every other tint. The linear map that takes its colours' mean and covariance to the style's is known in closed form, and
because an output-skip generator's picture is a sum of linear projections, it folds into their weights exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...models.generator import SynthesisNetwork
from ..kit.freezing import to_rgb_layers


def colour_statistics(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Mean `[3]` and covariance `[3, 3]` of the pixels of `[N, 3, H, W]` that are numbers, in float64 on the CPU (MPS
    has none)."""
    pixels = pictures.detach().cpu().double().transpose(0, 1).flatten(1)
    good = pixels.isfinite().all(0)
    count = good.sum().clamp(min=2)
    mean = pixels.where(good, 0.0).sum(1) / count
    centred = (pixels - mean[:, None]).where(good, 0.0)
    return mean, centred @ centred.t() / (count - 1)


def colour_map(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """`(matrix [3, 3], offset [3])` with `matrix @ colour + offset` taking the mean and covariance of the pixels of
    `source [N, 3, H, W]` to those of `target [M, 3, H, W]` while moving colours as little as possible (the
    Monge-Kantorovich map; Pitie and Kokaram, CVMP 2007)."""
    (mean_s, cov_s), (mean_t, cov_t) = colour_statistics(source), colour_statistics(target)
    half = _power(cov_s, 0.5)
    inverse = _power(cov_s, -0.5)
    matrix = inverse @ _power(half @ cov_t @ half, 0.5) @ inverse
    return matrix, mean_t - matrix @ mean_s


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of a symmetric positive matrix; directions without spread get a tiny one."""
    values, vectors = torch.linalg.eigh((matrix + matrix.t()) / 2)
    return vectors @ torch.diag(values.clamp(min=1e-6).pow(exponent)) @ vectors.t()


@torch.no_grad()
def recolour(synthesis: SynthesisNetwork, matrix: Tensor, offset: Tensor) -> None:
    """Changes a synthesis network in place so that it draws `matrix @ colour + offset` of what it drew."""
    for to_rgb in to_rgb_layers(synthesis):
        weight, bias = to_rgb.weight, to_rgb.bias
        colours = matrix.cpu().double()
        weight.data = torch.einsum("ij,jkhw->ikhw", colours, weight.cpu().double()).to(weight)
        bias.data = (colours @ bias.cpu().double()).to(bias)
    last = to_rgb_layers(synthesis)[-1].bias
    last.add_(offset.to(last.device, last.dtype))

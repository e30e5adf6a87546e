"""Adversarial losses and their regularisers (Karras et al., StyleGAN2, arXiv 1912.04958).

All take and return torch scalars; R1 and path length differentiate twice and are to run in fp32, outside autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

PATH_LENGTH_DECAY = 0.01
"""How fast the running mean of the path length follows."""


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss `softplus(-D(G))` averaged over logits `[N,1]` (Goodfellow et al. 2014)."""
    return F.softplus(-fake_logits.float()).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Logistic loss `softplus(D(fake)) + softplus(-D(real))`, each averaged over logits `[N,1]`."""
    return F.softplus(fake_logits.float()).mean() + F.softplus(-real_logits.float()).mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], reals: Tensor) -> Tensor:
    """Squared gradient of D at real pictures `[N,3,R,R]`, averaged over the batch (Mescheder et al., arXiv 1801.04406).

    Differentiable in D's parameters, and yet to be weighted by gamma / 2.
    """
    with torch.autocast(reals.device.type, enabled=False):
        seen = reals.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(seen).sum(), seen, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()


def r1_gamma_heuristic(resolution: int, batch_size: int) -> float:
    """NVIDIA's starting value for the R1 weight: `0.0002 * resolution^2 / batch_size` (stylegan2-ada)."""
    return 0.0002 * resolution**2 / batch_size


def path_length_penalty(
    images: Tensor,
    w_plus: Tensor,
    mean_length: Tensor,
    direction: Tensor,
    average: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """How far a unit step in W changes the picture, held near its running mean (StyleGAN2, section 3.2).

    images      `[N,3,R,R]`, computed from w_plus with a graph.
    w_plus      `[N,num_ws,w_dim]`, requiring gradient.
    mean_length scalar running mean of the length, 0 at the start of training.
    direction   `[N,3,R,R]`, random.
    average     of the mean length over the parts of a batch that are computed elsewhere.
    Returns the unweighted penalty and the new running mean (detached).
    """
    direction = direction.to(images.device, images.dtype)
    direction = direction / (images.shape[2] * images.shape[3]) ** 0.5
    (gradient,) = torch.autograd.grad((images * direction).sum(), w_plus, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    length = lengths.detach().mean()
    mean_length = torch.lerp(mean_length, length if average is None else average(length), PATH_LENGTH_DECAY)
    return (lengths - mean_length).square().mean(), mean_length


def second_moments(features: Sequence[Tensor]) -> list[Tensor]:
    """Texture and colour statistics of feature maps `[N, C, H, W]`: for each, `[C + 1, C + 1]`, the mean over pictures
    and positions of f f^T with f the channels and a constant 1 (so that it holds the channels' means too).

    The Gram matrices of Gatys et al., CVPR 2016, over a batch; matching a discriminator's feature statistics is from
    Salimans et al., arXiv 1606.03498.
    """
    moments = []
    for feature in features:
        f = rearrange(feature.float(), "n c h w -> c (n h w)")
        f = torch.cat([f, torch.ones_like(f[:1])])
        moments.append(f @ f.t() / f.shape[1])
    return moments


def running_statistics(before: Sequence[Tensor], now: Sequence[Tensor], memory: float) -> list[Tensor]:
    """`memory * before + (1 - memory) * now`, detached; `now` alone at the start."""
    if not before:
        return [x.detach() for x in now]
    return [b.lerp(x.detach(), 1 - memory) for b, x in zip(before, now, strict=True)]


def texture_distance(prediction: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """Mean over maps of the squared distance of second moments, relative to the size of the target's; a scalar."""
    parts = [(a - b).square().sum() / (b.square().sum() + 1e-8) for a, b in zip(prediction, target, strict=True)]
    return torch.stack(parts).mean()

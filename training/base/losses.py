"""How far a predicted portrait is from the true one: pixels, colour, edges, a perceptual network, and who it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.identity import IdentityNetwork
from .settings import BaseTrainingConfig

CHROMA, EDGES = 0.5, 0.35
EDGE_SCALES = 3


@dataclass(frozen=True)
class LossNetworks:
    """Frozen networks that compare; each may be missing."""

    identity: IdentityNetwork | None = None
    perceptual: Callable[[Tensor], list[Tensor]] | None = None
    """A module: pictures `[N, 3, S, S]` in -1..1 -> feature maps `[N, C, h, w]`."""

    def to(self, device: torch.device) -> LossNetworks:
        """Both on a device, in the layout that convolutions are fast in."""
        for network in (self.identity, self.perceptual):
            if isinstance(network, nn.Module):
                network.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        return self


def centre_weights(size: int) -> Tensor:
    """`[1, 1, S, S]`: the face counts several times as much as what is around it."""
    along = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(along, along, indexing="ij")
    radius = (x / 0.55).square() + ((y - 0.12) / 0.7).square()
    return (0.35 + 1.3 * torch.exp(-radius.pow(1.5)))[None, None]


def edge_distance(difference: Tensor) -> Tensor:
    """Mean absolute difference between neighbours of `prediction - target`, summed over three scales."""
    total = difference.new_zeros(())
    for _ in range(EDGE_SCALES):
        total = total + difference.diff(dim=3).abs().mean() + difference.diff(dim=2).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total


def perceptual_distance(features: Callable[[Tensor], list[Tensor]], prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over layers and places of the squared distance of features of unit length (Zhang et al., arXiv 1801.03924,
    without its learned weights)."""
    with torch.no_grad():
        known = [F.normalize(layer.float(), dim=1, eps=1e-3) for layer in features(target)]
    found = [F.normalize(layer.float(), dim=1, eps=1e-3) for layer in features(prediction)]
    return torch.stack([(a - b).square().sum(1).mean() for a, b in zip(found, known, strict=True)]).mean()


def identity_distance(network: IdentityNetwork, prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance of the descriptors, to which the target is only compared."""
    with torch.no_grad():
        known = network.describe(target).float()
    return (network.describe(prediction).float() - known).square().sum(1).mean()


def reconstruction_terms(
    prediction: Tensor, target: Tensor, person: Tensor, weights: Tensor, networks: LossNetworks
) -> dict[str, Tensor]:
    """`pixel`, `chroma`, `edges`, and with networks `perceptual` and `identity`, each a number.

    Args:
        prediction: `[N, 3, S, S]` in -1..1.
        target: the same.
        person: the target at the highest resolution there is, which tells best who it is.
        weights: of `centre_weights`.
        networks: what else compares, in the autocast around this call.
    """
    difference = (prediction - target).float().contiguous()  # planes: neighbours are taken below
    terms = {
        "pixel": (difference.abs() * weights).mean(),
        "chroma": ((difference - difference.mean(1, keepdim=True)).abs() * weights).mean(),
        "edges": edge_distance(difference * weights),
    }
    prediction = prediction.contiguous(memory_format=torch.channels_last)
    if networks.perceptual is not None:
        terms["perceptual"] = perceptual_distance(networks.perceptual, prediction, target)
    if networks.identity is not None:
        terms["identity"] = identity_distance(networks.identity, prediction, person)
    return terms


def reconstruction_loss(terms: dict[str, Tensor], config: BaseTrainingConfig) -> Tensor:
    """The weighted sum of `reconstruction_terms`."""
    factors = {
        "pixel": 1.0,
        "chroma": CHROMA,
        "edges": EDGES,
        "perceptual": config.perceptual_weight,
        "identity": config.identity_weight,
    }
    return torch.stack([factors[name] * term for name, term in terms.items()]).sum()

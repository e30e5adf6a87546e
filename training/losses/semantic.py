"""The semantic preservation constraint: how far a fine-tuned generator's features have moved from its source's.

Both generators get the same w and the same fixed noise; what they make of them is compared in their features
`F_r [N, C_r, r, r]` (after the second convolution at r x r). Every term is exactly 0 while the two generators agree.

- `feature_loss`: what is where, the feature distance relative to the source's power (layers as in Cartoon-StyleGAN,
  Back, arXiv 2106.12445; the normalisation is ours).
- `self_similarity_loss`: what belongs with what, the map of all cosines between positions (RSSA, Xiao et al., CVPR
  2022, arXiv 2203.04121; on the whole map is ours).
- `cross_sample_loss`: which faces are alike, softmaxed cosines across the batch (CDC, Ojha et al., CVPR 2021, arXiv
  2104.06820), for ten style pictures or fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kit.schedule import cosine_fall

Features = Mapping[int, Tensor]
"""`{r: [N, C_r, r, r]}`."""

FEATURE_RESOLUTIONS = (8, 16, 32)
SELF_RESOLUTIONS = (16, 32)
HIGHEST_RESOLUTION = 32
"""No term looks at finer features, so the source generator need not compute them."""
FEW_SHOTS = 10
"""`cross_sample_loss` acts up to this many style pictures."""

SELF_SCALE = 20.0
RELATION_SCALE = 1000.0
FULL_SHARE = 0.6
"""Share of the run after which `cosine` starts to fall and `ramp_up` is fully there."""
COSINE_END = 0.5


def schedule(kind: str, progress: float) -> float:
    """Multiplier of the constraint at `progress` 0..1 of the run.

    `cosine`: 1 for the first 60 %, then a half cosine down to 0.5. `constant`: 1. `ramp_up`: 0 rising to 1 over the
    first 60 %, which lets the style in before holding the content (as DiFa does, Zhang et al., arXiv 2209.04613).
    """
    if kind == "constant":
        return 1.0
    if kind == "ramp_up":
        return min(progress / FULL_SHARE, 1.0)
    if kind == "cosine":
        return cosine_fall(progress, FULL_SHARE, COSINE_END)
    raise ValueError(f"Unknown schedule {kind!r}; choose cosine, constant or ramp_up.")


def feature_loss(target: Features, source: Features) -> Tensor:
    """L_feat: mean over 8, 16 and 32 px of `|F^t - F^s|^2 / (|F^s|^2 + 1e-8)`, per face, then averaged."""
    distances = []
    for r in _present(target, FEATURE_RESOLUTIONS):
        t, s = target[r].float(), source[r].detach().float()
        power = s.square().sum((1, 2, 3))
        distances.append(((t - s).square().sum((1, 2, 3)) / (power + 1e-8)).mean())
    return torch.stack(distances).mean()


def self_similarity_distance(target: Tensor, source: Tensor) -> Tensor:
    """Half the mean squared difference of all position-to-position cosines of `[N, C, r, r]` and `[N, C, r, r]`.

    This is SmoothL1 of the two r^2 x r^2 maps wherever cosines differ by less than 1 (beyond, it goes on growing
    quadratically instead of linearly). The square lets the maps be compared through C x C products,
    `|XX' - YY'|^2 = |X'X|^2 - 2 |X'Y|^2 + |Y'Y|^2`, with no map ever built: at 32 px that is many times cheaper.
    Multiplying the channels of any position by a positive number changes nothing.
    """
    return 0.5 * _squared_map_distances(target, source).mean() / (target.shape[2] * target.shape[3]) ** 2


def self_similarity_distances(target: Tensor, source: Tensor) -> Tensor:
    """`self_similarity_distance` of each face by itself, `[N]`."""
    return 0.5 * _squared_map_distances(target, source) / (target.shape[2] * target.shape[3]) ** 2


def _squared_map_distances(target: Tensor, source: Tensor) -> Tensor:
    """`[N]`: the summed squares of the differences of all position-to-position cosines."""
    with torch.autocast(target.device.type, enabled=False):
        x = F.normalize(target.float().flatten(2), dim=1, eps=1e-6)
        y = F.normalize(source.detach().float().flatten(2), dim=1, eps=1e-6)
        xx, xy, yy = (a @ b.transpose(1, 2) for a, b in ((x, x), (x, y), (y, y)))
        # Summed as differences of equal-sized squares, so that equal features give 0 and not a rounding residue.
        return (xx.square() - xy.square()).sum((1, 2)) + (yy.square() - xy.square()).sum((1, 2))


def self_similarity_loss(target: Features, source: Features) -> Tensor:
    """L_self: mean of `self_similarity_distance` over 16 and 32 px."""
    resolutions = _present(target, SELF_RESOLUTIONS)
    return torch.stack([self_similarity_distance(target[r], source[r]) for r in resolutions]).mean()


def cross_sample_loss(target: Features, source: Features) -> Tensor:
    """L_rel: KL divergence of each face's softmaxed cosines to the others of its batch, mean over 8, 16 and 32 px.

    0 for batches of fewer than three faces, which have no relations to compare.
    """
    resolutions = _present(target, FEATURE_RESOLUTIONS)
    if target[resolutions[0]].shape[0] < 3:
        return target[resolutions[0]].float().sum() * 0.0
    divergences = []
    for r in resolutions:
        log_t, log_s = (F.log_softmax(_cosines_to_others(f), 1) for f in (target[r], source[r].detach()))
        # CDC's weight of 1000 belongs to the mean over all entries, not to the sum over each row.
        divergences.append((log_s.exp() * (log_s - log_t)).mean())
    return torch.stack(divergences).mean()


def _cosines_to_others(features: Tensor) -> Tensor:
    """`[N, C, r, r] -> [N, N - 1]`."""
    with torch.autocast(features.device.type, enabled=False):
        flat = F.normalize(features.float().flatten(1), dim=1)
        cosines = flat @ flat.t()
    count = flat.shape[0]
    others = ~torch.eye(count, dtype=torch.bool, device=flat.device)
    return cosines[others].view(count, count - 1)


def _present(features: Features, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The wanted resolutions that a small generator has too."""
    found = tuple(r for r in wanted if r in features)
    if not found:
        raise ValueError(f"The semantic constraint needs features at one of {wanted} px, not at {sorted(features)}.")
    return found


@dataclass(frozen=True)
class SemanticWeights:
    """Weights of the terms, in the units a person sets them: 1 is a comparable pull for each."""

    feature: float = 1.0
    structure: float = 1.0
    relation: float = 0.0


def semantic_terms(target: Features, source: Features, weights: SemanticWeights) -> tuple[Tensor, dict[str, Tensor]]:
    """L_sem and its unweighted terms by name; terms of weight 0 are not computed."""
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=next(iter(target.values())).device)
    if weights.feature:
        terms["feature"] = feature_loss(target, source)
        total = total + weights.feature * terms["feature"]
    if weights.structure:
        terms["self"] = self_similarity_loss(target, source)
        total = total + weights.structure * SELF_SCALE * terms["self"]
    if weights.relation:
        terms["relation"] = cross_sample_loss(target, source)
        total = total + weights.relation * RELATION_SCALE * terms["relation"]
    return total, terms

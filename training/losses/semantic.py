"""The semantic preservation constraint: how far a fine-tuned generator's features have moved from its source's.

Both generators get the same w and the same fixed noise; what they make of them is compared in their features
`F_r [N, C_r, r, r]` (after the second convolution at r x r). Every term is exactly 0 while the two generators agree.

- `feature_term`   what is where: feature distance relative to the source's power (layers as in Cartoon-StyleGAN, Back,
                   arXiv 2106.12445; the normalisation is ours).
- `self_term`      what belongs with what: the map of all cosines between positions (RSSA, Xiao et al., CVPR 2022,
                   arXiv 2203.04121; on the whole map is ours).
- `relation_term`  which faces are alike: softmaxed cosines across the batch (CDC, Ojha et al., CVPR 2021,
                   arXiv 2104.06820), for ten style pictures or fewer.
- `probe_term`     which face part is where, as a linear probe reads it from the features (ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Features = Mapping[int, Tensor]
"""`{r: [N, C_r, r, r]}`."""

FEATURE_RESOLUTIONS = (8, 16, 32)
SELF_RESOLUTIONS = (16, 32)
HIGHEST_RESOLUTION = 32
"""No term looks at finer features, so the source generator need not compute them."""
FEW_SHOTS = 10
"""`relation_term` acts up to this many style pictures."""

SELF_SCALE = 20.0
RELATION_SCALE = 1000.0
PROBE_SCALE = 1.0
"""Bring the terms to one size (L_feat settles near 0.1, L_self near 0.004): weights of 1 are comparable pulls."""
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
        falling = max(progress - FULL_SHARE, 0.0) / (1.0 - FULL_SHARE)
        return COSINE_END + (1.0 - COSINE_END) * 0.5 * (1.0 + math.cos(math.pi * min(falling, 1.0)))
    raise ValueError(f"Unknown schedule {kind!r}; choose cosine, constant or ramp_up.")


def feature_term(target: Features, source: Features, eps: float = 1e-8) -> Tensor:
    """L_feat: mean over 8, 16 and 32 px of `|F^t - F^s|^2 / (|F^s|^2 + eps)`, per face, then averaged."""
    distances = []
    for r in _present(target, FEATURE_RESOLUTIONS):
        t, s = target[r].float(), source[r].detach().float()
        power = s.square().sum((1, 2, 3))
        distances.append(((t - s).square().sum((1, 2, 3)) / (power + eps)).mean())
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


def self_term(target: Features, source: Features) -> Tensor:
    """L_self: mean of `self_similarity_distance` over 16 and 32 px."""
    resolutions = _present(target, SELF_RESOLUTIONS)
    return torch.stack([self_similarity_distance(target[r], source[r]) for r in resolutions]).mean()


def relation_term(target: Features, source: Features) -> Tensor:
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


class SemanticProbe(nn.Module):
    """A linear reader of face parts: logits `[N, classes, r, r]` from features at 8, 16 and 32 px, r the finest there.

    Each resolution's features are standardised per channel and mapped by a 1x1 convolution; the results are enlarged to
    the finest and added, which is one linear map on the stacked features.
    """

    def __init__(self, channels: Mapping[int, int], classes: int) -> None:
        """`channels`: `{r: C_r}` of the features it will read. It starts at zero: every class equally likely."""
        super().__init__()
        self.resolutions = tuple(sorted(channels))
        self.classes = classes
        self.readers = nn.ModuleDict({str(r): _zero_convolution(channels[r], classes) for r in self.resolutions})
        for r in self.resolutions:
            self.register_buffer(f"mean_{r}", torch.zeros(1, channels[r], 1, 1))
            self.register_buffer(f"scale_{r}", torch.ones(1, channels[r], 1, 1))

    def forward(self, features: Features) -> Tensor:
        """Logits `[N, classes, r, r]`, computed in fp32."""
        finest = self.resolutions[-1]
        total: Tensor | None = None
        for r in self.resolutions:
            x = features[r].float()
            with torch.autocast(x.device.type, enabled=False):
                logits = self.readers[str(r)]((x - self.get_buffer(f"mean_{r}")) * self.get_buffer(f"scale_{r}"))
                if r != finest:
                    logits = F.interpolate(logits, size=(finest, finest), mode="bilinear", align_corners=False)
            total = logits if total is None else total + logits
        assert total is not None  # noqa: S101 - for mypy: there is at least one resolution
        return total


def _zero_convolution(channels: int, classes: int) -> nn.Conv2d:
    # skip_init: ordinary construction would draw from the global random generator.
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, channels, classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def fit_probe(
    features: Features,
    labels: Tensor,
    classes: int,
    generator: torch.Generator,
    steps: int = 300,
    batch_size: int = 16,
    learning_rate: float = 0.02,
) -> SemanticProbe:
    """A probe trained to read `labels` from `features` (a source generator's, of the same faces).

    features  `{r: [N, C_r, r, r]}`; resolutions other than 8, 16 and 32 are ignored. 100 faces are enough.
    labels    `[N, S, S]` integer label maps, values below `classes`, S a multiple of the finest resolution.
    The loss is cross-entropy against the share of each class within a feature's cell. The probe comes back frozen.
    """
    resolutions = _present(features, FEATURE_RESOLUTIONS)
    finest = max(resolutions)
    if labels.ndim != 3 or labels.shape[1] % finest or labels.shape[0] != features[finest].shape[0]:
        raise ValueError(
            f"The label maps have shape {tuple(labels.shape)}; one map per face is needed, its side a "
            f"multiple of {finest}."
        )
    with torch.inference_mode(False), torch.enable_grad():
        known = {r: features[r].detach().float().clone() for r in resolutions}
        shares = F.adaptive_avg_pool2d(F.one_hot(labels.long(), classes).movedim(3, 1).float(), finest)
        probe = SemanticProbe({r: known[r].shape[1] for r in resolutions}, classes).to(known[finest].device)
        for r in resolutions:
            probe.get_buffer(f"mean_{r}").copy_(known[r].mean((0, 2, 3), keepdim=True))
            probe.get_buffer(f"scale_{r}").copy_(1.0 / (known[r].std((0, 2, 3), keepdim=True) + 1e-6))
        optimiser = torch.optim.Adam(probe.parameters(), lr=learning_rate)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            chosen = torch.randint(labels.shape[0], (min(batch_size, labels.shape[0]),), generator=generator)
            chosen = chosen.to(labels.device)
            loss = F.cross_entropy(probe({r: known[r][chosen] for r in resolutions}), shares[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
    return probe.eval().requires_grad_(False)


def probe_term(probe: SemanticProbe, target: Features, source: Features) -> Tensor:
    """`KL(probe(F^t) || probe(F^s))`, averaged over faces and positions, in nats."""
    log_t = F.log_softmax(probe(target), dim=1)
    with torch.no_grad():
        log_s = F.log_softmax(probe(source), dim=1)
    return (log_t.exp() * (log_t - log_s)).sum(1).mean()


@dataclass(frozen=True)
class SemanticWeights:
    """Weights of the terms, in the units a person sets them: 1 is a comparable pull for each."""

    feature: float = 1.0
    structure: float = 1.0
    relation: float = 0.0
    probe: float = 0.0


def semantic_terms(
    target: Features, source: Features, weights: SemanticWeights, probe: SemanticProbe | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_sem and its unweighted terms by name; terms of weight 0 are not computed."""
    terms: dict[str, Tensor] = {}
    total = torch.zeros((), device=next(iter(target.values())).device)
    if weights.feature:
        terms["feature"] = feature_term(target, source)
        total = total + weights.feature * terms["feature"]
    if weights.structure:
        terms["self"] = self_term(target, source)
        total = total + weights.structure * SELF_SCALE * terms["self"]
    if weights.relation:
        terms["relation"] = relation_term(target, source)
        total = total + weights.relation * RELATION_SCALE * terms["relation"]
    if weights.probe:
        if probe is None:
            raise ValueError("`keep_labels` is above 0 but no probe was given; fit one, or set `keep_labels` to 0.")
        terms["probe"] = probe_term(probe, target, source)
        total = total + weights.probe * PROBE_SCALE * terms["probe"]
    return total, terms

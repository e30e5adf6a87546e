"""RSSA-like: places keep their similarity to other places (Xiao et al., CVPR 2022, arXiv 2203.04121).

    L = L_adv as in CDC + 0.8 L_scc + 0.4 L_dcc, the latter every sixth step

Self-correlation consistency: SmoothL1 of all cosines within windows of maps of 64 px and more, halved first; five
windows half as wide as the map, four beside each other and one in the middle. Disturbance correlation consistency: L1
of the softmaxed correlations of places between four faces of one neighbourhood, `0.85 z + 0.15 z_i`, on maps up to half
the picture's size, in 16 windows from 64 px on. Numbers are those of the authors' `train_face_proj.py`
(github.com/StevenShaw1999/RSSA), whose sums over both convolutions of a size are twice the one compared here. Left out:
latent compression, which needs the pictures inverted.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from . import FACES, PeerLosses
from .cdc import CdcTask

SELF_WEIGHT, DISTURBANCE_WEIGHT = 0.8, 0.4
DISTURBANCE_EVERY, DISTURBANCE = 6, 0.15
SMALLEST = 64
"""Of maps that are compared with themselves, and of those cut into windows for the disturbance."""
CONVOLUTIONS = 2


def windows(features: Tensor, side: int) -> Tensor:
    """`[N, C, r, r] -> [N * windows, side^2, C]`, windows beside each other."""
    return rearrange(features, "n c (a h) (b w) -> (n a b) (h w) c", h=side, w=side)


def self_correlation(target: Tensor, source: Tensor) -> Tensor:
    """Of one map `[N, C, r, r]`: the mean over four windows plus that over the middle one."""
    total = target.new_zeros(())
    half = target.shape[-1] // 4
    maps = [F.avg_pool2d(F.normalize(f, dim=1), 2) for f in (target, source)]
    for cut in (slice(None), slice(half // 2, -(half // 2))):
        parts = [windows(f[..., cut, cut], half) for f in maps]
        t, s = (p @ p.transpose(1, 2) for p in parts)
        total = total + F.smooth_l1_loss(t, s)
    return total


def disturbance_correlation(target: Tensor, source: Tensor) -> Tensor:
    """Of one map `[FACES, C, r, r]`, the mean over pairs of faces."""
    size = target.shape[-1]
    side = size // 4 if size >= SMALLEST else size
    faces = [windows(F.normalize(f, dim=1), side).unflatten(0, (FACES, -1)) for f in (target, source)]
    total = target.new_zeros(())
    for a, b in itertools.combinations(range(FACES), 2):
        t, s = ((f[a] @ f[b].transpose(1, 2)).softmax(2) for f in faces)
        total = total + (t - s).abs().mean() * side**2
    return total / (FACES * (FACES - 1) / 2)


class RssaLosses(PeerLosses):
    """Relaxed spatial structural alignment."""

    def content(self, step: int) -> Tensor:
        device = self.networks.target.mean_latent.device
        target, source = self.features_of(self.fresh_faces(device))
        largest = max(target)
        compared = [r for r in target if r >= min(SMALLEST, largest)]
        loss = SELF_WEIGHT * sum(self_correlation(target[r], source[r]) for r in compared)
        if step % DISTURBANCE_EVERY == 0:
            generator = self.networks.target
            z = torch.randn(FACES + 1, generator.config.z_dim, generator=self.random).to(device)
            with torch.no_grad():
                w = generator.mapping((1 - DISTURBANCE) * z[:1] + DISTURBANCE * z[1:])
            target, source = self.features_of(generator.broadcast(w))
            maps = [r for r in target if r <= largest // 2]
            loss = loss + DISTURBANCE_WEIGHT * sum(disturbance_correlation(target[r], source[r]) for r in maps)
        return torch.as_tensor(CONVOLUTIONS * loss)


class RssaTask(CdcTask):
    """RSSA without latent compression."""

    kind = RssaLosses

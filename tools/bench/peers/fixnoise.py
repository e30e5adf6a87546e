"""FixNoise-like: features stay where they were at one fixed noise (Lee et al., CVPRW 2022, arXiv 2204.14079).

    L = L_adv + 0.05 mean over sizes of |F_t - F_s|^2, summed over channels, averaged over places

Form and weight are those of the authors' `training/loss.py` and README (github.com/LeeDongYeun/FixNoise, `--fm=0.05`).
There the adversarial loss draws fresh noise; here all rows share the generator's constant one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import PeerLosses, PeerTask

WEIGHT = 0.05


class FixNoiseLosses(PeerLosses):
    """Feature matching at the fixed noise."""

    def content(self, step: int) -> Tensor:
        target, source = self.features_of(self.fresh_faces(self.networks.target.mean_latent.device))
        return WEIGHT * torch.stack([(target[r] - source[r]).square().sum(1).mean() for r in target]).mean()


class FixNoiseTask(PeerTask):
    """FixNoise."""

    kind = FixNoiseLosses

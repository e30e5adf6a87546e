"""The structure loss of Cartoon-StyleGAN (Back, arXiv 2106.12445).

    L = L_adv + sum over 8 and 16 px of the mean squared difference of the features of G_t and G_s

Layers and weight 1 are those of the author's command `--structure_loss=2` (github.com/happy-jihye/Cartoon-StyleGAN),
whose code compares the features after each size's second convolution, where the text speaks of RGB outputs. The
`--freezeD=3` beside it trains the discriminator from 32 px down; that is in `rows.toml`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import PeerLosses, PeerTask

SIZES = (8, 16)


class StructureLosses(PeerLosses):
    """Distance of coarse features."""

    def content(self, step: int) -> Tensor:
        target, source = self.features_of(self.fresh_faces(self.networks.target.mean_latent.device))
        return torch.stack([F.mse_loss(target[r], source[r]) for r in SIZES]).sum()


class StructureTask(PeerTask):
    """Cartoon-StyleGAN's structure loss."""

    kind = StructureLosses

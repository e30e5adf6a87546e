"""CDC: faces keep their differences from one another (Ojha et al., CVPR 2021, arXiv 2104.06820).

    L = L_adv + 1000 KL(softmax of cosines in G_t || those in G_s)          equation 2, a layer drawn for each face

Faces near fixed anchors, every fourth step, meet the whole discriminator; all others a head on its features alone, so
that the few pictures need not be met as a whole (equation 4). Numbers are the defaults of the authors' `train.py`
(github.com/utkarshojha/few-shot-gan-adaptation): `kl_wt` 1000, `feat_const_batch` 4, `subspace_freq` 4, `subspace_std`
0.1, as many anchors as pictures, `highp` 1: a 3 x 3 convolution with activation on features of 32 px.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ....models.discriminator import Discriminator
from ....models.ops import EqualConv2d
from ....models.types import FaceGenerator
from ....training.finetune.batches import FinetuneBatch
from ....training.finetune.settings import FinetuneConfig
from ....training.finetune.step import FinetuneGradients
from ....training.kit.step import Step
from . import FACES, PeerLosses, PeerTask

WEIGHT = 1000.0
ANCHORS_EVERY, ANCHOR_SPREAD = 4, 0.1
PATCH_MAP = 32
SMALLEST = 8
"""The authors' first layer of comparison, number 1, is at 8 px."""


class PatchDiscriminator(Discriminator):
    """A discriminator that says of a picture, or with `patches` of each place of its map of 32 px, what it thinks."""

    def __init__(self, given: Discriminator) -> None:
        super().__init__(given.config)
        self.load_state_dict(given.state_dict())
        self.patches = False
        sizes = [self.config.resolution >> (number + 1) for number in range(len(self.blocks))]
        self.map = sizes.index(PATCH_MAP) if PATCH_MAP in sizes else 0
        width = self.config.channels[::-1][self.map + 1]
        self.head = EqualConv2d(width, 1, 3)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=torch.Generator().manual_seed(0)))

    def forward(
        self, images: Tensor, c: Tensor | None = None, return_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        logits, features = super().forward(images, c, return_features=True)
        # Zero times the other answer, so that every weight has a gradient in every step.
        places = self.head(features[self.map]).flatten(1).float()
        logits = places + 0 * logits if self.patches else logits + 0 * places.mean(1, keepdim=True)
        return (logits, features) if return_features else logits


class CdcLosses(PeerLosses):
    """Distance consistency."""

    def content(self, step: int) -> Tensor:
        w_plus = self.fresh_faces(self.networks.target.mean_latent.device)
        target, source = self.features_of(w_plus)
        sizes = [r for r in target if r >= SMALLEST]
        rows = []
        for face, size in enumerate(torch.randint(len(sizes), (FACES,), generator=self.random).tolist()):
            others = [k for k in range(FACES) if k != face]
            maps = [F.normalize(f[sizes[size]].flatten(1), dim=1) for f in (target, source)]
            rows.append([f[others] @ f[face] for f in maps])
        log_t, log_s = (torch.stack(side).log_softmax(1) for side in zip(*rows, strict=True))
        # `KLDivLoss()` is the mean over all entries.
        return WEIGHT * (log_s.exp() * (log_s - log_t)).mean()


class CdcTask(PeerTask):
    """CDC, both of its parts."""

    kind: type[PeerLosses] = CdcLosses

    def __init__(self, source: FaceGenerator, pictures: Tensor, config: FinetuneConfig) -> None:
        assert source.discriminator is not None  # noqa: S101 - check_source has been there
        given = source.discriminator
        patches = PatchDiscriminator(given).to(pictures.device).requires_grad_(False)
        super().__init__(source.replace(discriminator=patches), pictures, config)
        random = torch.Generator().manual_seed(config.seed + 1)
        self.anchors = torch.randn(len(pictures), source.generator.config.z_dim, generator=random)

    def compute(self, batch: FinetuneBatch, at: Step) -> tuple[FinetuneGradients, Tensor]:
        """With faces near the anchors in every fourth step, and by patches in the others."""
        near = at.number % ANCHORS_EVERY == 0
        assert isinstance(self.discriminator, PatchDiscriminator)  # noqa: S101 - for mypy: given so above
        self.discriminator.patches = not near
        if near:
            random = torch.Generator().manual_seed(self.config.seed * 100_003 + at.number)
            chosen = self.anchors[torch.randint(len(self.anchors), (len(batch.w_plus),), generator=random)]
            z = chosen + ANCHOR_SPREAD * torch.randn(chosen.shape, generator=random)
            with torch.no_grad():
                w = self.target.broadcast(self.target.mapping(z.to(self.device)))
            batch = replace(batch, w_plus=w)
        return super().compute(batch, at)

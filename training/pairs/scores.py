"""How good a pseudo-pair is, in numbers.

| score | of | better |
|---|---|---|
| `quality` | logit of the target's discriminator on the target picture (the source's at level 0) | higher |
| `structure` | difference of the two sides' self-similarity (RSSA's measure, see `semantic.py`) in the generators' features at 16 and 32 px; for anchors, whose target no generator drew, in the source discriminator's | lower |
| `saturation` | share of the pixels of either picture that are clipped in all channels | lower |
| `contrast` | standard deviation of the brightness of the flatter picture, in -1..1 | higher |
| `reconstruction_error` | photos: mean squared error of the code's picture, in -1..1 | lower |
| `identity` | similarity of the two sides to dlib's face recognition network, or ArcFace | higher |
"""  # noqa: E501 - a table

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import luma
from ...models.discriminator import Discriminator
from ...models.identity import IdentityNetwork, identity_similarity
from ...models.types import FaceGenerator
from ..data.duplicates import COLOUR_SIDE, HASH_SIDE, MAX_COLOUR_DISTANCE
from ..losses.reconstruction import frozen_copy
from ..losses.semantic import SELF_RESOLUTIONS, self_similarity_distances

SCORES = ("quality", "structure", "saturation", "contrast", "reconstruction_error", "identity")
CLIPPED = 0.98
"""A channel value beyond this, of either sign, is as good as clipped."""


@dataclass(frozen=True)
class PairScorers:
    """What judges pairs besides the generators themselves; each may be missing, and its score is then NaN."""

    source_discriminator: Discriminator | None
    target_discriminator: Discriminator | None
    identity: IdentityNetwork | None

    @classmethod
    def of(cls, source: FaceGenerator, target: FaceGenerator, identity: IdentityNetwork | None) -> PairScorers:
        """The discriminators of the two generators, and a network that tells people apart where there is one."""
        network = None if identity is None else frozen_copy(identity).to(source.mean_latent.device)
        return cls(_lone_discriminator(source.discriminator), _lone_discriminator(target.discriminator), network)

    def discriminator_of(self, level: int) -> Discriminator | None:
        """Who knows what pictures of this level should look like: level 0 is not stylised."""
        return self.source_discriminator if level == 0 else self.target_discriminator


def _lone_discriminator(discriminator: Discriminator | None) -> Discriminator | None:
    """The discriminator such that each picture's logit is its own, or None where there is none (or a conditional one).

    It usually compares the pictures of a batch; then a pair would be judged by its neighbours.
    """
    if discriminator is None or discriminator.config.c_dim:
        return None
    lone: Discriminator = copy.copy(frozen_copy(discriminator))
    lone.config = replace(discriminator.config, mbstd_group=1)
    return lone


def quality(discriminator: Discriminator | None, after: Tensor) -> Tensor:
    """`[N]` logits of pictures `[N, 3, R, R]`."""
    if discriminator is None:
        return _unknown(after)
    logits: Tensor = discriminator(after.clamp(-1.0, 1.0))
    return logits[:, 0].float()


def generator_structure(before: dict[int, Tensor], after: dict[int, Tensor]) -> Tensor:
    """`[N]`: structure distance between the features `{r: [N, C, r, r]}` of two generators."""
    shared = [r for r in SELF_RESOLUTIONS if r in before and r in after]
    if not shared:
        return _unknown(next(iter(before.values())))
    return torch.stack([self_similarity_distances(after[r], before[r]) for r in shared]).mean(0)


def picture_structure(discriminator: Discriminator | None, before: Tensor, after: Tensor) -> Tensor:
    """`[N]`: structure distance between pictures, in a discriminator's features at 16 and 32 px."""
    if discriminator is None:
        return _unknown(before)
    sides = [
        {layer.shape[-1]: layer for layer in discriminator(side.clamp(-1.0, 1.0), return_features=True)[1]}
        for side in (before, after)
    ]
    return generator_structure(*sides)


def saturation(*sides: Tensor) -> Tensor:
    """`[N]`: the larger share, of several pictures `[N, 3, R, R]`, of pixels clipped in all channels."""
    clipped = [(side.abs() > CLIPPED).all(1).float().mean((1, 2)) for side in sides]
    return torch.stack(clipped).amax(0)


def contrast(*sides: Tensor) -> Tensor:
    """`[N]`: the smaller standard deviation of brightness of several pictures."""
    spreads = [luma(side.clamp(-1.0, 1.0)).flatten(1).std(1, unbiased=False) for side in sides]
    return torch.stack(spreads).amin(0)


def identity(network: IdentityNetwork | None, before: Tensor, after: Tensor) -> Tensor:
    """`[N]`: how far the two sides show the same person, see `models.identity`."""
    if network is None:
        return _unknown(before)
    return identity_similarity(network, before.clamp(-1.0, 1.0), after.clamp(-1.0, 1.0))


@dataclass(frozen=True)
class PictureHashes:
    """What two copies of a picture have in common: an average hash, and coarse colours."""

    bits: Tensor
    """`[N, 256]` of -1 and 1: which of 16 x 16 cells are brighter than their mean."""
    colours: Tensor
    """`[N, 48]` in 0..1."""

    @classmethod
    def of(cls, pictures: Tensor) -> PictureHashes:
        """Of pictures `[N, 3, R, R]` in -1..1."""
        pooled = F.adaptive_avg_pool2d((pictures.clamp(-1.0, 1.0) + 1.0) / 2.0, HASH_SIDE)
        grey = pooled.mean(1).flatten(1)
        brighter = grey > grey.mean(1, keepdim=True)
        colours = F.adaptive_avg_pool2d(pooled, COLOUR_SIDE).flatten(1)
        return cls(torch.where(brighter, 1.0, -1.0).cpu(), colours.cpu())

    @classmethod
    def joined(cls, parts: Sequence[PictureHashes]) -> PictureHashes:
        """Several in a row."""
        return cls(torch.cat([part.bits for part in parts]), torch.cat([part.colours for part in parts]))


def duplicate_mask(hashes: PictureHashes, bits: int) -> Tensor:
    """`[N]` bool: whether a picture looks like an earlier one that is not itself a repetition.

    bits: the greatest difference of two that count as one, of 256; below 0 nothing is a repetition.
    """
    count = len(hashes.bits)
    found = torch.zeros(count, dtype=torch.bool)
    if bits < 0:
        return found
    for first in range(0, count, 1024):
        # Of -1 and 1, a product of 256 - 2d means d differing bits.
        distance = (256.0 - hashes.bits[first : first + 1024] @ hashes.bits.t()) / 2.0
        for row, column in torch.nonzero(distance <= bits).tolist():
            later = first + row
            if column < later and not found[column] and not found[later]:
                apart = (hashes.colours[later] - hashes.colours[column]).abs().mean()
                found[later] = bool(apart <= MAX_COLOUR_DISTANCE)
    return found


def _unknown(like: Tensor) -> Tensor:
    return torch.full((like.shape[0],), float("nan"))

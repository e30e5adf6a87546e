"""Guides of fine-tuning that look with a network the user has: LPIPS, dlib's or ArcFace, DINOv2 and BiSeNet.

Each is 0 where the prediction is to the network what its source is, and pulls only on what its network sees:

- `LpipsGuide`     everything, detail by detail: the look stays near the source (FaceStylor's term, 0.5 at 256 px).
- `IdentityGuide`  who it is (pSp's identity loss, as DualStyleGAN uses it, 1.0).
- `DinoGuide`      what belongs with what, whatever the style (Splice's structure loss, as DoesFS uses it, 1.0).
- `ParsingGuide`   which part of the face is where (0.1; ours).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.bisenet import SIDE, BiSeNet
from ...models.dinov2 import Vit
from ...models.identity import IdentityNetwork, identity_similarity
from ...models.lpips import Lpips

LPIPS_SIDE = 256
"""Larger pictures are made smaller first: the published weight is for this size, and so is the time it takes."""
DINO_SIDE = 224


@dataclass(eq=False)
class NetworkGuide:
    """A guide with a network; it works in float32 wherever the pictures are, and its weights are never trained."""

    network: nn.Module
    weight: float
    name: str = field(default="", init=False)
    identity: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.name = next(name for name, kind in GUIDES.items() if isinstance(self, kind))
        self.identity = f"{self.name} {_content(self.network)}"

    def __call__(self, prediction: Tensor, source: Tensor) -> Tensor:
        """See `protocol.Guide`."""
        self.to(prediction.device)
        with torch.autocast(prediction.device.type, enabled=False):
            return self._distance(prediction.float(), source.detach().float())

    def to(self, device: torch.device | str) -> None:
        """Moves the network itself: a guide is used by one training at a time, which may then put it back."""
        first = next(self.network.parameters())
        if first.device != torch.device(device):
            self.network.to(device)

    def _distance(self, prediction: Tensor, source: Tensor) -> Tensor:
        raise NotImplementedError


class LpipsGuide(NetworkGuide):
    """Mean LPIPS (arXiv 1801.03924)."""

    network: Lpips

    def _distance(self, prediction: Tensor, source: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.network.maps(_at_most(source, LPIPS_SIDE))
        return self.network.between(self.network.maps(_at_most(prediction, LPIPS_SIDE)), target).mean()


class IdentityGuide(NetworkGuide):
    """1 - mean similarity: of ArcFace's embeddings their cosine (arXiv 1801.07698, 2008.00951), or dlib's distance."""

    network: IdentityNetwork

    def _distance(self, prediction: Tensor, source: Tensor) -> Tensor:
        return (1.0 - identity_similarity(self.network, prediction, source)).clamp_min(0.0).mean()


class DinoGuide(NetworkGuide):
    """Mean squared difference of the maps of all cosines between a picture's keys (arXiv 2201.00424)."""

    network: Vit

    def _distance(self, prediction: Tensor, source: Tensor) -> Tensor:
        with torch.no_grad():
            target = self._similarity(source)
        return (self._similarity(prediction) - target).square().mean()

    def _similarity(self, pictures: Tensor) -> Tensor:
        """`[N, T, T]` cosines between the last block's keys of class token and patches."""
        patch = self.network.config.patch
        side = max(DINO_SIDE // patch, 1) * patch
        resized = F.interpolate(pictures, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
        keys = F.normalize(self.network.last_keys(resized), dim=2)
        return keys @ keys.transpose(1, 2)


class ParsingGuide(NetworkGuide):
    """Mean over the picture of KL(labels of the source || labels of the prediction), in nats.

    Cross-entropy with the source's probabilities as targets, less their own entropy: the same gradient, and 0 where
    both agree.
    """

    network: BiSeNet

    def _distance(self, prediction: Tensor, source: Tensor) -> Tensor:
        with torch.no_grad():
            target = F.log_softmax(self._logits(source), dim=1)
        found = F.log_softmax(self._logits(prediction), dim=1)
        return F.kl_div(found, target, reduction="none", log_target=True).sum(dim=1).mean()

    def _logits(self, pictures: Tensor) -> Tensor:
        resized = F.interpolate(pictures, size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
        return self.network(resized)


GUIDES: dict[str, type[NetworkGuide]] = {
    "lpips": LpipsGuide,
    "identity": IdentityGuide,
    "dino": DinoGuide,
    "parsing": ParsingGuide,
}


def _at_most(pictures: Tensor, side: int) -> Tensor:
    if max(pictures.shape[2:]) <= side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _content(network: nn.Module) -> str:
    """A short hash of a network's weights, by which a run knows that it has the same guide."""
    total = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]

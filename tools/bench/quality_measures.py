"""What `bench quality` measures in pictures of a look: style, content, likeness, variety. No row was trained on any.

Distances are smaller where it is better.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.losses import MS_SSIMLoss
from torch import Tensor

from ...training.losses.distances import PatchJudge, gradients, kernel_discrepancy
from .judges import frechet_distance, mean_iou, parse
from .quality_data import Look, People

POOLED = 32
"""Side at which a picture is compared with those it may have been copied from."""
SLOW = 32
"""So many people's MS-SSIM, which takes as long as all else together, stand for all."""
EYES = (slice(36, 42), slice(42, 48))
"""Landmarks of the two eyes, between whose centres distances of landmarks are measured."""


class Measures:
    """Measures pictures of one look."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._held = self._features(look.held)
        self._patches = PatchJudge(look.held)
        # Of its sum of 1 - MS-SSIM and L1 the first alone.
        self._ms_ssim = MS_SSIMLoss(alpha=1.0, compensation=1.0)

    @torch.no_grad()
    def __call__(self, made: Tensor, people: People) -> dict[str, float]:
        """Numbers by name, of pictures `[N, 3, R, R]` in -1..1 of these people, or of the first of them.

        style       Frechet distance of features from those of held-out style pictures, see `frechet_distance`
        kid         kernel distance of the same features
        patches     sliced Wasserstein distance of patches, no network
        diversity   mean distance between two pictures in these features, 1 as between held-out style pictures
        memorised   distance to the nearest style picture that was learned from, relative to that to the nearest of as
                    many that were not; below 1 is nearer
        own, top-1  by judge: distance from the person's own photo, share whose own photo is nearest
        label error, landmark error, L1, MS-SSIM, gradient  from the true twin: 1 - mIoU, parts of the distance between
                    the eyes, 0..1, 1 - MS-SSIM, 0..1
        """
        made = made.clamp(-1, 1)
        features = self._features(made)
        spread = self._held.std(0) + 1e-3
        found = {
            "style": frechet_distance(features, self._held),
            "kid": kernel_discrepancy(features, self._held),
            "patches": self._patches(made),
            "diversity": _pairwise(features / spread) / _pairwise(self._held / spread),
            "memorised": memorised(made, self.look.style, self.look.held),
        }
        for name, describe in self.look.judges.items():
            apart = torch.cdist(_described(describe, made), people.known[name])
            own = apart.diagonal()
            found[f"own {name}"] = float(own.mean())
            found[f"top-1 {name}"] = float((own <= apart.min(1).values).float().mean())
        if people.twins is not None:
            found |= self._beside(made, people, people.twins[: len(made)])
        return found

    def _beside(self, made: Tensor, people: People, twins: Tensor) -> dict[str, float]:
        found = {
            "L1": float((made - twins).abs().mean()) / 2,
            "MS-SSIM": float(self._ms_ssim(*((x[:SLOW] + 1) / 2 for x in (made, twins)))),
            "gradient": sum(
                float((a - b).abs().mean()) / 2 for a, b in zip(gradients(made), gradients(twins), strict=True)
            )
            / 2,
        }
        parser = self.look.parser
        if parser is not None and people.labels is not None and people.landmarks is not None:
            found["label error"] = 1 - float(mean_iou(parse(parser, made), people.labels[: len(made)]).mean())
            read = torch.cat([parser(part).landmarks for part in made.split(16)]) * made.shape[-1]
            found["landmark error"] = landmark_error(read, people.landmarks[: len(made)])
        return found

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> Tensor:
        return torch.cat([self.look.style_features(part) for part in pictures.split(16)])


def _described(describe: object, pictures: Tensor) -> Tensor:
    return torch.cat([describe(part) for part in pictures.split(16)])  # type: ignore[operator]


def _pairwise(x: Tensor) -> float:
    """Mean distance between two rows."""
    return float(torch.pdist(x).mean())


def landmark_error(found: Tensor, truth: Tensor) -> float:
    """Mean distance of landmarks `[N, 68, 2]`, in distances between the eyes."""
    left, right = (truth[:, eye].mean(1) for eye in EYES)
    apart = (left - right).norm(dim=1).clamp(min=1e-6)
    return float(((found - truth).norm(dim=2).mean(1) / apart).mean())


def memorised(made: Tensor, learned: Tensor, held: Tensor) -> float:
    """See `Measures`; the median over pictures."""
    count = min(len(learned), len(held))
    small, seen, unseen = (F.adaptive_avg_pool2d(x, POOLED).flatten(1) for x in (made, learned[:count], held[:count]))
    nearest = [torch.cdist(small, x).min(1).values for x in (seen, unseen)]
    return float((nearest[0] / nearest[1].clamp(min=1e-6)).median())

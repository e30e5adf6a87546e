"""The search for faces at any turn, which both detectors share: what they propose is looked at closely.

A detector proposes faces in the photo as it is, then in the photo turned by 90, 180 and 270 degrees if need be. Its own
score does not tell a face from one seen upside down, from half of one or from a hand. So every proposal is looked at in
an upright close-up by a network that says where the five landmarks are and whether this is a centred upright face of
the right size, as the last stage of a cascaded detector does (Zhang et al., "Joint Face Detection and Alignment Using
Multi-task Cascaded Convolutional Networks", arXiv 1604.02878); then in a close-up by those landmarks, and once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..faces.types import Detection
from .closeups import CLOSEUP_SIDE, CloseupCutter, closeup_to_photo, face_boxes, measure, turned_closeups

Propose = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""Photo [3,H,W] and the least score -> landmarks [K,5,2] in its pixels and scores [K], best first, none twice."""

_MOST = 60
"""The most proposals that are looked at closely, at each turn."""
_FIRST_POWER = 0.65
_HOPELESS = 0.03
"""What scores no more at the first close look is not looked at again."""
_UNSURE = 0.75
"""The part of `min_confidence` from which a place is worth a word."""
_DOUBTED = 0.5
"""The part from which it is worth a look at the other turns."""


def combined_score(first: Tensor, closest: Tensor) -> Tensor:
    """The score [N] of what was proposed with a score `first` [N] and whose last close look gave `closest` [N].

    The close look tells faces from the rest far better. The powers put 0.6 where scenes with people nobody was trained
    on show nearly all faces and hardly anything else.
    """
    return first**_FIRST_POWER * closest.square()


class FaceSearch:
    """Finds the faces of a photo."""

    def __init__(self, propose: Propose, measurer: nn.Module, long_side: int) -> None:
        """`measurer` looks at close-ups (`detector.FaceMeasurer`); `propose` sees photos of at most `long_side`."""
        self.propose, self.measurer, self.long_side = propose, measurer, long_side

    @torch.no_grad()
    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """See `FaceDetector.find`.

        Another turn is asked where the turns so far show no face or something unsure besides, and wherever a face that
        was found would be upright: its neighbours are likely to be so, too.
        """
        height, width = photo.shape[-2:]
        scale = min(1.0, self.long_side / max(height, width))
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = F.interpolate(photo[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
        back = photo.new_tensor([width / size[1], height / size[0]])
        cut = CloseupCutter(photo)
        landmarks, scores = photo.new_zeros(0, 5, 2), photo.new_zeros(0)
        # The close looks can only lower a score.
        floor = (_UNSURE * min_confidence) ** (1 / _FIRST_POWER)
        turns = [0, 1, 2, 3]
        while turns:
            quarters = turns.pop(0)
            proposed, first = self.propose(torch.rot90(small, quarters, (1, 2)).contiguous(), floor)
            proposed = _turned_back(proposed, quarters, size) * back
            # What is known to be a face need not be looked at again.
            new = ~_near(proposed, landmarks[scores >= min_confidence]).any(1)
            found, score = self._verify(cut, proposed[new][:_MOST], first[new][:_MOST])
            landmarks, scores = torch.cat([landmarks, found]), torch.cat([scores, score])
            order = scores.argsort(descending=True)
            order = order[first_of_each(landmarks[order])]
            landmarks, scores = landmarks[order], scores[order]
            sure = scores >= min_confidence
            upright = _upright_turns(landmarks[sure])
            turns.sort(key=lambda turn: turn not in upright)
            doubted = bool(((scores >= _DOUBTED * min_confidence) & ~sure).any())
            if bool(sure.any()) and not doubted and not upright & set(turns):
                break
        kept = scores >= _UNSURE * min_confidence
        landmarks, scores = landmarks[kept], scores[kept]
        return [
            Detection(box, points, float(score), bool(score >= min_confidence))
            for box, points, score in zip(face_boxes(landmarks), landmarks, scores, strict=True)
        ]

    def _verify(self, cut: CloseupCutter, landmarks: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks [M,5,2] and scores [M] of those proposals [K,5,2] that look like faces in close-ups."""
        matrices = closeup_to_photo(landmarks, CLOSEUP_SIDE)
        points, score = measure(self.measurer, cut, matrices, mirrored=False)
        # One that does not may be seen at the wrong turn.
        poor = (score < 0.5).nonzero().flatten()
        for quarters in (1, 2, 3):
            others, other = measure(self.measurer, cut, turned_closeups(matrices[poor], quarters), mirrored=False)
            better = other > score[poor]
            points[poor[better]], score[poor[better]] = others[better], other[better]
        kept = score > _HOPELESS
        points, first = points[kept], first[kept]
        points, score = self._refined(cut, points)
        # Upside down, eyes are eyes and a hairline is a mouth: the face on the other side of the eyes may be truer.
        others, other = self._refined(cut, points[:, :2].sum(1, keepdim=True) - points)
        better = other > score
        points[better], score[better] = others[better], other[better]
        return points, combined_score(first, score)

    def _refined(self, cut: CloseupCutter, points: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks [M,5,2] and scores [M] from close-ups by landmarks `points`, and once more by what these show."""
        for _ in range(2):
            points, score = measure(self.measurer, cut, closeup_to_photo(points, CLOSEUP_SIDE), mirrored=True)
        return points, score


def _upright_turns(landmarks: Tensor) -> set[int]:
    """By how many quarters `torch.rot90` has to turn a photo so that faces [K,5,2] are upright in it, or nearly so."""
    down = landmarks[:, 3:].mean(1) - landmarks[:, :2].mean(1)
    angles = torch.atan2(down[:, 0], down[:, 1])  # 0: the chin is below the eyes; a quarter: at their right
    return {round(-angle / (math.pi / 2)) % 4 for angle in angles.tolist()}


def _turned_back(points: Tensor, quarters: int, size: tuple[int, int]) -> Tensor:
    """Points [K,5,2] in a picture (height, width) from those in the picture turned by `torch.rot90`."""
    height, width = size
    x, y = points.unbind(-1)
    return torch.stack(((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarters], dim=-1)


def _near(landmarks: Tensor, others: Tensor) -> Tensor:
    """[N,M]: whether the middles of faces [N,5,2] and [M,5,2] are within an eye distance, of the larger of the two."""
    reach, other_reach = ((points[:, 1] - points[:, 0]).norm(dim=1) for points in (landmarks, others))
    return torch.cdist(landmarks.mean(1), others.mean(1)) < torch.maximum(reach[:, None], other_reach[None])


def first_of_each(landmarks: Tensor) -> Tensor:
    """Indices of the faces among landmarks [N,5,2] whose middle is not within an eye distance of an earlier one's."""
    close = _near(landmarks, landmarks)
    kept: list[int] = []
    for i in range(len(landmarks)):
        if not any(bool(close[i, j]) for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64, device=landmarks.device)

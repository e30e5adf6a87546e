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
from ..faces.warp import halve, scale_of, transform_points

Propose = Callable[[Tensor, float], tuple[Tensor, Tensor]]
"""Photo [3,H,W] and the least score -> landmarks [K,5,2] in its pixels and scores [K], best first, none twice."""

MIRROR_5 = [1, 0, 2, 4, 3]
"""Which of the five landmarks takes the place of each in a mirrored picture."""
CLOSEUP_SIDE = 96
"""Side of the upright close-ups faces are measured in, in pixels."""
_CANONICAL = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.55], [-0.4, 1.1], [0.4, 1.1]])
"""Five landmarks of an average upright face, in eye distances from the middle of the eyes."""
_OUTLINE = torch.tensor(
    [[0.0, -1.5], [-1.0, -1.0], [1.0, -1.0], [-1.3, 0.0], [1.3, 0.0], [-1.05, 1.1], [1.05, 1.1], [0.0, 1.95]]
)
"""Forehead, temples, cheeks, jaws and chin of that face."""
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


def expected_place(heat: Tensor) -> Tensor:
    """Mean position [B,5,2] (x, y), in 0..1 of the side, of the distributions softmax(heat) with heat [B,5,h,w]."""
    height, width = heat.shape[-2:]
    share = heat.float().flatten(2).softmax(-1).unflatten(-1, (height, width))
    x = (torch.arange(width, device=heat.device) + 0.5) / width
    y = (torch.arange(height, device=heat.device) + 0.5) / height
    return torch.stack([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], dim=-1)


def closeup_to_photo(landmarks: Tensor, size: int) -> Tensor:
    """Maps [N,2,3] from upright square close-ups to the photo: the least-squares similarity from an average face.

    Args:
        landmarks: [N,5,2] in photo pixels.
        size: side of the close-up in pixels.
    """
    model = _CANONICAL.to(landmarks) * (size / 4)
    model_centre = model.mean(0)
    centre = landmarks.mean(1, keepdim=True)
    x, y = (model - model_centre).unbind(1)
    u, v = (landmarks - centre).unbind(2)
    power = (x * x + y * y).sum()
    a = (u * x + v * y).sum(1) / power
    b = (v * x - u * y).sum(1) / power
    # Landmarks that fell together would ask for an infinitely small close-up.
    tiny = (a * a + b * b).sqrt() < 1e-3
    a = torch.where(tiny, torch.full_like(a, 1e-3), a)
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    # The eyes a little above the middle: the box from forehead to chin is then centred.
    anchor = model_centre + landmarks.new_tensor([0.5, 0.4]) * size
    return torch.cat([linear, (centre[:, 0] - (linear @ anchor[:, None])[:, :, 0])[:, :, None]], dim=2)


def face_boxes(landmarks: Tensor) -> Tensor:
    """Boxes [N,4] (left, top, right, bottom) round average faces with these landmarks [N,5,2], forehead to chin."""
    in_closeup = _OUTLINE.to(landmarks) / 4 + landmarks.new_tensor([0.5, 0.4])
    outline = transform_points(closeup_to_photo(landmarks, 1), in_closeup.expand(len(landmarks), -1, -1))
    return torch.cat([outline.amin(1), outline.amax(1)], dim=1)


def turned_closeups(matrices: Tensor, quarters: int) -> Tensor:
    """The close-ups [N,2,3] of side CLOSEUP_SIDE, each turned by `quarters` * 90 degrees about its middle."""
    cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarters % 4]
    turn = matrices.new_tensor([[cosine, -sine], [sine, cosine]])
    middle = matrices.new_tensor([CLOSEUP_SIDE / 2, CLOSEUP_SIDE / 2])
    linear = matrices[:, :, :2] @ turn
    shift = matrices[:, :, 2] + matrices[:, :, :2] @ (middle - turn @ middle)
    return torch.cat([linear, shift[:, :, None]], dim=2)


class CloseupCutter:
    """Cuts close-ups out of one photo; the smaller copies that large faces are cut from are made once."""

    def __init__(self, photo: Tensor) -> None:
        self._levels = [photo[None]]

    def __call__(self, matrices: Tensor) -> Tensor:
        """Close-ups [N,3,S,S] of side CLOSEUP_SIDE under maps [N,2,3] from close-up to photo."""
        # Cut at twice the size from a copy in which a pixel of that spans at most one, and averaged.
        steps = scale_of(matrices) / 2
        levels = torch.log2(steps.clamp(min=1)).ceil().long().tolist()
        side = 2 * CLOSEUP_SIDE
        centre = (torch.arange(side, device=matrices.device, dtype=matrices.dtype) + 0.5) / 2
        grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).reshape(1, -1, 2)
        cut = []
        for matrix, wanted in zip(matrices, levels, strict=True):
            while len(self._levels) <= wanted and min(self._levels[-1].shape[-2:]) > 1:
                self._levels.append(halve(self._levels[-1]))
            level = min(wanted, len(self._levels) - 1)
            picture = self._levels[level]
            extent = matrix.new_tensor([picture.shape[3], picture.shape[2]])
            places = transform_points(matrix[None], grid) / 2**level * (2 / extent) - 1
            sampled = F.grid_sample(
                picture, places.reshape(1, side, side, 2), mode="bilinear", padding_mode="border", align_corners=False
            )
            cut.append(F.avg_pool2d(sampled, 2))
        return torch.cat(cut)


@torch.no_grad()
def measure(measurer: nn.Module, cut: CloseupCutter, matrices: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
    """Landmarks [N,5,2] in photo pixels and scores [N] in 0..1 from close-ups under maps [N,2,3].

    With `mirrored` each is looked at in its mirror image too: the two err differently, their mean is steadier.
    """
    if len(matrices) == 0:
        return matrices.new_zeros(0, 5, 2), matrices.new_zeros(0)
    closeups = cut(matrices)
    shown = torch.cat([closeups, closeups.flip(-1)]) if mirrored else closeups
    heat, logits = measurer(shown.to(next(measurer.parameters())))
    places, logits = expected_place(heat).to(matrices), logits.to(matrices)
    if mirrored:
        places, other = places.chunk(2)
        other = other[:, MIRROR_5] * other.new_tensor([-1.0, 1.0]) + other.new_tensor([1.0, 0.0])
        places, logits = (places + other) / 2, logits.unflatten(0, (2, -1)).mean(0)
    return transform_points(matrices, places * CLOSEUP_SIDE), logits.sigmoid()


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes [N,4] and [M,4] (left, top, right, bottom): [N,M] in 0..1."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    opposite = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    area, other_area = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (boxes, others))
    return shared / (area[:, None] + other_area[None] - shared).clamp(min=1e-9)


def fuse_overlapping(
    boxes: Tensor,
    landmarks: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression that averages instead of throwing away.

    The best candidate absorbs all that overlap it; those that agree with it closely (IoU above 0.6) share in its box
    and landmarks, weighted by score, which is steadier than any one of them.

    Args:
        boxes: [K,4] left, top, right, bottom.
        landmarks: [K,5,2].
        scores: [K].
        iou_threshold: overlap from which two boxes are one face.

    Returns:
        Boxes [M,4], landmarks [M,5,2] and scores [M], best first.
    """
    order = scores.argsort(descending=True)
    boxes, landmarks, scores = boxes[order], landmarks[order], scores[order]
    overlap = box_iou(boxes, boxes)
    # A small box inside a large one is the same face seen at two scales.
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1).clamp(min=1e-9)
    union = (areas[:, None] + areas[None]) / (1 + overlap.clamp(max=1))
    contained = overlap * union / torch.minimum(areas[:, None], areas[None])
    same = (overlap > iou_threshold) | (contained > 0.8)
    alive = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    fused = []
    for i in range(len(scores)):
        if not bool(alive[i]):
            continue
        weight = scores.square() * (alive & (overlap[i] > 0.6))
        weight[i] = scores[i].square().clamp(min=1e-12)
        weight = weight / weight.sum()
        fused.append(((boxes * weight[:, None]).sum(0), (landmarks * weight[:, None, None]).sum(0), scores[i]))
        alive &= ~same[i]
    if not fused:
        return boxes[:0], landmarks[:0], scores[:0]
    return torch.stack([f[0] for f in fused]), torch.stack([f[1] for f in fused]), torch.stack([f[2] for f in fused])

"""What the face detector is shown: scenes kept at hand, close-ups cut out of them, and its own worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...detection.embedded import decode
from ...detection.search import CLOSEUP_SIDE, MIRROR_5, closeup_to_photo
from ...faces.warp import invert_affine, resample, transform_points
from ...procedural.scene import ComposedScene, FaceSprites, SceneConfig, compose_scene
from ...training.kit.randomness import at_step


class ScenePool:
    """Composed scenes at hand: at step n the newest `size` of the first `size // 8 + n * refresh` scenes.

    Composing costs more than a training step, so each scene is used several times, mirrored at random. Scene number i
    depends on the seed and i alone: a resumed run finds the same ones.
    """

    def __init__(
        self,
        sprites: FaceSprites,
        config: SceneConfig,
        size: int,
        refresh: int,
        seed: int,
        backgrounds: Sequence[Tensor] = (),
    ) -> None:
        self._sprites, self._config, self._size, self._refresh, self._seed = sprites, config, size, refresh, seed
        self._backgrounds = backgrounds
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def scene(self, number: int) -> ComposedScene:
        """Scene number `number`, composed or remembered."""
        if number not in self._kept:
            generator = at_step(self._seed, number)
            composed = compose_scene(self._sprites, self._config, generator, self._backgrounds)
            pixels = ((composed.image + 1) * 127.5).round().to(torch.uint8)
            self._kept[number] = (pixels, composed.boxes, composed.landmarks)
        pixels, boxes, landmarks = self._kept[number]
        return ComposedScene(pixels.float() / 127.5 - 1, boxes, landmarks)

    def batch(self, step: int, count: int, generator: torch.Generator) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Pictures [count,3,H,W] in -1..1 and, for each, boxes [K,4] and landmarks [K,5,2]."""
        stop = max(1, self._size // 8) + step * self._refresh
        start = max(0, stop - self._size)
        for number in [n for n in self._kept if n < start]:
            del self._kept[number]
        numbers = torch.randint(start, stop, (count,), generator=generator).tolist()
        flips = torch.rand(count, generator=generator) < 0.5
        pictures, faces = [], []
        for number, flip in zip(numbers, flips, strict=True):
            scene = self.scene(number)
            pictures.append(scene.image.flip(-1) if flip else scene.image)
            faces.append(_mirrored(scene, self._config.width) if flip else (scene.boxes, scene.landmarks))
        return torch.stack(pictures), faces


def _mirrored(scene: ComposedScene, width: int) -> tuple[Tensor, Tensor]:
    """Boxes and landmarks of the mirrored scene."""
    boxes = torch.stack(
        [width - scene.boxes[:, 2], scene.boxes[:, 1], width - scene.boxes[:, 0], scene.boxes[:, 3]], dim=1
    )
    swapped = scene.landmarks[:, MIRROR_5]
    return boxes, torch.stack([width - swapped[..., 0], swapped[..., 1]], dim=-1)


@dataclass(frozen=True, eq=False)
class Closeups:
    """What the second network is shown, and what it should say."""

    pictures: Tensor
    """[B,3,S,S], -1..1."""
    places: Tensor
    """[B,5,2], the landmarks in 0..1 of the side."""
    measured: Tensor
    """[B] bool: whether the landmarks are to be learned."""
    present: Tensor
    """[B]: 1 for a face that is upright, centred and of the right size, 0 for anything else, -1 in between."""

    @classmethod
    def join(cls, parts: Sequence[Closeups]) -> Closeups:
        """All of them, one behind the other."""
        names = ("pictures", "places", "measured", "present")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def cut_closeups(pictures: Tensor, faces: Sequence[tuple[Tensor, Tensor]], generator: torch.Generator) -> Closeups:
    """One close-up of each scene: as inexact as the first look will be, plainly wrong, or where there is no face.

    Args:
        pictures: [B,3,H,W], -1..1.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        generator: draws the faces and the errors.
    """
    closeups, places = [], torch.zeros(len(pictures), 5, 2)
    present, measured = torch.zeros(len(pictures)), torch.zeros(len(pictures), dtype=torch.bool)
    for i, (boxes, landmarks) in enumerate(faces):
        draw = torch.randn(4, generator=generator).clamp(-2.5, 2.5)
        kind = float(torch.rand((), generator=generator))
        chosen = int(torch.randint(max(1, len(boxes)), (1,), generator=generator))
        elsewhere = len(boxes) == 0 or kind < 0.2
        if elsewhere:
            extent = torch.tensor([float(side) for side in pictures.shape[:1:-1]])
            centre = torch.rand(2, generator=generator) * extent
            side = 12 * 10 ** float(torch.rand((), generator=generator))
            points = centre + (torch.tensor([[-0.5, 0], [0.5, 0], [0, 0.55], [-0.4, 1.1], [0.4, 1.1]]) * side)
        else:
            points = landmarks[chosen]
        # Small errors mostly; then larger ones that may be too large; then a wrong turn of a face that is centred.
        error = 1.0 if kind < 0.65 else 2.5
        angle, scale, shift = 0.15 * error * float(draw[0]), 0.15 * error * float(draw[1]), 0.15 * error * draw[2:]
        if kind > 0.8:
            angle = math.pi * (0.3 + 1.4 * float(torch.rand((), generator=generator)))
            shift = shift / 2
        matrix = closeup_to_photo(points[None], CLOSEUP_SIDE)[0]
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        turn = turn * math.exp(scale)
        middle = torch.full((2,), CLOSEUP_SIDE / 2)
        # Shifts are in eye distances, a quarter of the close-up's side.
        start = middle + shift * CLOSEUP_SIDE / 4 - turn @ middle
        matrix = torch.cat([matrix[:, :2] @ turn, (matrix[:, :2] @ start + matrix[:, 2])[:, None]], dim=1)
        closeups.append(resample(pictures[i], matrix, (CLOSEUP_SIDE, CLOSEUP_SIDE)))
        if elsewhere:
            centre = transform_points(matrix[None], middle[None, None])[0, 0]
            far = (boxes[:, :2] + boxes[:, 2:]) / 2 - centre
            reach = (boxes[:, 2:] - boxes[:, :2]).amax(1) * 0.6
            # On a face it may be one (-1 leaves it out), unless it is of quite another size.
            like = (side / (landmarks[:, 1] - landmarks[:, 0]).norm(dim=1)).log().abs() < math.log(2)
            present[i] = -1.0 if bool(((far.norm(dim=1) < reach) & like).any()) else 0.0
            continue
        off = max(abs(angle) / 0.5, abs(scale) / 0.35, float(shift.norm()) / 0.4)
        present[i] = 1.0 if off < 1 else -1.0 if off < 1.7 else 0.0
        places[i] = transform_points(invert_affine(matrix[None]), points[None])[0] / CLOSEUP_SIDE
        measured[i] = off < 2 and bool(((places[i] > 0) & (places[i] < 1)).all())
    return Closeups(torch.stack(closeups), places, measured, present)


@torch.no_grad()
def hardest_mistakes(
    pictures: Tensor, outputs: list[Tensor], faces: Sequence[tuple[Tensor, Tensor]], count: int
) -> Closeups:
    """Close-ups of what the finder takes for faces most wrongly, for the measurer to turn down.

    Args:
        pictures: [B,3,H,W], -1..1.
        outputs: the finder's for them.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        count: how many at most, one per picture.
    """
    logits, boxes, landmarks = decode([output.detach() for output in outputs])
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3).prod(-1).sqrt()
    for i, (truth, _) in enumerate(faces):
        if len(truth):
            extent = truth[:, 2:] - truth[:, :2]
            near = torch.cdist(middles[i], (truth[:, :2] + truth[:, 2:]) / 2) < 0.8 * extent.amax(1)
            # A face of less than half the size, or more than twice, is a mistake also where there is one.
            like = (sizes[i][:, None] / extent.prod(1).sqrt()).log().abs() < math.log(2)
            logits[i] = logits[i].masked_fill((near & like).any(1), -math.inf)
    worst, cells = logits.max(1)
    chosen = worst.argsort(descending=True)[:count]
    matrices = closeup_to_photo(landmarks[chosen, cells[chosen]], CLOSEUP_SIDE)
    cut = [resample(pictures[i], m, (CLOSEUP_SIDE, CLOSEUP_SIDE)) for i, m in zip(chosen, matrices, strict=True)]
    none = torch.zeros(len(chosen))
    return Closeups(torch.stack(cut), torch.zeros(len(chosen), 5, 2), none.bool(), none)

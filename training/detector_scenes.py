"""What the face detector is shown: scenes kept at hand, close-ups cut out of them, and its own worst mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..faces.warp import invert_affine, resample, transform_points
from ..models.detector import CLOSEUP_SIDE, MIRROR_5, closeup_to_photo, decode
from ..procedural.scene import ComposedScene, FaceSprites, SceneConfig, compose_scene
from .randomness import at_step


class ScenePool:
    """Composed scenes at hand: at step n the newest `size` of the first `size // 8 + n * refresh` scenes.

    Composing costs more than a training step, so each scene is used several times, mirrored at random. Scene number i
    depends on the seed and i alone: a resumed run finds the same ones.
    """

    def __init__(self, sprites: FaceSprites, config: SceneConfig, size: int, refresh: int, seed: int) -> None:
        self._sprites, self._config, self._size, self._refresh, self._seed = sprites, config, size, refresh, seed
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def scene(self, number: int) -> ComposedScene:
        """Scene number `number`, composed or remembered."""
        if number not in self._kept:
            generator = at_step(self._seed, number)
            composed = compose_scene(self._sprites, self._config, generator)
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


def cut_closeups(
    pictures: Tensor, faces: Sequence[tuple[Tensor, Tensor]], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One close-up of each scene, as inexact as the first look will be, or of a place where there is no face.

    Args:
        pictures: [B,3,H,W], -1..1.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        generator: draws the faces and the errors.

    Returns:
        Close-ups [B,3,S,S], landmarks [B,5,2] in 0..1 of the close-up's side, and whether there is a face [B].
    """
    closeups, places = [], torch.zeros(len(pictures), 5, 2)
    present = torch.zeros(len(pictures))
    for i, (boxes, landmarks) in enumerate(faces):
        draw = torch.randn(5, generator=generator).clamp(-2.5, 2.5)
        chosen = int(torch.randint(max(1, len(boxes)), (1,), generator=generator))
        elsewhere = len(boxes) == 0 or float(torch.rand((), generator=generator)) < 0.15
        if elsewhere:
            extent = torch.tensor([float(side) for side in pictures.shape[:1:-1]])
            centre = torch.rand(2, generator=generator) * extent
            side = 12 * 10 ** float(torch.rand((), generator=generator))
            points = centre + (torch.tensor([[-0.5, 0], [0.5, 0], [0, 0.55], [-0.4, 1.1], [0.4, 1.1]]) * side)
            angle, scale, shift = float(draw[0]), 1.0, torch.zeros(2)
        else:
            points = landmarks[chosen]
            angle, scale = 0.12 * float(draw[0]), math.exp(0.12 * float(draw[1]))
            shift = draw[2:4] * 0.12
        matrix = closeup_to_photo(points[None], CLOSEUP_SIDE)[0]
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
        middle = torch.full((2,), CLOSEUP_SIDE / 2)
        # Shifts are in eye distances, a quarter of the close-up's side.
        start = middle + shift * CLOSEUP_SIDE / 4 - turn @ middle
        matrix = torch.cat([matrix[:, :2] @ turn, (matrix[:, :2] @ start + matrix[:, 2])[:, None]], dim=1)
        closeups.append(resample(pictures[i], matrix, (CLOSEUP_SIDE, CLOSEUP_SIDE)))
        if elsewhere:
            centre = transform_points(matrix[None], middle[None, None])[0, 0]
            far = (boxes[:, :2] + boxes[:, 2:]) / 2 - centre
            reach = (boxes[:, 2:] - boxes[:, :2]).amax(1) * 0.6
            # Close to a face it is neither one nor none: -1 leaves it out.
            present[i] = -1.0 if bool((far.norm(dim=1) < reach).any()) else 0.0
        else:
            present[i] = 1.0
            places[i] = transform_points(invert_affine(matrix[None]), points[None])[0] / CLOSEUP_SIDE
    return torch.stack(closeups), places, present


@torch.no_grad()
def hardest_mistakes(
    pictures: Tensor, outputs: list[Tensor], faces: Sequence[tuple[Tensor, Tensor]], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Close-ups of what the finder takes for faces most wrongly, for the measurer to turn down.

    Args:
        pictures: [B,3,H,W], -1..1.
        outputs: the finder's for them.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        count: how many at most, one per picture.

    Returns:
        Like `cut_closeups`, with no face in any of them.
    """
    logits, boxes, landmarks = decode([output.detach() for output in outputs])
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    for i, (truth, _) in enumerate(faces):
        if len(truth):
            reach = (truth[:, 2:] - truth[:, :2]).amax(1)
            near = torch.cdist(middles[i], (truth[:, :2] + truth[:, 2:]) / 2) < 0.8 * reach
            logits[i] = logits[i].masked_fill(near.any(1), -math.inf)
    worst, cells = logits.max(1)
    chosen = worst.argsort(descending=True)[:count]
    matrices = closeup_to_photo(landmarks[chosen, cells[chosen]], CLOSEUP_SIDE)
    closeups = [resample(pictures[i], m, (CLOSEUP_SIDE, CLOSEUP_SIDE)) for i, m in zip(chosen, matrices, strict=True)]
    return torch.stack(closeups), torch.zeros(len(chosen), 5, 2), torch.zeros(len(chosen))

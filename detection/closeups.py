"""Upright close-ups of faces: where they are cut, and what the network that measures them says."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..faces.warp import halve, scale_of, transform_points

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


def expected_place(heat: Tensor) -> Tensor:
    """Mean position [B,5,2] (x, y), in 0..1 of the side, of the distributions softmax(heat) with heat [B,5,h,w]."""
    height, width = heat.shape[-2:]
    share = heat.float().flatten(2).softmax(-1).unflatten(-1, (height, width))
    x = (torch.arange(width, device=heat.device) + 0.5) / width
    y = (torch.arange(height, device=heat.device) + 0.5) / height
    return torch.stack([(share.sum(2) * x).sum(-1), (share.sum(3) * y).sum(-1)], dim=-1)


def closeup_to_photo(landmarks: Tensor, size: int, eye_distance: float = 0.25) -> Tensor:
    """Maps [N,2,3] from upright square close-ups to the photo: the least-squares similarity from an average face.

    Args:
        landmarks: [N,5,2] in photo pixels.
        size: side of the close-up in pixels.
        eye_distance: of the average face, in sides of the close-up.
    """
    model = _CANONICAL.to(landmarks) * (eye_distance * size)
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

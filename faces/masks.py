"""Where a face lies in its crop: a soft mask that follows the face rather than the square it was cut with."""

from __future__ import annotations

import torch
from torch import Tensor

REGIONS = ("face", "head", "crop")

# The hull of a region: distances from the middle of the eyes up and down, in units of the distance from the eyes to
# the mouth, and half the width in units of the larger of eye distance and eye-to-mouth distance. Read off FFHQ-aligned
# faces, where the chin lies about 1.85 units below the eyes and a full head of hair about 2 units above.
_HULLS = {"face": (1.15, 1.95, 1.05), "head": (2.05, 2.15, 1.65)}
_EXPONENT = 2.4
"""Of the superellipse: 2 is an ellipse, more is squarer."""
_TAPER = 0.25
"""How much narrower than at the eyes a face is at the chin."""


def face_depth(landmarks: Tensor, size: int, region: str = "head") -> Tensor:
    """How deep inside the face or head each pixel of a crop lies.

    Args:
        landmarks: [N,5,2] in crop pixels.
        size: side of the crops in pixels.
        region: "face" (brows to chin) or "head" (with hair and neck).

    Returns:
        [N,size,size]: distance to the edge of the region in crop sides; positive inside, negative outside.
    """
    points = landmarks.float() / size
    centre = (torch.arange(size, device=points.device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    above, below, half_width = _HULLS[region]
    eyes = (points[:, 0] + points[:, 1]) / 2
    mouth = (points[:, 3] + points[:, 4]) / 2
    axis = mouth - eyes
    length = axis.norm(dim=1).clamp(min=1e-6)
    down = axis / length[:, None]
    breadth = half_width * torch.maximum((points[:, 1] - points[:, 0]).norm(dim=1), length)
    # The nose shows which way a turned head faces: more of the head is on the other side.
    across = torch.stack([-down[:, 1], down[:, 0]], dim=1)
    turn = ((points[:, 2] - (eyes + mouth) / 2) * across).sum(1) * 0.5
    offset = torch.stack([x, y], dim=-1)[None] - eyes[:, None, None, :]
    v = (offset * down[:, None, None, :]).sum(-1) - ((below - above) / 2 * length)[:, None, None]
    u = (offset * across[:, None, None, :]).sum(-1) + turn[:, None, None]
    half_height = ((above + below) / 2 * length)[:, None, None]
    half_breadth = breadth[:, None, None] * (1 - _TAPER * (v / half_height).clamp(0, 1))
    radius = ((u / half_breadth).abs() ** _EXPONENT + (v / half_height).abs() ** _EXPONENT) ** (1 / _EXPONENT)
    return (1 - radius) * torch.minimum(half_height, breadth[:, None, None])


def face_masks(landmarks: Tensor, size: int, region: str = "head", feather: float = 0.1) -> Tensor:
    """The soft masks paste-back blends with.

    Args:
        landmarks: [N,5,2] in crop pixels.
        size: side of the crops in pixels.
        region: "face" (brows to chin), "head" (with hair and chin) or "crop" (everything but the border).
        feather: width of the falloff from 1 to 0, in crop sides, 0..0.5.

    Returns:
        [N,size,size] in 0..1; exactly 0 in the outermost pixels of the crop, whatever the landmarks.
    """
    if region not in REGIONS:
        raise ValueError(f"Unknown region {region!r}; choose one of {', '.join(REGIONS)}.")
    if not 0 <= feather <= 0.5:
        raise ValueError(f"`feather` is {feather}; it is a part of the crop's side, between 0 and 0.5.")
    width = max(feather, 1.0 / size)
    window = border_window(size, width, landmarks.device)
    if region == "crop":
        return window.repeat(len(landmarks), 1, 1)
    return smooth_step(face_depth(landmarks, size, region) / width + 0.5) * window


def border_window(size: int, feather: float, device: torch.device | None = None) -> Tensor:
    """[size,size]: 1 in the middle, falling smoothly to exactly 0 in the outermost pixels over `feather` crop sides."""
    index = torch.arange(size, device=device, dtype=torch.float32)
    edge = torch.minimum(index, size - 1 - index)
    ramp = smooth_step(edge / max(feather * size, 1.0))
    return ramp[:, None] * ramp[None, :]


def smooth_step(t: Tensor) -> Tensor:
    """3 t^2 - 2 t^3 of t clamped to 0..1."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)

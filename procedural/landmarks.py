"""The 68 facial landmarks (iBUG order) of a rendered face, from its parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .camera import Scene, project, to_pixels
from .geometry import EYE_Y, face_surface

FIVE_POINT_GROUPS = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47), (30,), (48,), (54,))
"""Which of the 68 points average to left eye, right eye, nose tip, left and right mouth corner."""


def five_points(landmarks: Tensor) -> Tensor:
    """68 landmarks `[..., 68, 2]` -> the five points of face alignment `[..., 5, 2]`."""
    return torch.stack([landmarks[..., list(group), :].mean(-2) for group in FIVE_POINT_GROUPS], -2)


def _jaw(s: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """17 points round the jaw: outwards from the head's axis until the surface is crossed."""
    angle = torch.linspace(math.radians(172), math.radians(368), 17, device=s["yaw"].device)[None, None, :, None]
    dx, dy = angle.cos(), angle.sin()
    t = torch.full_like(s["yaw"] * angle, 0.4)
    depth = torch.full_like(t, 0.05)
    for _ in range(16):
        t = t - face_surface(s, t * dx, -0.12 + t * dy, depth)[0] * 0.8
    return t * dx, -0.12 + t * dy, depth


def _front(s: Scene) -> tuple[list[Tensor], list[Tensor]]:
    """x and y of points 17..67 on the front of the face, in the head's own coordinates."""
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    zero = torch.zeros_like(s["yaw"])

    def add(x: Tensor | float, y: Tensor) -> None:
        xs.append(zero + x)
        ys.append(zero + y)

    for side in (-1, 1):
        for k in (1, 0.75, 0.5, 0.25, 0) if side < 0 else (0, 0.25, 0.5, 0.75, 1):
            height = s["brow_height"] + s["brow_arch"] * math.sin(k * 2.2) * 1.6 - s["brow_angle"] * 0.16 * (k - 0.5)
            add(side * (s["eye_spacing"] * 0.42 + 0.33 * k), height - 0.1 * max(k - 0.75, 0))
    for k in range(4):
        add(0.0, 0.10 - (0.10 + 0.235 * s["nose_length"]) * k / 3)
    for k in (-1, -0.5, 0, 0.5, 1):
        add(k * 0.13 * s["nose_width"], -0.275 * s["nose_length"] - 0.02 * (1 - abs(k)))

    outline = ((1.0, 0), (0.4, 1), (-0.4, 1), (-1.0, 0), (-0.4, -1), (0.4, -1))
    for side in (-1, 1):
        for t, lid in outline if side < 0 else tuple((-t, lid) for t, lid in outline):
            upper = s["eye_opening"] * (1 - t * t) ** 0.75 * (1 - 0.12 * t)
            lower = -0.60 * s["eye_opening"] * (1 - t * t) ** 0.8
            lift = upper if lid > 0 else lower if lid < 0 else zero
            add(side * (s["eye_spacing"] + t * s["eye_width"]), EYE_Y + lift + s["eye_tilt"] * t * s["eye_width"])

    def centre(m: float) -> Tensor:
        return s["mouth_y"] + 0.11 * s["smile"] * m * m - 0.02 * s["smile"]

    def envelope(m: float) -> float:
        return max(1 - m * m, 0.0)

    def gap(m: float) -> Tensor:
        return s["mouth_open"] * envelope(m) ** 0.8

    for m in (-1, -0.6, -0.22, 0, 0.22, 0.6, 1):
        add(m * s["mouth_width"], centre(m) + 0.055 * s["lip_fullness"] * envelope(m) ** 0.8 + gap(m) * 0.25)
    for m in (0.6, 0.25, 0, -0.25, -0.6):
        add(m * s["mouth_width"], centre(m) - gap(m) * 0.9 - 0.082 * s["lip_fullness"] * envelope(m) ** 0.65)
    for m in (-0.85, -0.3, 0, 0.3, 0.85):
        add(m * s["mouth_width"], centre(m) + gap(m) * 0.25)
    for m in (0.3, 0, -0.3):
        add(m * s["mouth_width"], centre(m) - gap(m) * 0.9)
    return xs, ys


def landmarks_68(s: Scene, size: int) -> Tensor:
    """`[B, 68, 2]` pixels (x, y), origin at the top-left corner of a `size` x `size` picture."""
    xs, ys = _front(s)
    x, y = torch.cat(xs, 2), torch.cat(ys, 2)
    z = torch.full_like(x, 1.2)
    for _ in range(28):
        z = z - face_surface(s, x, y, z)[0] * 0.8
    jaw_x, jaw_y, jaw_z = _jaw(s)
    x, y, z = torch.cat([jaw_x, x], 2), torch.cat([jaw_y, y], 2), torch.cat([jaw_z, z], 2)
    X, Y = project(s, x, y, z)
    return to_pixels(s, X, Y, size)

"""Pose of the head, and the camera: an orthographic crop that follows the FFHQ alignment rule.

The crop is computed from where eyes and mouth project to (as `faces/align.py` does for photos), so eyes and mouth stay
put in every picture.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .parameters import FaceParameters

Scene = dict[str, Any]
"""Parameters as `[B, k, 1, 1]`; `rotation` (3 rows of 3), `axis_x`, `axis_y`, `half_size`, `centre_x`, `centre_y`."""


def make_scene(parameters: FaceParameters) -> Scene:
    """Parameters shaped for pictures, with the head's rotation (yaw after pitch) and its FFHQ camera."""
    s: Scene = {name: v[:, :, None, None].contiguous() for name, v in parameters.items()}
    s.setdefault("pointed_ears", torch.zeros_like(s["yaw"]))
    cos_y, sin_y, cos_p, sin_p = s["yaw"].cos(), s["yaw"].sin(), s["pitch"].cos(), s["pitch"].sin()
    zero = torch.zeros_like(cos_y)
    s["rotation"] = [
        [cos_y, sin_y * sin_p, sin_y * cos_p],
        [zero, cos_p, -sin_p],
        [-sin_y, cos_y * sin_p, cos_y * cos_p],
    ]

    right_x, right_y = project(s, s["eye_spacing"], zero + 0.045, zero + 0.58)
    left_x, left_y = project(s, -s["eye_spacing"], zero + 0.045, zero + 0.58)
    mouth_x, mouth_y = project(s, zero, s["mouth_y"], zero + 0.64)
    # FFHQ: x = eye_to_eye - rot90(eye_to_mouth), half size max(2.0 |eye_to_eye|, 1.8 |eye_to_mouth|); y is up here.
    eye_x, eye_y = (right_x + left_x) / 2, (right_y + left_y) / 2
    ee_x, ee_y = right_x - left_x, right_y - left_y
    em_x, em_y = mouth_x - eye_x, mouth_y - eye_y
    axis_x, axis_y = ee_x - em_y, ee_y + em_x
    length = (axis_x * axis_x + axis_y * axis_y).sqrt()
    s["axis_x"], s["axis_y"] = axis_x / length, axis_y / length
    s["half_size"] = torch.maximum((ee_x**2 + ee_y**2).sqrt() * 2.0, (em_x**2 + em_y**2).sqrt() * 1.8)
    s["centre_x"], s["centre_y"] = eye_x + em_x * 0.1, eye_y + em_y * 0.1
    return s


def to_local(s: Scene, X: Tensor, Y: Tensor, Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Camera coordinates -> the head's own coordinates."""
    r = s["rotation"]
    x, y, z = (r[0][j] * X + r[1][j] * Y + r[2][j] * Z for j in range(3))
    return x, y, z


def project(s: Scene, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The head's own coordinates -> camera x and y (orthographic)."""
    r = s["rotation"]
    return r[0][0] * x + r[0][1] * y + r[0][2] * z, r[1][0] * x + r[1][1] * y + r[1][2] * z


def rays(s: Scene, size: int, offset: tuple[float, float] = (0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """Camera x and y `[B, 1, size, size]` of the pixel centres, shifted by `offset` pixels (x right, y down)."""
    centres = (torch.arange(size, device=s["yaw"].device, dtype=torch.float32) + 0.5) / size * 2 - 1
    v, u = torch.meshgrid(-centres, centres, indexing="ij")
    u, v = u[None, None] + offset[0] * 2 / size, v[None, None] - offset[1] * 2 / size
    x = s["centre_x"] + s["half_size"] * (u * s["axis_x"] - v * s["axis_y"])
    y = s["centre_y"] + s["half_size"] * (u * s["axis_y"] + v * s["axis_x"])
    return x.contiguous(), y.contiguous()


def to_pixels(s: Scene, X: Tensor, Y: Tensor, size: int) -> Tensor:
    """Camera x, y `[B, 1, K, 1]` -> pixels `[B, K, 2]`, origin at the picture's top-left corner."""
    dx, dy = (X - s["centre_x"]) / s["half_size"], (Y - s["centre_y"]) / s["half_size"]
    u = dx * s["axis_x"] + dy * s["axis_y"]
    v = -dx * s["axis_y"] + dy * s["axis_x"]
    pixels = torch.stack([(u + 1) / 2 * size, (1 - v) / 2 * size], -1)
    return pixels[:, 0, :, 0]

"""The head as signed distance fields: skull, face, ears, neck, shoulders and hair.

Every function takes a `Scene` (parameters as `[B, k, 1, 1]`, see `camera.py`) and coordinates `[B, 1, H, W]` in head
units, and returns distances of the same shape: negative inside. Written with plain tensor arithmetic only, so that
`torch.compile` fuses a whole evaluation into one kernel. Primitives after Inigo Quilez' articles on distance functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.filters import smoothstep
from .camera import Scene, to_local

EYE_Y = 0.045


def bell(t: Tensor) -> Tensor:
    """exp(-t^2)"""
    return torch.exp(-t * t)


def mix(a: Tensor | float, b: Tensor | float, t: Tensor) -> Tensor:
    """Linear interpolation from `a` (t = 0) to `b` (t = 1)."""
    return a + (b - a) * t


def smooth_min(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Union of two fields, rounded over a distance `k`."""
    h = (k - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - h * h / (4 * k)


def smooth_max(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Intersection of two fields, rounded over a distance `k`."""
    return -smooth_min(-a, -b, k)


def sphere(x: Tensor, y: Tensor, z: Tensor, radius: float | Tensor) -> Tensor:
    return (x * x + y * y + z * z).sqrt() - radius


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, rx: float | Tensor, ry: float | Tensor, rz: float | Tensor) -> Tensor:
    """First-order distance to an axis-aligned ellipsoid at the origin."""
    a, b, c = x / rx, y / ry, z / rz
    k = (a * a + b * b + c * c).sqrt()
    a, b, c = a / rx, b / ry, c / rz
    return k * (k - 1) / ((a * a + b * b + c * c).sqrt() + 1e-6)


def value_noise(x: Tensor, y: Tensor, phase: float = 0.0) -> Tensor:
    """Smooth noise 0..1 of two coordinates with unit cells, always the same (no random state)."""

    def lattice(i: Tensor, j: Tensor) -> Tensor:
        v = torch.sin(i * 12.7 + j * 31.1 + phase) * 437.58
        return v - v.floor()

    i, j = x.floor(), y.floor()
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = lattice(i, j) * (1 - u) + lattice(i + 1, j) * u
    high = lattice(i, j + 1) * (1 - u) + lattice(i + 1, j + 1) * u
    return low * (1 - v) + high * v


def face_surface(s: Scene, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the bald head, and to its nose alone, in the head's own coordinates."""
    ax = x.abs()
    width = s["face_width"]
    taper = 1.03 - (0.10 - 0.06 * s["jaw_width"]) * smoothstep(0.1, -1.0, y)
    d = ellipsoid(x / width, y - 0.28, z + 0.15, 0.69, 0.75, 0.82)
    d = smooth_min(d, ellipsoid(x / (width * taper), y + 0.14, z - 0.02, 0.605, 0.84 + s["chin_length"], 0.62), 0.22)
    d = smooth_min(d, sphere(ax - 0.33, y + 0.16, z - 0.36, 0.20 * s["cheeks"]), 0.22)
    # Corner of the jaw, full cheeks, chin.
    jaw = 0.305 + 0.055 * s["jaw_width"]
    d = smooth_min(d, sphere(ax - jaw, y + 0.50, z - 0.02, 0.145 + 0.015 * s["jaw_width"]), 0.22)
    d = smooth_min(d, sphere(ax - 0.29, y + 0.40, z - 0.30, 0.135 + 0.035 * s["fullness"]), 0.22)
    chin = 0.055 + 0.035 * s["jaw_width"]
    d = smooth_min(d, sphere((ax - chin).clamp(min=0), y + 0.83 + s["chin_length"], z - 0.40, 0.125), 0.20)
    # Eye sockets and lids, brow ridge (stronger in masculine faces).
    dx = ax - s["eye_spacing"]
    d = smooth_max(d, -ellipsoid(dx, y - 0.05, z - 0.80, 0.21, 0.13, 0.2), 0.14)
    d = smooth_min(d, sphere(dx, y - EYE_Y, z - 0.462, 0.148), 0.05)
    ridge = ellipsoid(dx + 0.02, y - 0.20, z - 0.55, 0.20, 0.045, 0.09)
    d = smooth_min(d, ridge + 0.03 * s["feminine"], 0.09)
    # Nose: a tapering bridge, the tip, two wings.
    t = ((0.16 - y) / 0.42).clamp(0, 1)
    bridge_z = 0.565 + 0.13 * t * s["nose_projection"]
    along = (y - 0.16).clamp(min=0) + (-0.26 * s["nose_length"] - y).clamp(min=0)
    nose = ((x / s["nose_width"]) ** 2 + (z - bridge_z) ** 2 + along**2).sqrt() - (0.052 + 0.03 * t)
    tip_z = z - 0.60 - 0.16 * s["nose_projection"]
    nose = smooth_min(nose, sphere(x / s["nose_width"], y + 0.235 * s["nose_length"], tip_z, 0.088), 0.08)
    wing = ellipsoid(ax - 0.096 * s["nose_width"], y + 0.25 * s["nose_length"], z - 0.62, 0.06, 0.055, 0.09)
    nose = smooth_min(nose, wing, 0.05)
    d = smooth_min(d, nose, 0.09)
    # Lips swell out of the face; the groove above them and the fold below.
    m = (x / s["mouth_width"]) ** 2
    yy = y - s["mouth_y"] - 0.05 * s["smile"] * m
    envelope = (1 - m).clamp(min=0)
    swell = bell((yy - 0.035) / 0.04) + 1.15 * bell((yy + 0.05 + s["mouth_open"] * 0.5) / 0.05)
    d = d - envelope * swell * 0.042 * s["lip_fullness"] * (z > 0)
    return d, nose


def hair_coordinates(s: Scene, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """(across, along) the strands: across in radians around the parting or whorl, along in head units from the top."""
    around = torch.atan2(x - s["part"] * 0.5, z + 0.35)
    swept = torch.atan2(x + 0.1 - 0.25 * y, 0.9 + 0 * z) * 2.2 + 0.6 * z
    across = mix(around, swept, s["swept"] * smoothstep(0.2, 0.7, y))
    across = across + s["wave"] * 0.16 * torch.sin(5.5 * y + 2.0 * x * x + 1.0) * (0.35 + s["long"])
    return across, y


def hair_surface(s: Scene, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Distance to the hair in the head's own coordinates; far outside everywhere for a bald head."""
    long, curl, fringe = s["long"], s["curl"], s["fringe"]
    across, along = hair_coordinates(s, x, y, z)
    # Locks of uneven width push the surface in and out; curls are bumps in all directions.
    locks = (
        0.020 * torch.sin(6.0 * across + 1.7 + 1.2 * torch.sin(2.3 * across))
        + 0.012 * torch.sin(15.0 * across + 2.0 * along + 0.7)
        + 0.006 * torch.sin(31.0 * across + 3.0 * along)
    )
    curls = 0.035 * torch.sin(13.0 * x + 0.4 + 2 * z) * torch.sin(12.0 * y + 1.1 + z) + 0.012 * torch.sin(
        29.0 * x + 17.0 * y
    )
    relief = mix(locks, curls, curl) + s["wave"] * long * 0.035 * torch.sin(7.0 * y + 2.5 * across)
    # The hairline: height over x, with the parting as a tent, temples that recede and an uneven edge.
    from_part = x - s["part"]
    line = (
        s["hairline"]
        - s["hairline_curve"] * x * x * 0.9
        - s["parting_slope"] * ((from_part * from_part + 0.004).sqrt() - 0.06)
        + s["temples"] * bell((x.abs() - 0.36) / 0.12)
        + (0.012 * torch.sin(across * 17 + 0.3) + 0.010 * torch.sin(across * 41 + 1.3)) * (0.4 + 1.3 * fringe)
        + curl * 0.012 * torch.sin(x * 31 + 0.5)
    )
    front_long = 0.10 - 0.16 * (1 - smoothstep(-0.2, 0.6, y))
    front_short = -0.36 + 0.46 * smoothstep(-0.2, 0.62, y)
    front = mix(front_short, front_long, long)
    opening = smooth_max(front - z, y - line, 0.10)
    # Thickness grows away from the hairline.
    edge = 0.12 + 0.38 * fringe + 0.22 * long * (1 - fringe) + 0.35 * s["afro"]
    volume = s["hair_volume"] * (
        1 + 0.25 * s["swept"] * smoothstep(0.4, 1.0, y) - 0.35 * (1 - long) * (1 - s["afro"]) * smoothstep(0.5, -0.2, y)
    )
    thickness = 0.012 + volume * (edge + (1 - edge) * smoothstep(-0.02, 0.24, opening))
    scalp = ellipsoid(x / s["face_width"], y - 0.29, z + 0.16, 0.695, 0.755, 0.80) - thickness
    # Long hair falls in a curtain behind the face and over the shoulders.
    half_width = s["hair_width"] + 0.05 * torch.sin(6.0 * y + 0.9 + 0.8 * torch.sign(x)) * s["wave"]
    half_width = half_width - 0.06 * smoothstep(-0.4, -1.1, y) * (1 - s["wave"])
    drop = s["hair_length"]
    curtain = ellipsoid(x, y - 0.16 + drop / 2, z + 0.28, half_width, drop * 0.62 + 0.35, 0.50)
    hair = torch.where(long > 0, smooth_min(scalp, curtain, 0.2), scalp)
    knot = sphere(x - 0.1 * s["part"], y - 1.10, z + 0.35, 0.27)
    hair = torch.where(s["bun"] > 0, smooth_min(hair, knot, 0.06), hair)
    groove = 0.05 * (s["parting_slope"] > 0.12) * bell(from_part / 0.045) * smoothstep(0.45, 0.75, y)
    depth = smoothstep(0.0, 0.12, opening) * (1 - s["buzz"])
    hair = smooth_max(hair + relief * depth + groove, -opening, 0.05)
    nape = torch.where(long > 0, y * 0 - 9.0, -0.42 - y - 0.12 * z)
    hair = smooth_max(hair, nape, 0.05)
    return hair + s["bald"] * 9.0


def ear_surface(s: Scene, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    ax = x.abs()
    ear = ellipsoid(ax - 0.70 * s["face_width"], y + 0.04, z + 0.12, 0.075, 0.19, 0.13)
    pointed = ellipsoid(
        ax - 0.74 * s["face_width"] - 0.25 * (y - 0.1).clamp(min=0), y - 0.12, z + 0.15, 0.06, 0.34, 0.10
    )
    return torch.where(s["pointed_ears"] > 0, smooth_min(ear, pointed, 0.05), ear)


def neck_surface(s: Scene, X: Tensor, Y: Tensor, Z: Tensor) -> Tensor:
    radius = (0.45 - 0.09 * s["feminine"] + 0.03 * s["fullness"]) * (1 + 0.25 * smoothstep(-0.9, -1.5, Y))
    return (X * X + (Z + 0.26) ** 2 + (Y + 0.70).clamp(min=0) ** 2).sqrt() - radius


def cloth_surface(s: Scene, X: Tensor, Y: Tensor, Z: Tensor) -> Tensor:
    broad = 1.30 - 0.14 * s["feminine"]
    shoulders = ellipsoid(X, Y + 1.58, Z + 0.35, broad, 0.46, 0.60)
    collar = ellipsoid(X, Y + 1.34 - s["collar"], Z + 0.29, 0.56 - 0.09 * s["feminine"], 0.30, 0.52)
    return smooth_min(shoulders, collar, 0.25)


def part_surfaces(
    s: Scene, X: Tensor, Y: Tensor, Z: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Distances to (head, nose, ears, neck, cloth, hair) at camera coordinates, and the head's own coordinates there.

    Head, ears and hair turn with the pose; neck and shoulders do not.
    """
    x, y, z = to_local(s, X, Y, Z)
    head, nose = face_surface(s, x, y, z)
    return (
        head,
        nose,
        ear_surface(s, x, y, z),
        neck_surface(s, X, Y, Z),
        cloth_surface(s, X, Y, Z),
        hair_surface(s, x, y, z),
        (x, y, z),
    )


def figure_surface(s: Scene, X: Tensor, Y: Tensor, Z: Tensor) -> Tensor:
    """Distance to the whole figure at camera coordinates."""
    head, _, ears, neck, cloth, hair, _ = part_surfaces(s, X, Y, Z)
    body = torch.minimum(torch.minimum(head, ears), torch.minimum(neck, cloth))
    return torch.minimum(body, hair)

"""What the drawn looks share: flat colours and light, ink lines of varied weight, eyes drawn from their curves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.filters import box_blur, shift, smoothstep
from .camera import Scene
from .geometry import EYE_Y, bell, mix, value_noise
from .labels import Label, among, boundaries
from .paint import GBuffer, colour
from .photo import light_direction

FACE = (
    Label.SKIN,
    Label.NOSE,
    Label.EYE,
    Label.BROW,
    Label.UPPER_LIP,
    Label.MOUTH,
    Label.LOWER_LIP,
    Label.BEARD,
)
"""Labels of the front of the head."""


def pixels(g: GBuffer, per_256: float) -> int:
    """A length of `per_256` pixels of a 256-pixel picture, in pixels of this one; at least 1."""
    return max(1, round(per_256 * g["depth"].shape[-1] / 256))


def picture_plane(s: Scene, g: GBuffer) -> tuple[Tensor, Tensor]:
    """Camera x, y relative to the crop, about -1..1 (right, up)."""
    u = (g["world"][:, :1] - s["centre_x"]) / s["half_size"]
    v = (g["world"][:, 1:] - s["centre_y"]) / s["half_size"]
    return u, v


def flat_albedo(s: Scene, g: GBuffer) -> Tensor:
    """The surface's linear colours with brows and beard as flat areas."""
    hair = s["hair"] * 0.80 + 0.004
    beard = hair + (s["skin"] - hair) * 0.12
    albedo = torch.where(g["label"] == int(Label.BEARD), beard, g["albedo"])
    return torch.where(g["label"] == int(Label.BROW), torch.minimum(hair * 0.6, s["skin"] * 0.36), albedo)


def lit_side(s: Scene, g: GBuffer, edge: float = 0.05, smooth: float = 3.0) -> Tensor:
    """1 where the key light falls, 0 in shadow, with an edge of width `edge`; normals are smoothed first, so that the
    terminator is one clean curve. Chin and hair cast shadows; eyes and mouth are always lit."""
    lx, ly, lz = light_direction(s)
    normal = box_blur(g["normal"] * g["hit"], pixels(g, smooth))
    facing = normal[:, :1] * lx + normal[:, 1:2] * ly + normal[:, 2:] * lz
    lit = smoothstep(0.20 - edge, 0.20 + edge, facing)
    label = g["label"]
    below = smoothstep(0.02, -0.02, g["world"][:, 1:] + 1.10 + 0.15 * g["world"][:, :1] * lx)
    lit = torch.where(label == int(Label.NECK), lit * below, lit)
    cast = smoothstep(0.035, 0.05, g["hair_distance"])
    lit = torch.where(among(label, Label.SKIN, Label.BROW, Label.EAR), lit * cast, lit)
    return torch.where(among(label, Label.EYE, Label.MOUTH), 1.0, lit)


def regions(label: Tensor) -> Tensor:
    """Labels merged into the areas that an outline separates: background, face, hair, ear, neck, cloth."""
    face = among(label, *FACE)
    return torch.where(face, int(Label.SKIN), label)


def ink(g: GBuffer, edge: Tensor, width: float, weight: Tensor) -> Tensor:
    """Coverage of ink 0..1 along `edge`, up to `width` pixels of 256 to either side where `weight` is 1."""
    radius = pixels(g, width / 2)
    spread = box_blur(box_blur(edge, radius), radius) * (2 * radius + 1) / 2
    threshold = 1.0 - 0.85 * weight.clamp(0, 1)
    return smoothstep(-0.18, 0.18, spread - threshold)


def contours(g: GBuffer) -> tuple[Tensor, Tensor]:
    """(outline of the figure, lines inside it): where the region changes, or the depth jumps."""
    merged = regions(g["label"])
    outline = boundaries((merged != int(Label.BACKGROUND)).to(merged.dtype))
    inner = boundaries(merged)
    depth, limit = g["depth"], 0.075 * 256 / g["depth"].shape[-1]
    jump = torch.maximum((depth - shift(depth, 1, 0)).abs(), (depth - shift(depth, 0, 1)).abs()) > limit
    jump = jump & (merged != int(Label.BACKGROUND))
    return outline, torch.maximum(inner, jump.float())


def pressure(s: Scene, g: GBuffer, frequency: float = 4.0) -> Tensor:
    """Slowly changing weight of the hand 0..1, anchored to the picture plane."""
    u, v = picture_plane(s, g)
    return value_noise(u * frequency + 40, v * frequency + 40, 7.0)


@dataclass(frozen=True, eq=False)
class EyeCurves:
    """Coordinates of both eyes per pixel, as `paint.py` lays them out; lengths in head units.

    Attributes:
        t: -1 at the inner corner, 1 at the outer one.
        height: above the line through the corners.
        upper, lower: heights of the lids.
        x, y: from the middle of the iris, x to the picture's right.
        visible: 1 on the front of the face near an eye.
        inside: coverage of the open eye.
    """

    t: Tensor
    height: Tensor
    upper: Tensor
    lower: Tensor
    x: Tensor
    y: Tensor
    visible: Tensor
    inside: Tensor


def eye_curves(s: Scene, g: GBuffer, blur: float) -> EyeCurves:
    """Where the eyes are; `blur` is the softness of their edge in head units."""
    x, y, z = g["local"].split(1, 1)
    side, ux = torch.sign(x), x.abs() - s["eye_spacing"]
    height = (y - EYE_Y) - s["eye_tilt"] * ux
    t = ux / s["eye_width"]
    profile = (1 - t * t).clamp(min=0) + 1e-6
    upper = s["eye_opening"] * profile**0.75 * (1 - 0.12 * t)
    lower = -0.60 * s["eye_opening"] * profile**0.8
    visible = ((t.abs() < 1.5) & (z > 0) & among(g["label"], *FACE)).float()
    inside = torch.minimum(
        smoothstep(-0.7, 0.7, (upper - height) / blur), smoothstep(-0.7, 0.7, (height - lower) / blur)
    )
    return EyeCurves(
        t,
        height,
        upper,
        lower,
        ux * side - s["gaze_x"],
        (y - EYE_Y) - s["gaze_y"] - 0.006,
        visible,
        inside * (t.abs() < 1) * visible,
    )


def disc(x: Tensor, y: Tensor, radius: Tensor | float, blur: float) -> Tensor:
    """Coverage of a disc at the origin."""
    return smoothstep(0.7, -0.7, ((x * x + y * y).sqrt() - radius) / blur)


def draw_lashes(
    picture: Tensor, e: EyeCurves, thickness: Tensor | float, wing: Tensor | float, tint: Tensor, under: float = 0.5
) -> Tensor:
    """The upper lid as one stroke that swells outwards and may end in a wing; the lower lid as a thin line."""
    swell = thickness * (0.55 + 0.45 * smoothstep(-1.0, 0.8, e.t))
    flick = wing * smoothstep(0.55, 1.2, e.t)
    reach = smoothstep(1.12, 1.0, e.t.abs() - 0.22 * (e.t > 0) * (flick > 0))
    stroke = bell((e.height - e.upper - 0.3 * swell - flick) / swell) * reach * e.visible
    line = bell((e.height - e.lower) / 0.016) * smoothstep(1.02, 0.8, e.t.abs()) * under * e.visible
    return mix(mix(picture, tint, (line * 0.9).clamp(0, 1)), tint, (stroke * 1.4).clamp(0, 1))


def nose_line(s: Scene, g: GBuffer, width: float) -> Tensor:
    """The underside of the nose as one short stroke."""
    x, y, z = g["local"].split(1, 1)
    across = x / (0.105 * s["nose_width"])
    stroke = bell((y + s["nose_length"] * 0.300 - 0.018 * across * across) / width)
    return stroke * smoothstep(1.0, 0.6, across.abs()) * (z > 0) * among(g["label"], Label.NOSE, Label.SKIN)


def brighten(linear: Tensor, gain: float) -> Tensor:
    """Linear colour made lighter without clipping."""
    return 1 - (1 - linear.clamp(0, 1)) ** gain


def disc_background(s: Scene, g: GBuffer, ground: Tensor, spot: Tensor, radius: float, blur: float) -> Tensor:
    """`spot` inside a disc round the middle of the picture, `ground` outside."""
    u, v = picture_plane(s, g)
    return mix(ground.expand(-1, -1, *u.shape[-2:]), spot, disc(u, v, radius, blur))


def grey(value: float, like: Tensor) -> Tensor:
    """`[1, 3, 1, 1]`"""
    return colour(value, value, value, like)

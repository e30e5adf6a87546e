"""What the surface is made of: colour, gloss and label of every visible point, before any light falls on it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.filters import smoothstep
from .camera import Scene
from .geometry import EYE_Y, bell, figure_surface, hair_coordinates, mix, part_surfaces, value_noise
from .labels import Label

GBuffer = dict[str, Tensor]
"""Per pixel: `albedo` [B,3,H,W] linear RGB, `label` [B,1,H,W] int64, `normal` [B,3,H,W] unit, `depth`, `gloss`,
`occlusion` 0..1 (1 = open), `hair_distance`, `hit` (1 on the figure), `local` [B,3,H,W] the head's own coordinates,
`world` [B,2,H,W] camera x and y, `hair_flow` [B,1,H,W] strand coordinate. All float32 but `label`."""


def colour(r: float, g: float, b: float, like: Tensor) -> Tensor:
    """`[1, 3, 1, 1]`"""
    return torch.tensor([r, g, b], dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def _skin(s: Scene, x: Tensor, y: Tensor, ax: Tensor, front: Tensor, texture: float) -> Tensor:
    """Skin with blush, freckles, mottling and the lines of age."""
    rosy = torch.exp(-(((ax - 0.36) / 0.2) ** 2 + ((y + 0.2) / 0.15) ** 2))
    rosy = rosy + 0.5 * torch.exp(-((x / 0.12) ** 2 + ((y + 0.25) / 0.1) ** 2))
    skin = s["skin"] * (1 - s["blush"] * rosy * colour(0.02, 0.24, 0.24, x))
    mottle = value_noise(x * 7 + 40, y * 7 + 40, 5.0) - 0.5
    skin = skin * (1 + texture * 0.09 * mottle * colour(0.6, 1.0, 1.1, x))
    spots = smoothstep(0.60, 0.78, value_noise(x * 30 + 50, y * 30 + 50))
    spots = spots * torch.exp(-((ax / 0.45) ** 2 + ((y + 0.1) / 0.22) ** 2) * 1.2) * s["freckles"]
    skin = skin * (1 - spots * colour(0.25, 0.4, 0.5, x))
    age = s["age"]
    fold = age * bell((ax - 0.235 - (-y - 0.3) * 0.22) / 0.020) * smoothstep(-0.22, -0.32, y)
    fold = fold * smoothstep(-0.60, -0.46, y) * 0.36
    under = (ax - s["eye_spacing"]).abs() < s["eye_width"] * 0.85
    bag = bell((y - EYE_Y + 1.75 * s["eye_opening"] - 0.3 * (ax - s["eye_spacing"]) ** 2) / 0.018) * under * 0.20 * age
    brow_lines = bell(torch.sin((y + 0.05 * x * x) * 42.0) / 0.32) * smoothstep(0.30, 0.38, y)
    brow_lines = brow_lines * smoothstep(0.62, 0.5, y) * smoothstep(0.42, 0.25, ax) * 0.20
    brow_lines = brow_lines * smoothstep(0.45, 0.9, age)
    corner = bell(torch.sin((y - 0.5 * (ax - 0.5)) * 60.0) / 0.35) * bell((ax - 0.50) / 0.05) * bell((y - 0.04) / 0.07)
    lines = (fold + bag + brow_lines + 0.22 * corner * smoothstep(0.4, 0.9, age)) * front
    return skin * (1 - lines)


def _eyes(s: Scene, skin: Tensor, x: Tensor, y: Tensor, front: Tensor, blur: Tensor) -> tuple[Tensor, Tensor]:
    """Skin with eyes, lashes, lid creases painted on; and the coverage of the open eye."""
    ax, side = x.abs(), torch.sign(x)
    ux = ax - s["eye_spacing"]
    uy = (y - EYE_Y) - s["eye_tilt"] * ux
    width, opening = s["eye_width"], s["eye_opening"]
    t = ux / width
    profile = (1 - t * t).clamp(min=0) + 1e-6
    upper = opening * profile**0.75 * (1 - 0.12 * t)
    lower = -0.60 * opening * profile**0.8
    near = ((t.abs() < 1.3) & front).float()
    inside = torch.minimum(smoothstep(-0.7, 0.7, (upper - uy) / blur), smoothstep(-0.7, 0.7, (uy - lower) / blur))
    inside = inside * (t.abs() < 1) * near
    ix, iy = ux * side - s["gaze_x"], (y - EYE_Y) - s["gaze_y"] - 0.006
    r, iris_r = (ix * ix + iy * iy).sqrt(), s["iris_radius"]
    white = colour(0.70, 0.66, 0.64, x) * (1 - 0.35 * smoothstep(0.03, 0.0, upper - uy))
    white = white * (1 - 0.28 * smoothstep(0.6, 1.0, t.abs()))
    glow = (0.75 + 0.9 * (1 - smoothstep(0.0, 1.0, r / iris_r))) * (1 - 0.7 * smoothstep(0.75, 1.0, r / iris_r))
    eye = mix(white, s["iris"] * 1.25 * glow, smoothstep(0.7, -0.7, (r - iris_r) / blur))
    eye = mix(eye, 0.006, smoothstep(0.7, -0.7, (r - iris_r * 0.45) / blur))
    eye = eye * (1 - 0.40 * smoothstep(0.03, 0.0, upper - uy))
    spark = ((ix - 0.3 * iris_r) ** 2 + (iy - 0.38 * iris_r) ** 2).sqrt() - iris_r * 0.26
    eye = mix(eye, 1.5, smoothstep(1.0, -0.5, spark / blur))
    lash_width = 0.013 * (1 + 0.6 * s["feminine"]) * (1 + 0.5 * s["makeup"]) + 0.010
    lash = bell((uy - upper - lash_width * 0.35) / lash_width) * smoothstep(1.24, 0.92, t.abs())
    lower_lash = bell((uy - lower) / 0.016) * smoothstep(1.05, 0.85, t.abs()) * 0.4
    crease = bell((uy - upper * 1.02 - 0.040) / 0.014) * smoothstep(1.1, 0.7, t.abs()) * 0.40
    shadow = s["makeup"] * bell((uy - upper - 0.03) / 0.04) * smoothstep(1.2, 0.8, t.abs()) * 0.35
    skin = skin * (1 - (crease + lower_lash) * near * colour(0.6, 0.75, 0.8, x))
    skin = skin * (1 - shadow * near * colour(0.5, 0.75, 0.55, x))
    skin = mix(skin, eye, inside)
    return mix(skin, colour(0.020, 0.014, 0.012, x), lash * near * 0.93), inside


def _brows(s: Scene, skin: Tensor, x: Tensor, y: Tensor, front: Tensor, blur: Tensor) -> tuple[Tensor, Tensor]:
    ax = x.abs()
    t = (ax - s["eye_spacing"] * 0.42) / 0.33
    centre = s["brow_height"] + s["brow_arch"] * torch.sin(t.clamp(0, 1) * 2.2) * 1.6
    centre = centre - s["brow_angle"] * 0.16 * (t - 0.5) - 0.1 * (t - 0.75).clamp(min=0)
    half = s["brow_thickness"] * smoothstep(-0.12, 0.15, t) * (1 - 0.65 * smoothstep(0.45, 1.05, t))
    half = half * smoothstep(1.08, 0.95, t)
    hairs = 0.88 + 0.12 * torch.sin((ax * 0.8 + y * 0.75) * 110.0)
    cover = smoothstep(0.8, -0.6, ((y - centre).abs() - half) / blur) * (half > 0.004) * front * 0.92 * hairs
    tint = torch.minimum(s["hair"] * 0.55 + 0.004, s["skin"] * 0.42)
    return mix(skin, tint, cover), cover


def _mouth(
    s: Scene, skin: Tensor, x: Tensor, y: Tensor, front: Tensor, blur: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Skin with lips, teeth and the dark of the mouth; coverage of upper lip, lower lip, inside."""
    m = x / s["mouth_width"]
    envelope = (1 - m * m).clamp(min=0) + 1e-6
    centre = s["mouth_y"] + 0.11 * s["smile"] * m * m - 0.02 * s["smile"]
    fullness, gap = s["lip_fullness"], s["mouth_open"] * envelope**0.8
    bow = -0.010 * torch.cos(m * 6.0) * torch.exp(-m * m * 6)
    top = centre + 0.055 * fullness * envelope**0.8 + bow + gap * 0.25
    bottom = centre - gap * 0.9 - 0.082 * fullness * envelope**0.65
    upper_edge = centre + gap * 0.25 + 0.006 * torch.cos(m * 5) * envelope
    lower_edge = centre - gap * 0.9 + 0.002
    here = (front & (m.abs() < 1.02)).float()
    upper = torch.minimum(smoothstep(-1, 1, (top - y) / blur), smoothstep(-1, 1, (y - upper_edge) / blur)) * here
    lower = torch.minimum(smoothstep(-1, 1, (lower_edge - y) / blur), smoothstep(-1, 1, (y - bottom) / blur)) * here
    inside = torch.minimum(
        smoothstep(-0.6, 0.6, (upper_edge - y) / blur), smoothstep(-0.6, 0.6, (y - lower_edge) / blur)
    )
    inside = inside * here * (gap > 0.004)
    skin = mix(skin, s["lip"] * 0.86, upper * 0.9)
    shine = torch.exp(-(((y - (lower_edge + bottom) / 2) / 0.025) ** 2) - (m / 0.5) ** 2)
    skin = mix(skin, s["lip"] * (1.1 + 0.25 * shine), lower * 0.9)
    teeth = smoothstep(0, 0.02, y - (upper_edge - 0.055)) * smoothstep(0.9, 0.65, m.abs())
    skin = mix(skin, mix(colour(0.10, 0.02, 0.02, x), colour(0.80, 0.77, 0.72, x), teeth), inside)
    line = bell((y - upper_edge) / 0.017) * here * smoothstep(1.03, 0.9, m.abs())
    line = line * (0.75 - 0.35 * (s["mouth_open"] > 0.01))
    skin = skin * (1 - line * colour(0.7, 0.85, 0.85, x))
    ends = ((x.abs() - s["mouth_width"]) / 0.025) ** 2 + ((y - s["mouth_y"] - 0.09 * s["smile"]) / 0.02) ** 2
    skin = skin * (1 - torch.exp(-ends) * 0.4 * front)
    under = bell((y - bottom + 0.035) / 0.03) * smoothstep(0.9, 0.2, m.abs()) * 0.16 * front
    return skin * (1 - under), upper, lower, inside


def _beard(s: Scene, skin: Tensor, x: Tensor, y: Tensor, z: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    ax = x.abs()
    jaw = smoothstep(-0.25, -0.52, y - (ax * 0.45 - 0.2).clamp(min=0) * 1.2) * smoothstep(-0.5, -0.05, z)
    around_mouth = (x / (s["mouth_width"] * 1.12)) ** 2 + ((y - s["mouth_y"] + 0.01) / 0.12) ** 2
    jaw = jaw * smoothstep(0.95, 1.15, around_mouth) * ((y < -0.38) | (ax > 0.33)) * s["beard"]
    lip = bell((y - s["mouth_y"] - 0.112 + 0.5 * x * x) / 0.042) * smoothstep(0.27, 0.2, ax) * s["moustache"]
    strands = 0.62 + 0.38 * value_noise(x * 34 + 50, y * 14 + 50, 2.0)
    cover = ((jaw + lip) * strands).clamp(0, 0.92) * front
    return mix(skin, s["hair"] * (0.55 + 0.5 * strands) + 0.004, cover), cover


def _hair(s: Scene, x: Tensor, y: Tensor, z: Tensor, texture: float) -> tuple[Tensor, Tensor]:
    """Hair colour with strands, and the strand coordinate across."""
    across, along = hair_coordinates(s, x, y, z)
    locks = value_noise(across * 9 + 60, along * 1.2 + 60, 1.0)
    strands = value_noise(across * 26 + 60, along * 2.2 + 60, 3.0)
    curls = value_noise(x * 15 + 60, y * 15 + 60 + 3 * z, 1.0)
    tone = mix(0.62 * locks + 0.34 * strands, 0.85 * curls + 0.2 * strands, s["curl"])
    return s["hair"] * (1 + texture * (tone * 0.95 - 0.42)), across


def paint_surface(s: Scene, X: Tensor, Y: Tensor, Z: Tensor, footprint: float, texture: float = 1.0) -> GBuffer:
    """Everything a look needs to know about the visible surface.

    Args:
        X, Y, Z: `[B, 1, H, W]` camera coordinates of the surface, as `march` found it.
        footprint: size of a pixel in head units; edges are softened over it.
        texture: 1 for skin and hair with all their texture, 0 for flat areas of colour (drawn looks).
    """
    head, nose, ears, neck, cloth, hair, (x, y, z) = part_surfaces(s, X, Y, Z)
    distance, part = torch.cat([head, ears, neck, cloth, hair], 1).min(1, keepdim=True)
    step = 0.005
    nx = figure_surface(s, X + step, Y, Z) - distance
    ny = figure_surface(s, X, Y + step, Z) - distance
    nz = figure_surface(s, X, Y, Z + step) - distance
    inverse = (nx * nx + ny * ny + nz * nz + 1e-12).rsqrt()
    nx, ny, nz = nx * inverse, ny * inverse, nz * inverse
    occlusion = (figure_surface(s, X + nx * 0.12, Y + ny * 0.12, Z + nz * 0.12) / 0.12).clamp(0, 1)

    hit = (distance < 0.035) & (Z > -1.5)
    on_head, on_ear, on_neck, on_cloth = (part == k for k in range(4))
    front = (z > 0) & on_head
    ax, blur = x.abs(), torch.full_like(x, footprint * 1.2)

    skin = _skin(s, x, y, ax, front, texture)
    skin, beard = _beard(s, skin, x, y, z, front)
    nostril = ((ax - 0.060 * s["nose_width"]) / 0.030) ** 2 + ((y + 0.292 * s["nose_length"]) / 0.018) ** 2
    skin = skin * (1 - 0.7 * torch.exp(-nostril) * front)
    skin, eye = _eyes(s, skin, x, y, front, blur)
    skin, brow = _brows(s, skin, x, y, front, blur)
    skin, upper_lip, lower_lip, mouth = _mouth(s, skin, x, y, front, blur)
    hair_albedo, across = _hair(s, x, y, z, texture)
    # Roots: hair thins out towards the skin instead of ending in a line; shaved hair is nothing but roots.
    roots = smoothstep(0.045, 0.0, hair) * (0.45 + 0.55 * value_noise(across * 40 + 60, y * 9 + 60, 4.0))
    roots = roots * on_head * (1 - s["bald"]) * (y > -0.25)
    skin = mix(skin, hair_albedo * 0.8, (roots * 0.75 * (1 - eye) * (1 - brow)).clamp(0, 1))
    shaved = s["buzz"] * (0.78 + 0.22 * value_noise(x * 38 + 60, y * 38 + 60, 6.0))
    hair_albedo = mix(hair_albedo, mix(s["skin"] * 0.8, hair_albedo, shaved), s["buzz"])

    inner_ear = torch.exp(-(((ax - 0.72 * s["face_width"]) / 0.05) ** 2 + ((y + 0.03) / 0.1) ** 2))
    ear = s["skin"] * (1 - 0.25 * inner_ear) * colour(1.0, 0.90, 0.88, x)
    albedo = torch.where(on_neck, s["skin"] * 0.92, torch.where(on_cloth, s["cloth"], hair_albedo))
    albedo = torch.where(on_head, skin, torch.where(on_ear, ear, albedo))

    label = torch.where(on_ear, int(Label.EAR), torch.where(on_neck, int(Label.NECK), int(Label.HAIR)))
    label = torch.where(on_cloth, int(Label.CLOTH), torch.where(on_head, int(Label.SKIN), label))
    label = torch.where(on_head & (nose < 0.025) & front & (y < 0.14), int(Label.NOSE), label)
    label = torch.where(beard > 0.4, int(Label.BEARD), label)
    label = torch.where(eye > 0.5, int(Label.EYE), label)
    label = torch.where(brow > 0.4, int(Label.BROW), label)
    label = torch.where(upper_lip > 0.5, int(Label.UPPER_LIP), label)
    label = torch.where(lower_lip > 0.5, int(Label.LOWER_LIP), label)
    label = torch.where(mouth > 0.5, int(Label.MOUTH), label)
    label = torch.where(hit, label, int(Label.BACKGROUND))

    gloss = torch.where(on_cloth, 0.03, torch.where(part == 4, 0.45, 0.25)).to(X.dtype)
    gloss = torch.where(label == int(Label.EYE), 0.5, torch.where(label == int(Label.LOWER_LIP), 0.7, gloss))
    return {
        "albedo": albedo,
        "label": label,
        "normal": torch.cat([nx, ny, nz], 1),
        "depth": Z,
        "gloss": gloss,
        "occlusion": occlusion,
        "hair_distance": hair,
        "hit": hit.to(X.dtype),
        "local": torch.cat([x, y, z], 1),
        "world": torch.cat([X, Y], 1),
        "hair_flow": across,
    }


def glasses_mask(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    """(frame, lens) coverage `[B, 1, H, W]` of the glasses: flat frames on a plane before the eyes, with their arms."""
    r = s["rotation"]
    X, Y = g["world"][:, :1], g["world"][:, 1:]
    plane = (0.74 - r[0][2] * X - r[1][2] * Y) / r[2][2]
    x = r[0][0] * X + r[1][0] * Y + r[2][0] * plane
    y = r[0][1] * X + r[1][1] * Y + r[2][1] * plane
    ax = x.abs()
    radius, square = s["glasses_radius"], s["glasses_squareness"]
    dx, dy = (ax - s["eye_spacing"]).abs() - (radius - square), (y - 0.03).abs() - (radius * 0.82 - square)
    lens = (dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2).sqrt() - square
    rim = smoothstep(1.0, -0.3, (lens.abs() - 0.019) / footprint)
    arch = (y - 0.075 - 0.05 * (1 - (x / 0.09) ** 2).clamp(min=0)).abs() - 0.016
    bridge = smoothstep(1.0, -0.3, arch / footprint) * (ax < s["eye_spacing"] - radius + 0.01)
    arm = smoothstep(1.0, -0.3, ((y - 0.09).abs() - 0.017) / footprint) * (ax > s["eye_spacing"] + radius - 0.01)
    arm = arm * (ax < 0.70 * s["face_width"]) * g["hit"]
    frame = torch.maximum(torch.maximum(rim, bridge), arm) * s["glasses"]
    return frame, (lens < 0).to(X.dtype) * s["glasses"]


def lens_reflection(s: Scene, g: GBuffer, lens: Tensor) -> Tensor:
    """Where a lens mirrors a window, 0..1."""
    stripe = torch.sin((g["world"][:, :1] - s["centre_x"] + g["world"][:, 1:]) * 14) - 0.93
    return lens * smoothstep(0.0, 0.02, stripe)

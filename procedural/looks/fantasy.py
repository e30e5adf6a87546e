"""The fantasy look: elves at dusk. Pointed ears, jewel-toned skin, glowing eyes, a rim of moonlight."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.filters import luma, saturate, smoothstep
from ..camera import Scene
from ..drawing import FACE, disc, eye_curves, grey, picture_plane
from ..geometry import bell, mix, value_noise
from ..labels import Label, among
from ..paint import GBuffer, colour
from ..parameters import FaceParameters, to_linear, to_srgb
from ..photo import add_glasses, light_direction
from .look import Look

_JEWELS = ((96, 62, 150), (62, 84, 168), (52, 134, 160), (110, 190, 176), (206, 200, 238))
"""Skin from the darkest sitter to the lightest, sRGB: amethyst, sapphire, teal, jade, pearl."""


def _jewel(skin: Tensor) -> Tensor:
    """Skin `[B, 3]` in linear light -> the jewel of the same depth, tinted by the sitter's own colour."""
    table = torch.tensor(_JEWELS, dtype=skin.dtype, device=skin.device) / 255
    own = to_srgb(skin)
    depth = ((own.mean(1) - 0.22) / (0.86 - 0.22)).clamp(0, 1) * (len(_JEWELS) - 1 - 1e-4)
    low = depth.floor().long()
    t = (depth - low)[:, None]
    return to_linear(mix(mix(table[low], table[low + 1], t), own, torch.full_like(t, 0.18)))


def adjust(parameters: FaceParameters) -> FaceParameters:
    """An elf: pointed ears, slanted eyes, high cheeks, a narrow chin; brows swept up."""
    p = dict(parameters)
    skin = _jewel(p["skin"])
    p["lip"] = mix(skin * 0.55, p["lip"], torch.full_like(p["makeup"], 0.35)) * 0.9
    p["skin"] = skin
    p["pointed_ears"] = torch.ones_like(p["yaw"])
    p["face_width"] = p["face_width"] * 0.97
    p["jaw_width"] = p["jaw_width"] * 0.7 - 0.15
    p["cheeks"] = p["cheeks"] * 1.08
    p["eye_width"] = p["eye_width"] * 1.14
    p["eye_opening"] = p["eye_opening"] * 1.18
    p["eye_tilt"] = p["eye_tilt"] * 0.8 + 0.16
    p["iris_radius"] = p["iris_radius"] * 1.10
    p["brow_height"] = p["brow_height"] + 0.022
    p["brow_angle"] = p["brow_angle"] - 0.22
    p["nose_width"] = p["nose_width"] * 0.88
    p["blush"] = p["blush"] * 0.5
    p["hair"] = (p["hair"] * 0.85 + 0.03 * (1 - p["hair"]) * skin).clamp(0, 1)
    return p


def dusk(s: Scene, g: GBuffer) -> Tensor:
    """The sky after sunset in the sitter's two background colours, with hills, a moon and stars; sRGB."""
    u, v = picture_plane(s, g)
    first, second = to_srgb(s["background"]), to_srgb(s["background_2"])
    night = mix(colour(0.08, 0.07, 0.24, u), saturate(first, 1.6) * 0.45, torch.full_like(u, 0.45))
    glow = mix(colour(0.98, 0.52, 0.38, u), saturate(second, 1.5), torch.full_like(u, 0.35))
    sky = mix(glow, night, smoothstep(-0.75, 0.75, v + 0.10 * (value_noise(u * 2 + 9, v * 6 + 9, 2.0) - 0.5)))
    i, j = (u * 13 + 70).floor(), (v * 13 + 70).floor()
    a = torch.sin(i * 12.7 + j * 31.1) * 437.58
    b = torch.sin(i * 27.3 + j * 11.9 + 2.0) * 331.17
    a, b = a - a.floor(), b - b.floor()
    x, y = u * 13 + 70 - i - 0.15 - 0.7 * a, v * 13 + 70 - j - 0.15 - 0.7 * b
    star = torch.exp(-(x * x + y * y) / (0.006 + 0.012 * b)) * (a * b > 0.22) * smoothstep(-0.2, 0.5, v)
    side = torch.where(s["light_x"] > 0, 1.0, -1.0)
    mx, my = u - 0.74 * side, v - 0.66
    moon = disc(mx, my, 0.15, 0.02) * (1 - 0.25 * value_noise(u * 12 + 60, v * 12 + 60, 3.0))
    halo = torch.exp(-(mx * mx + my * my) / 0.10) * 0.35
    ridge = -0.55 + 0.16 * torch.sin(u * 3.1 + 5 * s["background_x"]) + 0.07 * torch.sin(u * 7.3 + 2.0)
    hills = smoothstep(0.015, -0.015, v - ridge)
    sky = sky + (halo + star) * colour(0.85, 0.90, 1.0, u)
    sky = mix(sky, colour(0.98, 0.97, 0.88, u), moon)
    return mix(sky, night * 0.7 + 0.10 * glow, hills).clamp(0, 1)


def shade(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    nx, ny, nz = g["normal"].split(1, 1)
    label, albedo, occlusion = g["label"], g["albedo"], g["occlusion"]
    lx, ly, lz = light_direction(s)
    facing = nx * lx + ny * ly + nz * lz
    on_skin = among(label, *FACE, Label.EAR, Label.NECK)
    on_hair = label == int(Label.HAIR)

    # Moonlight from the front, violet shadows, skin that lets light through.
    diffuse = ((facing + 0.25) / 1.25).clamp(min=0)
    shadow = torch.where(label == int(Label.NECK), 0.45 + 0.55 * smoothstep(-0.95, -1.35, g["world"][:, 1:]), 1.0)
    shadow = shadow * torch.where(on_skin, 0.70 + 0.30 * smoothstep(0.0, 0.13, g["hair_distance"]), 1.0)
    ambient = colour(0.40, 0.36, 0.62, nx) * (0.45 + 0.55 * occlusion)
    picture = albedo * (ambient + 1.05 * diffuse * shadow * colour(0.96, 0.98, 1.06, nx))
    scatter = bell((facing - 0.02) / 0.25) * 0.06 * on_skin
    picture = picture + scatter * colour(0.9, 0.25, 0.8, nx)
    half = (lx * lx + ly * ly + (lz + 1) ** 2).rsqrt()
    gloss = ((nx * lx + ny * ly + nz * (lz + 1)) * half).clamp(1e-4, 1)
    band = bell((ny - 0.60 + 0.05 * torch.sin(g["hair_flow"] * 26)) / 0.15) * (1 - 0.7 * s["curl"])
    picture = picture + torch.where(on_hair, 0.14 * band, 0.16 * gloss**24 * g["gloss"] * 2) * shadow
    # Rims: cool on the moon's side, the colour of the sunset on the other.
    edge = (1 - nz.clamp(0, 1)) ** 2.5
    side = torch.where(s["light_x"] > 0, 1.0, -1.0)
    cool, warm = smoothstep(-0.1, 0.8, nx * side), smoothstep(-0.1, 0.8, -nx * side)
    picture = picture + edge * (cool * colour(0.35, 0.55, 0.85, nx) + warm * colour(0.75, 0.32, 0.28, nx)) * 0.55
    # Dust of light over the cheekbones.
    x, y, z = g["local"].split(1, 1)
    dust = smoothstep(0.72, 0.86, value_noise(x * 34 + 60, y * 34 + 60, 8.0))
    dust = dust * bell((x.abs() - 0.40) / 0.16) * bell((y + 0.10) / 0.10) * (z > 0)
    picture = picture + 0.30 * dust * among(label, Label.SKIN, Label.NOSE)

    # Eyes that glow, and light the lids around them.
    picture = to_srgb(picture / (1 + 0.25 * picture) * 1.45)
    e = eye_curves(s, g, footprint * 1.2)
    radius = s["iris_radius"]
    tint = saturate(to_srgb(s["iris"] * 3.0), 2.2)
    tint = tint / (luma(tint) + 0.05) * 0.75
    r = (e.x * e.x + e.y * e.y).sqrt() / radius
    eye = mix(picture * 0.92, tint * 0.30, disc(e.x, e.y, radius, footprint * 1.2))
    eye = mix(eye, mix(tint * 1.5, tint * 0.9, r.clamp(0, 1)), disc(e.x, e.y, radius * 0.86, footprint * 1.2))
    eye = mix(eye, tint * 0.10, disc(e.x / 0.62, e.y, radius * 0.46, footprint * 1.2))
    spark = disc(e.x - 0.34 * radius, e.y - 0.38 * radius, radius * 0.24, footprint * 1.2)
    picture = mix(picture, mix(eye, grey(1.0, nx), spark), e.inside)
    picture = picture + 0.34 * tint * torch.exp(-((r - 0.4).clamp(min=0) ** 2) / 0.8) * e.visible

    picture = torch.where(g["hit"] > 0, picture, dusk(s, g)).clamp(0, 1)
    linear, label = add_glasses(s, g, picture**2.2, footprint)
    return to_srgb(linear), label


FANTASY = Look("fantasy", "Elves at dusk: pointed ears, jewel skin, glowing eyes.", shade, adjust, fused=True)

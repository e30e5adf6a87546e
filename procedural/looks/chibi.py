"""The chibi look: very big eyes low in a round face, a dot of a nose, big hair, cel shading and sparkles."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.filters import saturate, smoothstep
from ..camera import Scene
from ..drawing import (
    FACE,
    brighten,
    contours,
    disc,
    draw_lashes,
    eye_curves,
    flat_albedo,
    grey,
    ink,
    lit_side,
    nose_line,
    picture_plane,
    pressure,
)
from ..geometry import mix
from ..labels import Label, among
from ..paint import GBuffer, colour, glasses_mask, lens_reflection
from ..parameters import FaceParameters, to_srgb
from ..photo import light_direction
from .look import Look


def adjust(parameters: FaceParameters) -> FaceParameters:
    """A child's proportions: short round face, huge eyes, tiny nose and mouth, twice the hair."""
    p = dict(parameters)
    p["age"] = p["age"] * 0.3
    p["face_width"] = p["face_width"] * 1.10
    p["jaw_width"] = p["jaw_width"] * 0.6 - 0.1
    p["chin_length"] = p["chin_length"] * 0.6 - 0.19
    p["cheeks"] = p["cheeks"] * 1.12
    p["fullness"] = p["fullness"] * 0.6 + 0.5
    p["eye_spacing"] = p["eye_spacing"] * 1.18
    p["eye_width"] = p["eye_width"] * 1.48
    p["eye_opening"] = p["eye_opening"] * 1.6 + 0.092
    p["eye_tilt"] = p["eye_tilt"] * 0.7
    p["iris_radius"] = p["iris_radius"] * 2.15
    p["gaze_x"] = p["gaze_x"] * 1.5
    p["gaze_y"] = p["gaze_y"] * 1.5 + 0.010
    p["brow_height"] = p["brow_height"] + 0.165
    p["brow_thickness"] = p["brow_thickness"] * 0.85
    p["brow_angle"] = p["brow_angle"] * 1.4
    p["nose_width"] = p["nose_width"] * 0.50
    p["nose_length"] = p["nose_length"] * 0.72
    p["nose_projection"] = p["nose_projection"] * 0.45
    p["mouth_width"] = p["mouth_width"] * 0.66
    p["mouth_y"] = p["mouth_y"] * 0.80
    p["lip_fullness"] = p["lip_fullness"] * 0.60
    p["smile"] = p["smile"] * 1.3
    p["hair_volume"] = p["hair_volume"] * (1.5 - 0.55 * p["afro"]) + 0.05
    p["hair_width"] = p["hair_width"] * 1.12
    p["glasses_radius"] = p["glasses_radius"] * 1.42
    p["glasses_squareness"] = p["glasses_squareness"] * 1.6
    return p


def _sparkles(s: Scene, g: GBuffer, cells: float, phase: float) -> Tensor:
    """Four-pointed stars on a lattice of the picture plane, 0..1; most cells stay empty."""
    u, v = picture_plane(s, g)
    u, v = u * cells + 50, v * cells + 50
    i, j = u.floor(), v.floor()
    a = torch.sin(i * 12.7 + j * 31.1 + phase) * 437.58
    b = torch.sin(i * 27.3 + j * 11.9 + phase) * 331.17
    a, b = a - a.floor(), b - b.floor()
    x, y = (u - i - 0.3 - 0.4 * a).abs(), (v - j - 0.3 - 0.4 * b).abs()
    size = (0.10 + 0.20 * b) * (a > 0.45)
    return smoothstep(1.0, 0.6, (x.sqrt() + y.sqrt()) ** 2 / (size + 1e-4))


def shade(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    # The chin is higher, so the neckline is too.
    X, Y = g["world"].split(1, 1)
    dressed = (g["label"] == int(Label.NECK)) & (-1.03 - 0.3 * s["collar"] + 0.30 * X * X > Y)
    label = torch.where(dressed, int(Label.CLOTH), g["label"])
    g = {**g, "label": label, "albedo": torch.where(dressed, s["cloth"], g["albedo"])}
    blur = footprint * 1.2
    on_hair = label == int(Label.HAIR)
    lx, ly, _ = light_direction(s)

    # Cel shading: light, one shadow, and on hair a ring of shine.
    lit = lit_side(s, g, edge=0.04, smooth=5.0)
    base = saturate(to_srgb(brighten(flat_albedo(s, g), 1.6)), 1.22)
    picture = mix(base * colour(0.80, 0.68, 0.80, base), base, lit)
    ny = g["normal"][:, 1:2] + 0.2 * lx * g["normal"][:, :1]
    jag = 0.07 * torch.sin(g["hair_flow"] * 17) + 0.05 * torch.sin(g["hair_flow"] * 41 + 1)
    ring = smoothstep(0.13, 0.09, (ny - 0.55 + jag).abs()) * on_hair * (1 - 0.7 * s["curl"]) * (1 - s["buzz"])
    picture = mix(picture, 1 - (1 - picture) * 0.60, ring)
    # Cheeks.
    x, y, z = g["local"].split(1, 1)
    on_face = (z > 0) & among(label, *FACE)
    cheek = disc((x.abs() - s["eye_spacing"] * 1.18) / 1.5, y + 0.265, 0.062, 0.05) * on_face
    picture = mix(picture, picture * colour(1.0, 0.62, 0.60, base) + colour(0.06, 0.0, 0.02, base), 0.75 * cheek)

    # Eyes: tall irises, dark above and bright below, two lights in each.
    e = eye_curves(s, g, blur)
    iris_r = s["iris_radius"]
    ey = e.y / 1.18
    iris = saturate(to_srgb(brighten(s["iris"], 2.4)), 1.7)
    eye = mix(grey(1.0, base), colour(0.78, 0.78, 0.88, base), smoothstep(0.07, 0.03, e.upper - e.height))
    eye = mix(eye, iris * 0.22, disc(e.x, ey, iris_r, blur))
    gradient = mix(1 - (1 - iris) * 0.45, iris * 0.50, smoothstep(-0.75, 0.55, ey / iris_r))
    eye = mix(eye, gradient, disc(e.x, ey, iris_r * 0.86, blur))
    eye = mix(eye, iris * 0.14, disc(e.x, ey - 0.06 * iris_r, iris_r * 0.42, blur))
    eye = mix(eye, 1 - (1 - iris) * 0.25, 0.8 * disc(e.x, ey + 0.52 * iris_r, iris_r * 0.26, blur))
    eye = mix(eye, grey(1.0, base), disc(e.x + 0.34 * iris_r, ey - 0.42 * iris_r, iris_r * 0.30, blur))
    eye = mix(eye, grey(1.0, base), disc(e.x - 0.40 * iris_r, ey + 0.34 * iris_r, iris_r * 0.15, blur))
    picture = mix(picture, eye, e.inside)
    lash = (colour(0.10, 0.05, 0.07, base) + to_srgb(s["hair"]) * 0.25) / 2
    picture = draw_lashes(picture, e, 0.034 + 0.014 * s["feminine"], 0.055 * s["feminine"], lash, 0.5)

    outline, inner = contours(g)
    hand = 0.5 + 0.5 * pressure(s, g)
    away = smoothstep(0.5, -0.6, g["normal"][:, :1] * lx + g["normal"][:, 1:2] * ly)
    line = ink(g, outline, 3.6, hand * (0.6 + 0.5 * away))
    line = torch.maximum(line, ink(g, inner, 2.8, hand * (0.55 + 0.4 * away)))
    line = torch.maximum(line, nose_line(s, g, 0.014) * 0.7)
    tint = torch.where(on_hair | (g["hit"] == 0), to_srgb(s["hair"]) * 0.28, base * 0.28)
    skin = among(label, *FACE, Label.EAR, Label.NECK)
    tint = torch.where(skin, to_srgb(s["skin"]) * colour(0.42, 0.24, 0.26, base), tint)

    u, v = picture_plane(s, g)
    top = saturate(to_srgb(brighten(s["background"], 1.8)) * 0.75 + 0.25, 1.3)
    bottom = saturate(to_srgb(brighten(s["background_2"], 2.0)) * 0.6 + 0.40, 1.3)
    ground = mix(bottom, top, smoothstep(-1.0, 1.0, v + 0.2 * u))
    sparkles = torch.maximum(_sparkles(s, g, 2.6, 1.0), _sparkles(s, g, 4.3, 5.0))
    ground = mix(ground, grey(1.0, base), 0.9 * sparkles)
    picture = mix(torch.where(g["hit"] > 0, picture, ground), tint, line * 0.95)

    frame, lens = glasses_mask(s, g, footprint)
    picture = mix(picture, grey(1.0, base), 0.12 * lens + 0.4 * lens_reflection(s, g, lens))
    picture = mix(picture, saturate(to_srgb(s["glasses_colour"] + 0.01), 1.4), frame)
    return picture.clamp(0, 1), torch.where(frame > 0.5, int(Label.GLASSES), label)


CHIBI = Look("chibi", "Huge sparkling eyes in a small round face, cel shaded.", shade, adjust, texture=0.0)

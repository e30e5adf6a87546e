"""The cartoon look: flat colours, one clean terminator, bold coloured outlines, bigger eyes and expressions."""

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
    disc_background,
    draw_lashes,
    eye_curves,
    flat_albedo,
    grey,
    ink,
    lit_side,
    nose_line,
    pressure,
)
from ..geometry import mix
from ..labels import Label, among
from ..paint import GBuffer, colour, glasses_mask, lens_reflection
from ..parameters import FaceParameters, to_srgb
from ..photo import light_direction
from .look import Look


def adjust(parameters: FaceParameters) -> FaceParameters:
    """Bigger eyes and brows, a smaller nose, a stronger expression."""
    p = dict(parameters)
    p["eye_width"] = p["eye_width"] * 1.18
    p["eye_opening"] = p["eye_opening"] * 1.45 + 0.012
    p["iris_radius"] = p["iris_radius"] * 1.28
    p["eye_spacing"] = p["eye_spacing"] * 1.05
    p["brow_height"] = p["brow_height"] + 0.060
    p["brow_thickness"] = p["brow_thickness"] * 1.25
    p["brow_arch"] = p["brow_arch"] * 1.3
    p["brow_angle"] = p["brow_angle"] * 1.5
    p["nose_width"] = p["nose_width"] * 0.86
    p["nose_length"] = p["nose_length"] * 0.93
    p["nose_projection"] = p["nose_projection"] * 0.85
    p["smile"] = p["smile"] * 1.35
    p["mouth_open"] = p["mouth_open"] * 1.3
    p["mouth_width"] = p["mouth_width"] * 1.05
    p["hair_volume"] = p["hair_volume"] * 1.2
    p["glasses_radius"] = p["glasses_radius"] * 1.16
    return p


def shade(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    label, blur = g["label"], footprint * 1.2
    on_hair = label == int(Label.HAIR)

    # Two tones per colour; hair gets a third, a jagged band of shine.
    lit = lit_side(s, g)
    base = saturate(to_srgb(brighten(flat_albedo(s, g), 1.45)), 1.28)
    picture = mix(base * colour(0.74, 0.60, 0.70, base), base, lit)
    lx, ly, lz = light_direction(s)
    ny = g["normal"][:, 1:2] + 0.25 * lx * g["normal"][:, :1]
    jag = 0.06 * torch.sin(g["hair_flow"] * 21) + 0.04 * torch.sin(g["hair_flow"] * 47 + 1)
    band = smoothstep(0.09, 0.06, (ny - 0.66 + jag).abs()) * on_hair * (1 - 0.75 * s["curl"]) * (1 - s["buzz"])
    picture = mix(picture, 1 - (1 - picture) * 0.72, band * (0.25 + 0.75 * lit))

    # Eyes, drawn again in flat colours.
    e = eye_curves(s, g, blur)
    iris_r = s["iris_radius"]
    iris = saturate(to_srgb(s["iris"] * 1.9), 1.5)
    eye = mix(grey(0.98, base), grey(0.80, base), smoothstep(0.045, 0.02, e.upper - e.height))
    eye = mix(eye, iris * 0.35, disc(e.x, e.y, iris_r, blur))
    lower_half = mix(iris, 1 - (1 - iris) * 0.6, smoothstep(0.2, -0.5, e.y / iris_r))
    eye = mix(eye, lower_half, disc(e.x, e.y, iris_r * 0.80, blur))
    eye = mix(eye, grey(0.03, base), disc(e.x, e.y, iris_r * 0.48, blur))
    eye = mix(eye, grey(1.0, base), disc(e.x - 0.34 * iris_r, e.y - 0.40 * iris_r, iris_r * 0.28, blur))
    picture = mix(picture, eye, e.inside)
    dark = saturate(base * 0.16, 1.3)
    lash = colour(0.07, 0.04, 0.05, base)
    picture = draw_lashes(picture, e, 0.020 + 0.014 * s["feminine"], 0.035 * s["feminine"], lash, 0.6)

    # Outlines take the colour of what they surround; they are heavier below and on the side away from the light.
    outline, inner = contours(g)
    hand = 0.55 + 0.5 * pressure(s, g)
    away = smoothstep(0.5, -0.6, g["normal"][:, :1] * lx + g["normal"][:, 1:2] * ly)
    line = ink(g, outline, 4.6, hand * (0.62 + 0.5 * away))
    line = torch.maximum(line, ink(g, inner, 3.4, hand * (0.55 + 0.4 * away)))
    line = torch.maximum(line, nose_line(s, g, 0.016) * 0.85)
    tint = torch.where(g["hit"] > 0, dark, to_srgb(s["hair"]) * 0.16)
    face = among(label, *FACE, Label.EAR, Label.NECK)
    tint = torch.where(face, to_srgb(s["skin"]) * colour(0.24, 0.15, 0.15, base), tint)

    ground = saturate(to_srgb(s["background"] * 1.5 + 0.05), 1.6)
    spot = saturate(to_srgb(s["background_2"] * 1.9 + 0.14), 1.5)
    picture = torch.where(g["hit"] > 0, picture, disc_background(s, g, ground, spot, 0.86, blur))
    picture = mix(picture, tint, line * 0.95)

    frame, lens = glasses_mask(s, g, footprint)
    picture = mix(picture, grey(1.0, base), 0.10 * lens + 0.35 * lens_reflection(s, g, lens))
    rim = saturate(to_srgb(s["glasses_colour"] + 0.01), 1.4)
    picture = mix(picture, rim, frame)
    return picture.clamp(0, 1), torch.where(frame > 0.5, int(Label.GLASSES), label)


CARTOON = Look("cartoon", "Flat colours, bold outlines and big expressions.", shade, adjust, texture=0.0)

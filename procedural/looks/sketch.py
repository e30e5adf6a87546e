"""The sketch look: pencil on paper. Hatching follows tone and form, hair is drawn strand by strand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.filters import box_blur, luma, smoothstep
from ..camera import Scene
from ..drawing import FACE, contours, disc, eye_curves, ink, picture_plane, pixels, pressure
from ..geometry import bell, mix, value_noise
from ..labels import Label, among
from ..paint import GBuffer, colour
from ..parameters import to_srgb
from ..photo import light_direction, shade_photo
from .look import Look


def pencil_tone(s: Scene, g: GBuffer, label: Tensor, picture: Tensor) -> Tensor:
    """What the pencil has to match, 0 black .. 1 paper.

    Skin and hair are measured against their own colour and then laid into a narrow range, so that very dark ones keep
    their modelling and their features, and still read as darker than light ones.
    """
    bright = luma(picture)
    skin, hair = luma(to_srgb(s["skin"])), luma(to_srgb(s["hair"]))
    on_skin = among(label, *FACE, Label.EAR, Label.NECK)
    fair = smoothstep(0.25, 0.85, skin)
    skin_tone = (bright / (skin + 0.03) * mix(0.84, 0.98, fair)).clamp(0, 1.06) ** 1.5 * mix(0.50, 1.0, fair)
    hair_tone = (bright / (hair + 0.05)).clamp(0, 1.5) * mix(0.34, 0.82, smoothstep(0.05, 0.75, hair))
    tone = torch.where(on_skin, skin_tone, torch.where(label == int(Label.HAIR), hair_tone, 0.35 + 0.6 * bright))
    eye_or_teeth = among(label, Label.EYE, Label.MOUTH)
    tone = torch.where(eye_or_teeth, (bright * 1.15).clamp(0, 1), tone)
    tone = torch.where(label == int(Label.GLASSES), 0.12 + 0.4 * bright, tone)
    return tone.clamp(0, 1)


def hatch(tone: Tensor, across: Tensor, along: Tensor, start: float, full: float, phase: float) -> Tensor:
    """Parallel strokes one cell of `across` apart: none above `start`, wide and dark below `full`."""
    wobble = 0.9 * (value_noise(across * 0.16 + 40, along * 0.16 + 40, phase) - 0.5)
    across = across + wobble
    line = across.floor()
    stripe = (across - line - 0.5).abs() * 2
    amount = smoothstep(start, full, tone)
    # Every stroke has its own pressure, and lifts off now and then.
    hand = value_noise(line * 3.7 + 40, along * 0.14 + line * 0.37 + 40, phase + 1)
    width = amount * (0.42 + 0.55 * hand)
    return smoothstep(width + 0.22, width - 0.22, stripe) * amount * (0.5 + 0.6 * hand)


def _loops(x: Tensor, y: Tensor, cells: float, phase: float) -> Tensor:
    """Small open rings on a jittered lattice: 0 on the pencil line, 1 away from it."""
    x, y = x * cells + 50 + phase * 0.37, y * cells + 50 + phase * 0.53
    i, j = x.floor(), y.floor()
    a = torch.sin(i * 12.7 + j * 31.1 + phase) * 437.58
    a = a - a.floor()
    x, y = x - i - 0.38 - 0.24 * a, y - j - 0.62 + 0.24 * a
    radius = (x * x + y * y).sqrt()
    opening = 0.5 + 0.5 * torch.cos(torch.atan2(y, x) - a * 6.28)
    return (smoothstep(0.03, 0.17, (radius - 0.33).abs()) + 0.8 * smoothstep(0.75, 1.0, opening)).clamp(0, 1)


def background_tone(s: Scene, g: GBuffer) -> Tensor:
    """Paper, hatched beside the head on the side the light comes from, so that the face stands out."""
    lx, _, _ = light_direction(s)
    u, v = picture_plane(s, g)
    beside = smoothstep(2.0, 0.5, u * u + v * v) * smoothstep(-0.6, 0.9, u * torch.sign(lx) * 0.8 - 0.3 * v)
    return 0.985 - 0.55 * beside


def features(s: Scene, g: GBuffer, label: Tensor, footprint: float) -> tuple[Tensor, Tensor, Tensor]:
    """What is drawn rather than toned: the darkness of the open eyes, where they are, and that of lids, lips, brows."""
    on_face = among(label, *FACE)
    e = eye_curves(s, g, footprint * 1.2)
    radius = s["iris_radius"]
    iris = mix(0.45, 0.80, smoothstep(0.65, 0.25, luma(to_srgb(s["iris"]))))
    eye = 0.30 * smoothstep(0.04, 0.0, e.upper - e.height) + 0.04
    eye = mix(eye, 0.85, disc(e.x, e.y, radius, footprint * 1.2))
    eye = mix(eye, iris * 0.75, disc(e.x, e.y, radius * 0.78, footprint * 1.2))
    eye = mix(eye, 0.95, disc(e.x, e.y, radius * 0.46, footprint * 1.2))
    eye = mix(eye, 0.0, disc(e.x - 0.3 * radius, e.y - 0.38 * radius, radius * 0.30, footprint * 1.2))
    lid = bell((e.height - e.upper - 0.006) / 0.020) * smoothstep(1.15, 0.95, e.t.abs()) * e.visible * on_face
    fair = smoothstep(0.25, 0.85, luma(to_srgb(s["skin"])))
    lips = among(label, Label.UPPER_LIP, Label.LOWER_LIP) * mix(0.66, 0.32, fair)
    x, y, _ = g["local"].split(1, 1)
    hairs = value_noise((x.abs() + y) * 38 + 60, (x.abs() - y) * 9 + 60, 5.0)
    brow = (label == int(Label.BROW)) * (0.55 + 0.35 * hairs)
    return eye, e.inside * on_face, torch.maximum(torch.maximum(lips, lid * 0.95), brow)


def outlines(s: Scene, g: GBuffer) -> Tensor:
    """Darkness of the lines round the figure and its parts."""
    outline, inner = contours(g)
    hand = pressure(s, g, 5.0)
    line = ink(g, outline, 2.6, 0.35 + 0.6 * hand) * (0.45 + 0.5 * hand)
    return torch.maximum(line, ink(g, inner, 2.2, 0.3 + 0.6 * hand) * (0.40 + 0.5 * hand))


def shade(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    picture, label = shade_photo(s, g, footprint)
    tone = pencil_tone(s, g, label, picture)
    on_hair, on_figure = label == int(Label.HAIR), label != int(Label.BACKGROUND)
    u, v = picture_plane(s, g)
    tone = torch.where(on_figure, tone, background_tone(s, g))

    # Strokes bend round the form: depth shifts them, as contour lines would.
    bend = torch.where(on_figure, g["depth"], 0.0) * 0.22
    U, V = (u + bend) * 64, (v + bend * 0.3) * 64
    dark = torch.zeros_like(tone)
    skinlike = (~on_hair).float()
    for angle, start, full, strength, phase in (
        (0.86, 0.88, 0.25, 0.62, 1.0),
        (-0.35, 0.58, 0.15, 0.50, 2.0),
        (1.75, 0.38, 0.05, 0.50, 3.0),
    ):
        c, d = math.cos(angle), math.sin(angle)
        strokes = hatch(tone, (U * d - V * c) / 3.3, (U * c + V * d) / 3.3, start, full, phase)
        dark = dark + strength * skinlike * strokes
    # Hair: strands along the flow, curls as loops.
    x, y, z = g["local"].split(1, 1)
    across = g["hair_flow"]
    lock = value_noise(across * 9 + 60, y * 1.1 + 60, 1.0)
    strand = value_noise(across * 32 + 60 + 2 * lock, y * 1.2 + 60, 3.0)
    curls = torch.minimum(_loops(x + 0.3 * z, y, 8.5, 1.0), _loops(x + 0.3 * z, y, 11.0, 4.0))
    strand = mix(strand, 0.05 + 0.95 * curls, s["curl"])
    strand = mix(strand, value_noise(x * 40 + 60, y * 40 + 60, 6.0), s["buzz"])
    hair_dark = smoothstep(-0.25, 0.25, (0.92 - tone) - strand) * 0.78 + 0.16 * (1 - tone)
    dark = torch.where(on_hair, hair_dark, dark)

    # A soft layer of graphite under the strokes; darker accents where tone falls off quickly.
    dark = dark + torch.where(on_figure, 0.20, 0.06) * (1 - tone) ** 1.2
    around = box_blur(box_blur(tone, pixels(g, 2.5)), pixels(g, 2.5))
    accent = smoothstep(0.03, 0.17, around - tone) * (~on_hair) * on_figure
    dark = dark + 0.60 * accent

    # Features are drawn, not toned.
    eye, open_eye, marks = features(s, g, label, footprint)
    line = outlines(s, g)
    dark = torch.maximum(mix(dark, eye, open_eye), marks)
    dark = torch.maximum(dark, line * 0.95) + 0.25 * torch.minimum(dark, line)

    grain = 0.6 * value_noise(u * 60 + 90, v * 60 + 90, 2.0) + 0.4 * value_noise(u * 110 + 90, v * 110 + 90, 4.0)
    dark = (dark * (0.70 + 0.6 * grain)).clamp(0, 0.96)
    paper = colour(0.975, 0.96, 0.925, dark) * (1 - 0.06 * (grain - 0.5))
    return mix(paper, colour(0.13, 0.13, 0.16, dark), dark).clamp(0, 1), label


SKETCH = Look("sketch", "Pencil on paper, hatched along the form.", shade)

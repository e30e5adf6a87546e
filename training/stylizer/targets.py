"""What a picture should become: sketch, impasto and cartoon by rule from a clean picture, in the strokes of `media`.

A rendered face adds what no filter knows: where eyes, lips and outlines are, and how its look draws them. Any other
picture gets what follows from its light and edges alone. Both are made of the same strokes with the same rules, so a
network that learns them all draws what it recognises and follows the picture where it recognises nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...core.filters import box_blur, luma, saturate, smoothstep
from ...models.media.cel import cut_tones, even_areas, ink_lines, inked
from ...models.media.flow import flow, smear
from ...models.media.strokes import lay_strokes

Target = Callable[[Tensor, Tensor, Tensor, "Mapping[str, Tensor] | None"], Tensor]
"""(clean picture [N,3,H,W] 0..1, the network's input -1..1, its fields, layers of a face 0..1) -> 0..1"""

LIGHTNESS = 0.7
"""Exponent of the tones that a pencil lays, 1 as they are: drawings leave more paper. Fitted to true twins."""


def sketch(clean: Tensor, inputs: Tensor, fields: Tensor, layers: Mapping[str, Tensor] | None) -> Tensor:
    """Pencil on paper: hatching follows tone, strokes follow the form, lines follow edges; features are drawn."""
    grey = luma(clean)
    hatching, grain, strands, coherence = fields[:, :3], fields[:, 3:4] / 2 + 0.5, fields[:, 4:5], fields[:, 5:]
    tone = pencil_tone(grey)
    line = pencil_lines(grey)
    if layers is not None:
        figure = layers["figure"]
        tone = torch.lerp(tone, 0.6 * layers["tone"] + 0.4 * tone, figure * layers["known"])
        tone = torch.lerp(tone, layers["tone"], (1 - figure) * layers["plain"])
    tone = tone**LIGHTNESS
    # Where the form has a clear direction, strokes run along it; elsewhere the hand hatches in layers.
    along = smoothstep(0.25, 0.75, coherence / 2 + 0.5)
    dark = torch.zeros_like(tone)
    for k, (start, full, strength) in enumerate(((0.95, 0.25, 0.55), (0.62, 0.15, 0.45), (0.42, 0.05, 0.45))):
        amount = smoothstep(start, full, tone)
        stroke = smoothstep(amount + 0.25, amount - 0.25, (hatching[:, k : k + 1] + 1) / 2)
        dark = dark + strength * amount * stroke
    strand = smoothstep(-0.30, 0.30, 2.2 * (0.72 - tone) - strands) * smoothstep(0.97, 0.55, tone) * 0.65
    dark = torch.lerp(dark, strand, along * 0.85)
    dark = dark + 0.22 * (1 - tone) ** 1.2
    around = box_blur(box_blur(tone, 3), 3)
    dark = dark + 0.45 * smoothstep(0.04, 0.22, around - tone)
    dark = torch.maximum(dark, line * 0.85) + 0.25 * torch.minimum(dark, line)
    if layers is not None:
        known = layers["known"]
        dark = torch.lerp(dark, layers["eye"], (layers["open_eye"] * known).clamp(0, 1) * 0.9)
        dark = torch.maximum(dark, layers["marks"] * known)
        dark = torch.maximum(dark, layers["line"] * 0.95 * known)
    dark = (dark * (0.70 + 0.6 * grain)).clamp(0, 0.96)
    paper = clean.new_tensor([0.975, 0.96, 0.925]).view(1, 3, 1, 1) * (1 - 0.06 * (grain - 0.5))
    return torch.lerp(paper, clean.new_tensor([0.13, 0.13, 0.16]).view(1, 3, 1, 1).expand_as(paper), dark).clamp(0, 1)


def pencil_tone(grey: Tensor) -> Tensor:
    """What the pencil has to match, 0 black .. 1 paper: brightness against the surroundings, so that dark skin and
    clothes keep their modelling and still read as dark."""
    near = box_blur(box_blur(grey, 8), 8)
    wide = box_blur(box_blur(near, 20), 20)
    base = torch.lerp(near, wide, 0.5)
    lift = 0.42 + 0.50 * smoothstep(0.08, 0.75, base)
    return ((grey / (base + 0.05)).clamp(0, 1.35) ** 1.25 * lift).clamp(0, 1)


def pencil_lines(grey: Tensor) -> Tensor:
    """Lines 0..1 on the dark side of edges: a difference of blurs, relative to brightness, smoothed along the edge (the
    coherent lines of Kang et al. 2007)."""
    direction, _ = flow(grey, 2)
    fine = (box_blur(box_blur(grey, 2), 1) - box_blur(grey, 1)) / (box_blur(grey, 3) + 0.12)
    broad = (box_blur(box_blur(grey, 4), 3) - box_blur(box_blur(grey, 1), 1)) / (box_blur(grey, 5) + 0.12)
    edge = smear(torch.maximum(fine, 0.55 * broad), direction, 4.0)
    return smoothstep(0.035, 0.12, edge)


def impasto(clean: Tensor, inputs: Tensor, fields: Tensor, layers: Mapping[str, Tensor] | None) -> Tensor:
    """Thick oil paint: the strokes of the network's input, in the clean picture's colours and a richer palette."""
    source = palette(clean)
    if layers is not None:
        # The ground behind a rendered face is livelier than the studio.
        ground = saturate(source, 1.0 + 0.35 * (1 - layers["figure"]) * layers["plain"])
        source = torch.where(layers["brow"] > 0.5, ground * 0.78, ground)
    canvas, slope, _ = lay_strokes(inputs, source)
    if layers is not None:
        # Features are finished with the finest brush.
        fine = box_blur((layers["features"] * layers["known"]).clamp(0, 1), 1) * 0.85
        canvas, slope = torch.lerp(canvas, source, fine), slope * (1 - 0.7 * fine)
    return (canvas * (1 + 0.28 * slope) + 0.09 * slope.clamp(min=0)).clamp(0, 1)


def palette(picture: Tensor) -> Tensor:
    """Richer colours: warm lights, cool shadows."""
    shadow = smoothstep(0.55, 0.10, luma(picture))
    picture = saturate(((picture - 0.5) * 1.10 + 0.525).clamp(0, 1), 1.22)
    warm, cool = (picture.new_tensor(v).view(1, 3, 1, 1) for v in ((1.04, 0.99, 0.96), (0.97, 0.94, 1.18)))
    return (picture * torch.lerp(warm.expand_as(picture), cool.expand_as(picture), shadow)).clamp(0, 1)


def cartoon(clean: Tensor, inputs: Tensor, fields: Tensor, layers: Mapping[str, Tensor] | None) -> Tensor:
    """Even areas in a few tones, ink along edges; on a rendered face its features and outlines as the look draws them.

    The colours of skin and hair are the picture's everywhere: taken from the look, they made every face the same doll.
    """
    even = even_areas(clean)
    toned, ink = cut_tones(even), ink_lines(clean, even)
    if layers is not None:
        known, drawn = layers["known"], layers["cartoon"]
        figure = layers["figure"] * known
        ink = torch.lerp(ink, torch.maximum(0.35 * ink, layers["line"]), figure)
        ink = torch.maximum(ink, layers["marks"] * known)
        features = box_blur((layers["features"] * known).clamp(0, 1), 1)
        toned, ink = torch.lerp(toned, drawn, 0.85 * features), ink * (1 - 0.7 * features)
    return inked(toned, ink).clamp(0, 1)


TARGETS: Mapping[str, tuple[str, Target]] = {
    "sketch": ("pencil", sketch),
    "impasto": ("paint", impasto),
    "cartoon": ("cel", cartoon),
}
"""The medium of each look that a student can be taught without pictures, and its rule."""

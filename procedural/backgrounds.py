"""Random backgrounds with no face in them: gradients, clouds, patterns, shapes and stretched textures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(generator: torch.Generator) -> float:
    """One number in 0..1."""
    return float(torch.rand((), generator=generator))


def draw_background(
    height: int,
    width: int,
    generator: torch.Generator,
    texture: Callable[[], Tensor] | None = None,
) -> Tensor:
    """A random background [3,height,width] in 0..1.

    Args:
        height: in pixels.
        width: in pixels.
        generator: draws everything.
        texture: gives a small picture [3,h,w] in 0..1 that some backgrounds stretch over the whole picture.
    """
    base = _layer(height, width, generator, texture)
    if uniform(generator) < 0.4:
        other = _layer(height, width, generator, texture)
        blend = _clouds(height, width, generator, 1)
        base = torch.lerp(base, other, ((blend - 0.5) * (2 + 10 * uniform(generator)) + 0.5).clamp(0, 1))
    if uniform(generator) < 0.6:
        base = draw_shapes(base, 1 + int(14 * uniform(generator) ** 2), generator)
    return base


def _colour(generator: torch.Generator) -> Tensor:
    """A random colour [3,1,1] in 0..1; a third of them are the browns and pinks of skin, which mean nothing alone."""
    if uniform(generator) < 0.33:
        tone = 0.25 + 0.7 * uniform(generator)
        return torch.tensor([tone, tone * (0.6 + 0.25 * uniform(generator)), tone * (0.4 + 0.4 * uniform(generator))])[
            :, None, None
        ]
    colour = torch.rand(3, 1, 1, generator=generator)
    return torch.lerp(colour.mean(), colour, 0.3 + 0.7 * uniform(generator))


def _layer(height: int, width: int, generator: torch.Generator, texture: Callable[[], Tensor] | None) -> Tensor:
    """One background layer [3,height,width]."""
    kind = uniform(generator)
    one, other = _colour(generator), _colour(generator)
    if kind < 0.1:
        return one.expand(3, height, width).clone()
    if kind < 0.3:
        return torch.lerp(one, other, _gradient(height, width, generator))
    if kind < 0.5:
        return torch.lerp(one, other, _clouds(height, width, generator, 1))
    if kind < 0.65:
        return _clouds(height, width, generator, 3)
    if kind < 0.8 or texture is None:
        return torch.lerp(one, other, _pattern(height, width, generator))
    patch = texture()
    return F.interpolate(patch[None], size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)


def _grid(height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates x and y [height,width] in longer sides from the middle, turned at random."""
    side = max(height, width)
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5 - height / 2) / side, (torch.arange(width) + 0.5 - width / 2) / side, indexing="ij"
    )
    angle = 2 * math.pi * uniform(generator)
    return math.cos(angle) * x - math.sin(angle) * y, math.sin(angle) * x + math.cos(angle) * y


def _gradient(height: int, width: int, generator: torch.Generator) -> Tensor:
    """[1,height,width] in 0..1, linear or round."""
    x, y = _grid(height, width, generator)
    if uniform(generator) < 0.6:
        return (x + 0.5).clamp(0, 1)[None]
    dx, dy = uniform(generator) - 0.5, uniform(generator) - 0.5
    return (((x - dx).square() + (y - dy).square()).sqrt() * (0.8 + 2 * uniform(generator))).clamp(0, 1)[None]


def _clouds(height: int, width: int, generator: torch.Generator, channels: int) -> Tensor:
    """Noise [channels,height,width] in 0..1 with a random slope of its spectrum."""
    falloff = 0.3 + 0.6 * uniform(generator)
    total = torch.zeros(channels, height, width)
    for octave in range(1, 8):
        cells = 2**octave
        size = (min(cells, height), min(cells, width))
        noise = torch.randn(1, channels, *size, generator=generator)
        total += falloff**octave * F.interpolate(noise, size=(height, width), mode="bilinear", align_corners=False)[0]
    return ((total / (2.5 * total.std().clamp(min=1e-4))) + 0.5).clamp(0, 1)


def _pattern(height: int, width: int, generator: torch.Generator) -> Tensor:
    """[1,height,width] in 0..1: stripes, checks, rings or dots."""
    x, y = _grid(height, width, generator)
    frequency = 3 * 12 ** uniform(generator)
    kind = int(4 * uniform(generator))
    if kind == 0:
        wave = torch.sin(2 * math.pi * frequency * x)
    elif kind == 1:
        wave = torch.sin(2 * math.pi * frequency * x) * torch.sin(2 * math.pi * frequency * y)
    elif kind == 2:
        wave = torch.sin(2 * math.pi * frequency * (x.square() + y.square()).sqrt())
    else:
        wave = 1.2 * torch.cos(2 * math.pi * frequency * x) + 1.2 * torch.cos(2 * math.pi * frequency * y) - 1
    return (wave * (0.5 + 6 * uniform(generator) ** 2) + 0.5).clamp(0, 1)[None]


def draw_shapes(canvas: Tensor, count: int, generator: torch.Generator, largest: float = 0.45) -> Tensor:
    """Draws ellipses, rings, boxes and bars at random places over a canvas [3,H,W] in 0..1; `largest` in its sides."""
    height, width = canvas.shape[1:]
    result = canvas.clone()
    for _ in range(count):
        draw = torch.rand(10, generator=generator).tolist()
        reach = max(3.0, largest * min(height, width) * draw[0] ** 1.5 / 2 + 2)
        wide, high = reach * (0.4 + draw[1]), reach * (0.4 + draw[2])
        x0, y0 = draw[3] * width, draw[4] * height
        bound = math.hypot(wide, high) + 2
        left, right = max(0, int(x0 - bound)), min(width, int(x0 + bound) + 1)
        top, bottom = max(0, int(y0 - bound)), min(height, int(y0 + bound) + 1)
        if right <= left or bottom <= top:
            continue
        angle = math.pi * draw[5]
        dx = (torch.arange(left, right) + 0.5 - x0)[None]
        dy = (torch.arange(top, bottom) + 0.5 - y0)[:, None]
        u = (math.cos(angle) * dx + math.sin(angle) * dy) / wide
        v = (math.cos(angle) * dy - math.sin(angle) * dx) / high
        if draw[6] < 0.55:
            distance = (u.square() + v.square()).sqrt()
        elif draw[6] < 0.8:
            distance = torch.maximum(u.abs(), v.abs())
        else:
            distance = torch.maximum(u.abs(), v.abs() * 5)
        if draw[7] < 0.2:
            distance = 0.8 + 1.5 * (distance - 0.8).abs()
        soft = min(wide, high) * (1 if draw[8] < 0.8 else 0.15)
        alpha = ((1 - distance) * soft + 0.5).clamp(0, 1) * (1 if draw[9] < 0.7 else 0.5)
        part = result[:, top:bottom, left:right]
        paint = _colour(generator).expand_as(part)
        result[:, top:bottom, left:right] = torch.lerp(part, paint, alpha[None])
    return result


def part_of(pictures: Sequence[Tensor], height: int, width: int, generator: torch.Generator) -> Tensor:
    """A part [3,height,width] in 0..1 of one of the pictures, at a random scale and quarter turn."""
    chosen = pictures[int(torch.randint(len(pictures), (1,), generator=generator))]
    chosen = torch.rot90(chosen, int(torch.randint(4, (1,), generator=generator)), (1, 2))
    rows, columns = chosen.shape[1:]
    share = (0.25 + 0.75 * uniform(generator)) * min(rows / height, columns / width)
    size = max(2, int(height * share)), max(2, int(width * share))
    top, left = (int(uniform(generator) * (s - part)) for s, part in zip((rows, columns), size, strict=True))
    part = chosen[:, top : top + size[0], left : left + size[1]].float() / 255
    return F.interpolate(part[None], (height, width), mode="bilinear", antialias=True, align_corners=False)[0]

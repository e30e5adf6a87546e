"""Pictures as cameras, rooms and other people's computers make them: what stands between a render and a photograph.

Two kinds of change. What belongs to the scene (light, shadow, strands of hair, things in the way, what is behind) is
changed before the target is made, so the target shows it. What belongs to the camera (noise, blur, compression, pores)
is changed in the network's input only: it learns to draw as if it were not there. Pictures are [3, H, W] or
[C, H, W] float32 in 0..1; every random number comes from the generator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...core.filters import box_blur, luma
from ...models.media.flow import smear
from ...procedural.backgrounds import draw_background, draw_shapes, uniform


def between(low: float, high: float, generator: torch.Generator) -> float:
    """A number between two."""
    return low + (high - low) * uniform(generator)


def relight(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, contrast, a colour cast, saturation, and light that falls off across the picture."""
    height, width = picture.shape[-2:]
    gamma = math.exp(between(-0.45, 0.45, generator))
    picture = picture.clamp(1e-4, 1) ** gamma
    cast = 1 + 0.22 * (torch.rand(3, 1, 1, generator=generator) - 0.5)
    contrast = between(0.75, 1.25, generator)
    picture = ((picture * cast - 0.5) * contrast + 0.5 + between(-0.06, 0.06, generator)).clamp(0, 1)
    grey = luma(picture[None])[0]
    if uniform(generator) < 0.5:
        picture = torch.lerp(grey.expand_as(picture), picture, between(0.0, 1.4, generator))
    if uniform(generator) < 0.5:
        angle = between(0, 2 * math.pi, generator)
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        ramp = math.cos(angle) * x + math.sin(angle) * y
        picture = picture * (1 + between(0.1, 0.5, generator) * ramp)
    return picture.clamp(0, 1)


def cast_shadow(picture: Tensor, generator: torch.Generator) -> Tensor:
    """A shadow with a soft or sharp edge over part of the picture."""
    height, width = picture.shape[-2:]
    if uniform(generator) < 0.5:
        angle, place = between(0, 2 * math.pi, generator), between(-0.6, 0.6, generator)
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        inside = (math.cos(angle) * x + math.sin(angle) * y - place) * between(2, 30, generator)
        mask = (inside * 0.5 + 0.5).clamp(0, 1)[None]
    else:
        mask = (draw_shapes(torch.zeros(3, height, width), 3, generator, 1.2).amax(0, keepdim=True) > 0.02).float()
        mask = box_blur(mask[None], int(between(1, 10, generator)))[0]
    return picture * (1 - mask * between(0.15, 0.6, generator))


def add_strands(picture: Tensor, hair: Tensor, generator: torch.Generator) -> Tensor:
    """Strands along a slowly turning direction where `hair` `[1, H, W]` is 1, as renders do not have them."""
    height, width = picture.shape[-2:]
    coarse = torch.randn(1, 1, 3, 3, generator=generator) * 0.5 + between(0, math.pi, generator)
    direction = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    noise = torch.randn(1, 1, height, width, generator=generator)
    noise = box_blur(noise, 1) * 2 if uniform(generator) < 0.5 else noise
    strands = smear(noise, direction, 9.0, 3.0)[0]
    return (picture * (1 + between(0.3, 1.2, generator) * hair * strands)).clamp(0, 1)


def pores(picture: Tensor, figure: Tensor, generator: torch.Generator) -> Tensor:
    """Skin, cloth and hair are never even: fine spots of light and dark, and slow mottling, on the figure."""
    height, width = picture.shape[-2:]
    fine = torch.randn(1, 1, height, width, generator=generator)
    fine = box_blur(fine, 1) * 2.5 if uniform(generator) < 0.6 else fine
    cells = max(2, int(height / between(6, 25, generator)))
    slow = torch.randn(1, 3, cells, cells, generator=generator)
    slow = F.interpolate(slow, size=(height, width), mode="bilinear", align_corners=False)[0]
    change = between(0, 0.05, generator) * fine[0] + between(0, 0.04, generator) * slow
    return (picture + figure * change).clamp(0, 1)


def occlude(picture: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The picture with something before it (shapes, a hat's brim, fingers), and where that is `[1, H, W]`, 0 or 1."""
    height, width = picture.shape[-2:]
    if uniform(generator) < 0.5:
        result = draw_shapes(picture, 1 + int(2 * uniform(generator)), generator, 0.6)
    else:
        # A hand, roughly: four or five long ellipses of one skin tone side by side.
        tone = between(0.25, 0.9, generator)
        skin = torch.tensor([tone, tone * 0.75, tone * 0.6]).view(3, 1, 1)
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        angle, thick = between(0, math.pi, generator), between(0.02, 0.06, generator) * width
        long, x0, y0 = thick * between(3, 5, generator), between(0, width, generator), between(0, height, generator)
        c, s = math.cos(angle), math.sin(angle)
        result = picture
        for finger in range(4 + int(2 * uniform(generator))):
            fx, fy = x0 + finger * 2.1 * thick * -s, y0 + finger * 2.1 * thick * c
            along, across = ((x - fx) * c + (y - fy) * s) / long, ((y - fy) * c - (x - fx) * s) / thick
            reach = 1 - (along * along + across * across)
            cover = (reach * thick * 0.5 + 0.5).clamp(0, 1)[None]
            result = torch.lerp(result, skin * (0.55 + 0.45 * reach.clamp(0, 1)[None]), cover)
    return result, ((result - picture).abs().amax(0, keepdim=True) > 0.004).float()


def place_background(height: int, width: int, pictures: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """What is behind a face: part of one of the pictures, or something drawn; often out of focus."""
    if pictures and uniform(generator) < 0.5:
        ground = cut(pictures, height, width, generator)
    else:
        ground = draw_background(height, width, generator)
    if uniform(generator) < 0.5:
        ground = box_blur(box_blur(ground[None], int(between(1, 8, generator))), 2)[0]
    return ground


def cut(pictures: Sequence[Tensor], height: int, width: int, generator: torch.Generator) -> Tensor:
    """Part of a random picture (uint8 [3,H,W]) at a random scale, perhaps mirrored and with its colours exchanged."""
    chosen = pictures[int(torch.randint(len(pictures), (1,), generator=generator))]
    rows, columns = chosen.shape[-2:]
    largest = min(rows / height, columns / width)
    scale = min(largest, 0.6 * 4 ** uniform(generator))
    tall, wide = min(rows, int(height * scale)), min(columns, int(width * scale))
    top = int(torch.randint(rows - tall + 1, (1,), generator=generator))
    left = int(torch.randint(columns - wide + 1, (1,), generator=generator))
    part = chosen[None, :, top : top + tall, left : left + wide].float() / 255
    part = F.interpolate(part, size=(height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    if uniform(generator) < 0.5:
        part = part.flip(2)
    if uniform(generator) < 0.3:
        part = part[torch.randperm(3, generator=generator)]
    return part


def degrade(picture: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """What a cheap camera and a messenger make of the picture: blur, noise, lost resolution, compression."""
    height, width = picture.shape[-2:]
    draw = torch.rand(6, generator=generator).tolist()
    if draw[0] < 0.35 * amount:
        radius = between(0.4, 1.5, generator)
        soft = box_blur(picture[None], 1)[0]
        soft = box_blur(soft[None], 1)[0] if radius > 1 else soft
        picture = torch.lerp(picture, soft, min(1.0, radius))
    if draw[1] < 0.25 * amount:
        small = between(0.45, 0.9, generator)
        size = (max(8, int(height * small)), max(8, int(width * small)))
        picture = F.interpolate(picture[None], size=size, mode="bilinear", antialias=True, align_corners=False)
        picture = F.interpolate(picture, size=(height, width), mode="bicubic", align_corners=False)[0]
    if draw[2] < 0.6 * amount:
        strength = 0.06 * amount * uniform(generator) ** 2
        channels = 3 if uniform(generator) < 0.6 else 1
        noise = torch.randn(channels, height, width, generator=generator)
        noise = box_blur(noise[None], 1)[0] * 2 if draw[3] < 0.3 else noise
        picture = picture + strength * noise
    if draw[4] < 0.5 * amount:
        picture = compress(picture.clamp(0, 1), between(0.01, 0.09, generator))
    if draw[5] < 0.2 * amount:
        sharp = picture + between(0.3, 1.2, generator) * (picture - box_blur(picture[None], 1)[0])
        picture = sharp
    return picture.clamp(0, 1)


def compress(picture: Tensor, quantum: float) -> Tensor:
    """Rounds the cosine coefficients of 8x8 blocks as JPEG does, finer ones and colours more coarsely."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture[None], (0, -width % 8, 0, -height % 8), mode="replicate")[0]
    grey = luma(padded[None])[0]
    planes = torch.cat([grey, padded[:1] - grey, padded[2:] - grey])
    k = torch.arange(8.0)
    basis = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * torch.where(k[:, None] == 0, 0.125**0.5, 0.5)
    blocks = rearrange(planes, "c (rows h) (columns w) -> c rows columns h w", h=8, w=8)
    waves = basis @ blocks @ basis.T
    step = quantum * (1 + k[:, None] + k[None]) * torch.tensor([1.0, 2.0, 2.0]).view(3, 1, 1, 1, 1)
    waves = (waves / step).round() * step
    planes = rearrange(basis.T @ waves @ basis, "c rows columns h w -> c (rows h) (columns w)")
    grey, red, blue = planes[:1], planes[:1] + planes[1:2], planes[:1] + planes[2:]
    green = (grey - 0.299 * red - 0.114 * blue) / 0.587
    return torch.cat([red, green, blue])[:, :height, :width]

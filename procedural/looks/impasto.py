"""The impasto look: thick oil paint. Oriented strokes on jittered lattices, coarse to fine, lit as a relief."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import box_blur, dilate, luma, saturate, shift, smoothstep
from ..camera import Scene
from ..drawing import FACE, picture_plane, pixels
from ..geometry import mix, value_noise
from ..labels import Label, among
from ..paint import GBuffer, colour
from ..parameters import to_srgb
from ..photo import shade_photo
from .look import Look


class Layer(NamedTuple):
    """One layer of strokes; lengths in pixels of a 256-pixel picture."""

    cell: int
    length: float
    width: float
    jitter: float
    phase: float


_LAYERS = (
    Layer(18, 25.0, 10.0, 0.16, 1.0),
    Layer(12, 16.0, 6.0, 0.14, 2.0),
    Layer(11, 14.0, 5.0, 0.12, 3.0),
    Layer(5, 6.5, 2.5, 0.06, 4.0),
)


def _double_angle(gx: Tensor, gy: Tensor) -> Tensor:
    """Direction along the edge of a gradient, as (cos 2a, sin 2a) times the squared gradient: can be averaged."""
    return torch.cat([gy * gy - gx * gx, -2 * gx * gy], 1)


def _unit(d: Tensor) -> Tensor:
    return d / (d.square().sum(1, keepdim=True).sqrt() + 1e-6)


def stroke_angle(s: Scene, g: GBuffer, label: Tensor, picture: Tensor) -> Tensor:
    """Direction of the brush `[B, 1, h, w]` (radians, y down) at a quarter of the resolution: round the form on skin,
    along the strands in hair, along strong edges everywhere, in slow swirls on the background."""

    def quarter(t: Tensor) -> Tensor:
        return F.avg_pool2d(t, 4)

    normal = quarter(g["normal"] * g["hit"])
    form = _double_angle(normal[:, :1], -normal[:, 1:2])
    flow = g["hair_flow"][..., ::4, ::4]
    flow_x, flow_y = flow - shift(flow, 1, 0), flow - shift(flow, 0, 1)
    strands = _unit(_double_angle(flow_x, flow_y))
    strands = _unit(box_blur(strands, 1))
    grey = box_blur(quarter(luma(picture)), 1)
    edges = _double_angle(shift(grey, -1, 0) - shift(grey, 1, 0), shift(grey, 0, -1) - shift(grey, 0, 1))
    edges = box_blur(edges, 1)
    u, v = picture_plane(s, g)
    u, v = quarter(u), quarter(v)
    swirl = 3.0 * value_noise(u * 1.4 + 20, v * 1.4 + 20, 3.0) + torch.atan2(v, u) * 1.0 + math.pi / 2
    swirls = torch.cat([torch.cos(2 * swirl), -torch.sin(2 * swirl)], 1)
    hair = quarter((label == int(Label.HAIR)).float())
    figure = quarter(g["hit"])
    local_x, local_y = g["local"][:, :1, ::4, ::4], g["local"][:, 1:2, ::4, ::4] + 0.2
    form = form + 0.10 * _unit(_double_angle(local_x, -local_y))
    total = 0.7 * form * figure * (1 - hair) + 1.2 * strands * hair * (1 - 0.5 * s["curl"])
    total = total + 0.5 * swirls * (1 - figure) + 45.0 * edges * (1 - 0.6 * hair)
    total = box_blur(_unit(total) * total.square().sum(1, keepdim=True).sqrt().clamp(max=1.5), 1)
    return 0.5 * torch.atan2(total[:, 1:], total[:, :1])


def _hash(i: Tensor, j: Tensor, phase: float) -> Tensor:
    v = torch.sin(i * 12.9898 + j * 78.233 + phase * 37.7) * 4375.85
    return v - v.floor()


def paint_layer(
    canvas: Tensor,
    height: Tensor,
    colours: Tensor,
    angle: Tensor,
    region: Tensor,
    need: Tensor,
    free: Tensor,
    layer: Layer,
) -> tuple[Tensor, Tensor]:
    """Lays one stroke per lattice cell over the canvas `[B, 3, S, S]` and its relief `[B, 1, S, S]`.

    Args:
        colours: what the strokes pick their colour from.
        angle: from `stroke_angle`.
        region: areas that strokes hardly cross, `[B, 1, S, S]`.
        need: where strokes of this layer are wanted, 0..1.
        free: how much strokes may differ from what they depict, 0..1.
    """
    size = canvas.shape[-1]
    cell = max(2, round(layer.cell * size / 256))
    scale = cell / layer.cell
    count = -(-size // cell)
    index = torch.arange(-1, count + 1, device=canvas.device, dtype=torch.float32)
    j, i = torch.meshgrid(index, index, indexing="ij")
    seed_x = (i + 0.5 + 0.7 * (_hash(i, j, layer.phase) - 0.5)) * cell
    seed_y = (j + 0.5 + 0.7 * (_hash(i, j, layer.phase + 0.31) - 0.5)) * cell
    order, tilt = _hash(i, j, layer.phase + 0.57), _hash(i, j, layer.phase + 0.83) - 0.5
    px, py = seed_x.long().clamp(0, size - 1), seed_y.long().clamp(0, size - 1)
    quarter_x, quarter_y = (px // 4).clamp(max=angle.shape[-1] - 1), (py // 4).clamp(max=angle.shape[-2] - 1)
    loose = free[:, :, py, px]
    turn = angle[:, :, quarter_y, quarter_x] + 0.45 * tilt * loose
    tint = colours[:, :, py, px]
    hues = torch.stack([order - 0.5, tilt, _hash(i, j, layer.phase + 0.11) - 0.5])[None]
    vary = layer.jitter * loose
    tint = (tint * (1 + 2 * vary * (order - 0.5)) + 0.5 * vary * hues).clamp(0, 1)
    wanted = need[:, :, py, px] > order * 0.9 + 0.05
    seeds = torch.cat(
        [
            seed_x.expand_as(turn),
            seed_y.expand_as(turn),
            turn.cos(),
            turn.sin(),
            torch.where(wanted, order + 0.01, -1.0),
            region[:, :, py, px].to(turn.dtype),
            tint,
        ],
        1,
    )

    batch = canvas.shape[0]
    padded = count * cell
    centres = torch.arange(padded, device=canvas.device).view(count, cell) + 0.5
    xs, ys = centres.view(1, 1, 1, count, cell), centres.view(1, count, cell, 1, 1)
    mine = F.pad(region.to(turn.dtype), (0, padded - size, 0, padded - size), mode="replicate")
    mine = mine.view(batch, count, cell, count, cell)
    best = torch.full_like(mine, 0.0)
    top = torch.zeros_like(mine)
    red, green, blue = torch.zeros_like(mine), torch.zeros_like(mine), torch.zeros_like(mine)
    for dy in range(3):
        for dx in range(3):
            part = seeds[:, :, dy : dy + count, dx : dx + count, None].unsqueeze(3)  # [B, 9, count, 1, count, 1]
            sx, sy, c, d, key, theirs, r, g_, b = part.unbind(1)
            ex, ey = xs - sx, ys - sy
            along = (ex * c + ey * d) / (layer.length * scale)
            across = (ey * c - ex * d) / (layer.width * scale)
            bristle = torch.sin(across * layer.width * 0.9 + key * 40 + 0.8 * along)
            far = along * along + across * across + 0.10 * bristle * along.abs()
            far = far * torch.where(mine == theirs, 1.0, 5.0)
            over = (far < 1) & (key > best)
            best = torch.where(over, key, best)
            ridge = (1 - across * across).clamp(min=0) * (0.76 + 0.24 * bristle) + 0.40 * along.clamp(min=0)
            top = torch.where(over, ridge, top)
            shade_ = 1 + 0.05 * bristle
            red, green = torch.where(over, r * shade_, red), torch.where(over, g_ * shade_, green)
            blue = torch.where(over, b * shade_, blue)

    def picture(t: Tensor) -> Tensor:
        return t.reshape(batch, 1, padded, padded)[..., :size, :size]

    covered = picture((best > 0).to(turn.dtype))
    laid = torch.cat([picture(red), picture(green), picture(blue)], 1)
    canvas = mix(canvas, laid, covered * 0.94)
    return canvas, mix(height, picture(top) * min(1.0, layer.width / 6 + 0.3), covered)


def palette(s: Scene, g: GBuffer, picture: Tensor) -> Tensor:
    """Richer colours: warm lights, cool shadows, a livelier ground."""
    bright = luma(picture)
    picture = saturate(((picture - 0.5) * 1.12 + 0.53).clamp(0, 1), 1.16)
    shadow = smoothstep(0.55, 0.10, bright)
    picture = picture * mix(colour(1.04, 0.99, 0.96, picture), colour(0.95, 0.92, 1.22, picture), shadow)
    u, v = picture_plane(s, g)
    t = value_noise(u * 1.8 + 30, v * 1.8 + 30, 9.0) + 0.25 * v
    one, other = to_srgb(s["background"] * 1.1), to_srgb(s["background_2"] * 1.2)
    ground = saturate(mix(one, other, smoothstep(0.2, 0.8, t)), 1.6)
    return torch.where(g["hit"] > 0, picture, ground + 0.06 * (t - 0.5)).clamp(0, 1)


def shade(s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
    photo, label = shade_photo(s, g, footprint)
    source = palette(s, g, photo)
    source = torch.where(label == int(Label.BROW), source * 0.78, source)
    region = torch.where(label == int(Label.NOSE), int(Label.SKIN), label)
    angle = stroke_angle(s, g, label, source)
    features = among(label, Label.EYE, Label.BROW, Label.UPPER_LIP, Label.LOWER_LIP, Label.MOUTH, Label.GLASSES).float()
    near = dilate(features, pixels(g, 3))
    figure = (label != int(Label.BACKGROUND)).float()
    # The ground coat, then strokes: everywhere, on the figure, and small ones where there is something to tell.
    canvas = box_blur(source, pixels(g, 6))
    height = torch.zeros_like(canvas[:, :1])
    soft = (box_blur(source, pixels(g, 3)), box_blur(source, pixels(g, 2)), source)
    detail = smoothstep(0.02, 0.10, (luma(soft[1]) - luma(soft[0])).abs())
    everywhere = torch.ones_like(height)
    skin = among(label, *FACE, Label.EAR, Label.NECK).float()
    free = 1 - 0.55 * skin
    needs = (everywhere, 0.25 + 0.75 * figure, 0.1 + 0.6 * figure, torch.maximum(near, detail * figure))
    for layer, colours, need in zip(_LAYERS, (soft[0], soft[1], soft[1], soft[2]), needs, strict=True):
        canvas, height = paint_layer(canvas, height, colours, angle, region, need, free, layer)
    # Features are finished with the finest brush.
    fine = box_blur(dilate(features, pixels(g, 1.5)), pixels(g, 1.5)) * 0.88
    canvas = mix(canvas, source, fine)
    height = height * (1 - 0.7 * fine) * (1 - 0.35 * box_blur(skin, pixels(g, 2)))
    # Light from the upper left rakes over the relief.
    relief = box_blur(height, pixels(g, 0.5))
    slope = (relief - shift(relief, 1, 1)) * 0.6 + (relief - shift(relief, 2, 2)) * 0.4
    picture = canvas * (1 + 0.30 * slope) + 0.10 * slope.clamp(min=0)
    return picture.clamp(0, 1), label


IMPASTO = Look("impasto", "Thick oil paint in visible strokes.", shade)

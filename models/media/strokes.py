"""Strokes laid out by rule over a picture: of a pencil, of brushes."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.filters import box_blur, luma, smoothstep
from .flow import Origin, flow, hash_noise, smear, value_noise

HATCH = ((0.86, 1.0), (-0.35, 2.0), (1.75, 3.0))
"""Angle in radians and seed of the three layers of pencil strokes, from the first laid to the last."""
HATCH_PERIOD = 5.0
"""Distance between two pencil strokes in pixels."""
BRUSHES = ((16, 22.0, 8.0), (12, 15.0, 5.0), (6, 8.0, 2.6), (4, 5.0, 1.5), (3, 3.2, 1.0))
"""Lattice, half length and half width of the brushes in pixels, coarse to fine; lattices divide `PERIOD`."""
LEAST = (1.0, 0.2, 0.0, 0.0, 0.0)
"""Share of each brush's strokes that are laid wherever."""
FINENESS = (0.0, 0.0, 0.35, 0.8, 1.0)
"""How fine each brush counts as."""
TOLERATED, MISSED = 0.06, 0.15
"""Mean difference of a channel (-1..1) between the guide and what is painted: below the first no finer stroke is laid,
from the second on all are."""


def pencil(picture: Tensor, origin: Origin = (0, 0)) -> Tensor:
    """Three layers of hatching (below 0 on a stroke's middle), the grain of the paper, strokes along the form, and how
    clearly the form has a direction (-1..1)."""
    height, width = picture.shape[-2:]
    sheet = paper(height, width, origin).to(picture)
    direction, coherence = flow(luma(picture), 3)
    noise = sheet[:, 4:].expand(len(picture), -1, -1, -1)
    strands = smear(noise, direction, 9.0) * 3.2
    return torch.cat([sheet[:, :4].expand(len(picture), -1, -1, -1), strands, coherence * 2 - 1], 1)


@lru_cache(maxsize=8)
def paper(height: int, width: int, origin: Origin = (0, 0)) -> Tensor:
    """A sheet `[1, 5, height, width]` that depends on the place alone: three layers of hatching, grain, white noise.

    A layer of hatching is 2 * (distance from the stroke's middle / its half width) - 1 for the darkest tone: a tone
    that asks for strokes half as wide is drawn where it is below 0.
    """
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32) + origin[1],
        torch.arange(width, dtype=torch.float32) + origin[0],
        indexing="ij",
    )
    layers = []
    for angle, seed in HATCH:
        c, d = math.cos(angle), math.sin(angle)
        across, along = (x * d + y * c) / HATCH_PERIOD, (x * c - y * d) / HATCH_PERIOD
        across = across + 0.9 * (value_noise(across * 0.16, along * 0.16, seed) - 0.5)
        line = across.floor()
        middle = (across - line - 0.5).abs() * 2
        hand = value_noise(line * 3.7, along * 0.14 + line * 0.37, seed + 10)
        layers.append((2 * middle / (0.45 + 0.6 * hand) - 1).clamp(max=2.5))
    grain = 0.6 * value_noise(x * 0.42, y * 0.42, 20) + 0.4 * value_noise(x * 0.83, y * 0.83, 21)
    white = hash_noise(x.long(), y.long(), 22) * 2 - 1
    return torch.stack([*layers, grain * 2 - 1, white])[None]


def paint(picture: Tensor, origin: Origin = (0, 0)) -> Tensor:
    """The picture in brush strokes: their colours (3, -1..1), the light on their relief, and how fine they are."""
    canvas, slope, fine = lay_strokes(picture, picture, origin)
    return torch.cat([canvas, slope, fine * 2 - 1], 1)


def lay_strokes(guide: Tensor, colours: Tensor, origin: Origin = (0, 0)) -> tuple[Tensor, Tensor, Tensor]:
    """Strokes that follow the guide and take the colours, from coarse to fine.

    A finer brush paints only where the strokes so far miss what it could show of the guide (Hertzmann, SIGGRAPH 1998),
    so that a face keeps its eyes at any size and even ground its broad strokes.

    Args:
        guide: `[N, 3, H, W]` in -1..1; where strokes lie, how they turn and how fine they are.
        colours: `[N, 3, H, W]`; what they are dipped in.
        origin: of this part in the picture.

    Returns:
        The canvas `[N, 3, H, W]`, the light raking over the relief `[N, 1, H, W]` about -1..1, and how fine the brush
        was `[N, 1, H, W]`, 0..1.
    """
    grey = luma(guide)
    broad, narrow = (flow(grey, radius, swirl=0.02, origin=origin)[0] for radius in (5, 2))
    canvas, height, fine = box_blur(colours, 5), torch.zeros_like(grey), torch.zeros_like(grey)
    shown = canvas if guide is colours else box_blur(guide, 5)
    for index, (brush, least) in enumerate(zip(BRUSHES, LEAST, strict=True)):
        softness = len(BRUSHES) - 1 - index
        ideal = box_blur(guide, softness)
        missing = box_blur((ideal - shown).abs().mean(1, keepdim=True), max(1, brush[0] // 3))
        need = least + (1 - least) * smoothstep(TOLERATED, MISSED, missing)
        direction = broad if index < 3 else narrow
        laid = _lay(canvas, height, box_blur(colours, softness), direction, need, brush, index, origin)
        shown = laid[0] if guide is colours else _lay(shown, height, ideal, direction, need, brush, index, origin)[0]
        canvas, height, covered = laid
        fine = torch.maximum(fine, covered * FINENESS[index])
    shifted = F.pad(height, (2, 0, 2, 0), mode="replicate")
    slope = 0.6 * (height - shifted[..., 1:-1, 1:-1]) + 0.4 * (height - shifted[..., :-2, :-2])
    return canvas, slope * (1 - 0.6 * fine), fine


def _lay(
    canvas: Tensor,
    height: Tensor,
    dip: Tensor,
    direction: Tensor,
    need: Tensor,
    brush: tuple[int, float, float],
    seed: int,
    origin: Origin,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer of strokes, a stroke for each cell of a jittered lattice; canvas, relief and what it covered."""
    cell, length, breadth = brush
    batch, _, rows, columns = canvas.shape
    down, across_count = -(-rows // cell), -(-columns // cell)
    j, i = torch.meshgrid(torch.arange(-1, down + 1), torch.arange(-1, across_count + 1), indexing="ij")
    gi, gj = i + origin[0] // cell, j + origin[1] // cell
    rand = [hash_noise(gi, gj, 40 + 10 * seed + k) for k in range(5)]
    x = (i + 0.5 + 0.7 * (rand[0] - 0.5)) * cell
    y = (j + 0.5 + 0.7 * (rand[1] - 0.5)) * cell
    device = canvas.device
    px, py = x.long().clamp(0, columns - 1).to(device), y.long().clamp(0, rows - 1).to(device)
    order, tilt, tone = (r.to(canvas) for r in rand[2:])
    turn = direction[:, :, py, px] + 0.35 * (tilt - 0.5)
    vary = 0.10 * (tone - 0.5)
    tint = dip[:, :, py, px] + vary
    wanted = need[:, :, py, px] > order * 0.9 + 0.05
    key = torch.where(wanted, order + 0.01, -1.0)
    seeds = torch.cat(
        [x.to(canvas).expand_as(turn), y.to(canvas).expand_as(turn), turn.cos(), turn.sin(), key, tint], 1
    )

    tall, wide = down * cell, across_count * cell
    ys = (torch.arange(tall, device=device).view(1, down, cell, 1, 1)) + 0.5
    xs = (torch.arange(wide, device=device).view(1, 1, 1, across_count, cell)) + 0.5

    def across(x: Tensor, y: Tensor, c: Tensor, d: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where pixels lie along a stroke and beside its middle, in its half length and width; its hairs; its order."""
        ex, ey = xs - x, ys - y
        along, side = (ex * c + ey * d).div_(length), (ey * c - ex * d).div_(breadth)
        return along, side, (side * (breadth * 0.9)).add_(key * 40).add_(0.8 * along).sin_(), key

    best = torch.zeros(batch, down, cell, across_count, cell, device=device)
    chosen = torch.zeros(batch, down, cell, across_count, cell, dtype=torch.long, device=device)
    for number in range(9):
        dy, dx = divmod(number, 3)
        part = seeds[:, :5, dy : dy + down, dx : dx + across_count, None].unsqueeze(3)
        along, side, bristle, key = across(*part.unbind(1))
        far = (along * along).add_(side.square_()).add_(bristle.mul_(0.10).mul_(along.abs_()))
        over = (far < 1) & (key > best)
        best, chosen = torch.where(over, key, best), torch.where(over, number, chosen)
    # Which of its nine strokes covers a pixel is known: the stroke's values are looked up once.
    row = torch.arange(down, device=device).view(1, down, 1, 1, 1) + chosen // 3
    place = row * (across_count + 2) + torch.arange(across_count, device=device).view(1, 1, 1, -1, 1) + chosen % 3
    found = seeds.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, seeds.shape[1], -1))
    *stroke, red, green, blue = found.unflatten(2, best.shape[1:]).unbind(1)
    along, side, bristle, _ = across(*stroke)
    top = (1 - side * side).clamp(min=0) * (0.76 + 0.24 * bristle) + 0.40 * along.clamp(min=0)
    red, green, blue = (colour + 0.04 * bristle for colour in (red, green, blue))

    def picture(t: Tensor) -> Tensor:
        return t.reshape(batch, 1, tall, wide)[..., :rows, :columns]

    covered = picture((best > 0).to(canvas))
    laid = torch.cat([picture(red), picture(green), picture(blue)], 1)
    canvas = torch.lerp(canvas, laid, covered * 0.95)
    return canvas, torch.lerp(height, picture(top) * min(1.0, breadth / 6 + 0.3), covered), covered

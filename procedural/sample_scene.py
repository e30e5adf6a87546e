"""The sample picture that ships with the pack: two rendered people leaning together outdoors at golden hour."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from PIL import Image
from torch import Tensor

from ..faces.warp import transform_points
from .camera import make_scene
from .labels import Label
from .landmarks import five_points, landmarks_68
from .looks import LOOKS
from .parameters import FaceParameters, sample_parameters, select
from .renderer import Renderer
from .scene import ComposedScene, composite, face_box

_WIDE = 1.45
"""How much more than the FFHQ crop is rendered, so that hair and shoulders are whole."""
_BODY = 1.2
"""How far the shoulders are continued downwards, in heights of the render."""


def sample_scene(seed: int = 11, width: int = 960, height: int = 640, supersample: int = 2) -> ComposedScene:
    """Two tilted people of different size before an out-of-focus garden.

    Args:
        seed: draws the background, and with 11 the two people the sample picture shows.
        width: in pixels.
        height: in pixels.
        supersample: samples per pixel along each axis.

    Returns:
        The picture with the boxes and landmarks of the faces.
    """
    generator = torch.Generator().manual_seed(seed)
    people = sample_parameters(40, generator)
    chosen = [_posed(select(people, [index]), **pose) for index, pose in _PEOPLE]
    canvas = _garden(height, width, generator)
    renderer = Renderer()
    boxes, landmarks = [], []
    for person, (x, y, eye_distance, tilt) in zip(chosen, _PLACES, strict=True):
        # In an FFHQ crop the eyes are about a quarter of the side apart.
        side = eye_distance * height * 4 * _WIDE
        size = 4 * round(side / 4)
        picture, alpha, points = _portrait(renderer, person, size, supersample)
        angle = math.radians(tilt)
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        eyes = points[0, 36:48].mean(0)
        shift = torch.tensor([x * width, y * height]) - turn @ eyes
        matrix = torch.cat([turn, shift[:, None]], dim=1)
        # A soft dark rim separates the figure from what is behind it, as an out-of-focus shadow would.
        rim = height // 50
        shadow = F.pad(alpha[None, None], (3 * rim,) * 4)
        shadow = 0.3 * gaussian_blur2d(shadow, (4 * rim + 1, 4 * rim + 1), (float(rim), float(rim)))[0, 0]
        around = torch.cat([turn, (shift - turn @ torch.full((2,), 3.0 * rim))[:, None]], dim=1)
        canvas = composite(canvas, torch.zeros(3, *shadow.shape), shadow, around)
        canvas = composite(canvas, picture, alpha, matrix)
        placed = transform_points(matrix[None], points)
        boxes.append(face_box(placed)[0])
        landmarks.append(five_points(placed)[0])
    canvas = _graded(canvas)
    return ComposedScene(canvas * 2 - 1, torch.stack(boxes), torch.stack(landmarks))


def write_sample(path: Path, width: int = 816) -> None:
    """Renders the sample picture and writes it as a PNG `width` pixels wide (under 300 kB), as it ships."""
    picture = to_pil_image(sample_scene().image)
    height = round(width * picture.height / picture.width)
    picture.resize((width, height), Image.Resampling.LANCZOS).save(path, format="PNG", optimize=True)


def to_pil_image(picture: Tensor) -> Image.Image:
    """[3,H,W] in -1..1 as 8-bit RGB."""
    pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())


_PEOPLE: tuple[tuple[int, dict[str, float]], ...] = (
    (5, {"smile": 0.9, "yaw": 0.22}),
    (28, {"smile": 0.8, "yaw": -0.12}),
)
"""Who of the forty people is in the picture, and what is changed about them."""
_PLACES = ((0.3, 0.5, 0.085, 11.0), (0.66, 0.42, 0.125, -9.0))
"""Middle of the eyes in parts of the picture, eye distance in picture heights, and tilt in degrees, of each."""


def _posed(person: FaceParameters, **changes: float) -> FaceParameters:
    """The person with some parameters set."""
    return {name: torch.full_like(v, changes[name]) if name in changes else v for name, v in person.items()}


@torch.no_grad()
def _portrait(renderer: Renderer, person: FaceParameters, size: int, supersample: int) -> tuple[Tensor, Tensor, Tensor]:
    """Picture [3,h,size] and figure [h,size] in 0..1, shoulders continued downwards, and landmarks [1,68,2]."""
    look = LOOKS["photo"]
    scene = make_scene(look.adjust(person))
    scene["half_size"] = scene["half_size"] * _WIDE
    fine = size * supersample
    buffer = renderer.gbuffer(scene, fine, look.texture)
    picture, labels = look.shade(scene, buffer, 2.2 / fine)
    figure = (labels != int(Label.BACKGROUND)).float()
    cloth = (labels == int(Label.CLOTH)).float()
    # Colour only where the figure is, so that averaging brings no backdrop into its outline.
    weight = F.avg_pool2d(figure, supersample)
    colour = F.avg_pool2d(picture * figure, supersample) / weight.clamp(min=1e-3)
    cloth = F.avg_pool2d(cloth, supersample)
    colour, weight = _continue_body(colour[0], weight[0, 0], cloth[0, 0])
    return colour, weight, landmarks_68(scene, size)


def _continue_body(colour: Tensor, alpha: Tensor, cloth: Tensor) -> tuple[Tensor, Tensor]:
    """Below the widest line of the shoulders, the cloth of that line is drawn downwards as a torso."""
    size = alpha.shape[0]
    widths = (cloth > 0.5).sum(1)
    line = int(widths.argmax())
    columns = (cloth[line] > 0.5).nonzero().flatten()
    extra = round(_BODY * size)
    colour = F.pad(colour, (0, 0, 0, extra))
    alpha = F.pad(alpha, (0, 0, 0, extra))
    if len(columns) < 4:
        return colour, alpha
    left, right = int(columns[0]), int(columns[-1]) + 1
    known = cloth[line, left:right] > 0.5
    shade = colour[:, line, left:right]
    mean = shade[:, known].mean(1, keepdim=True)
    shade = torch.where(known, shade, mean)
    reach = max(3, (right - left) // 8 * 2 + 1)
    shade = F.avg_pool1d(F.pad(shade[None], (reach // 2, reach // 2), mode="replicate"), reach, 1)[0]
    below = torch.arange(size + extra - line, dtype=torch.float32) / size
    rows = slice(line, None)
    x = (torch.arange(left, right, dtype=torch.float32) + 0.5 - left) / (right - left) * 2 - 1
    # Arms hang a little outside the ribs: a soft dark fold on either side, and less light further down.
    fold = 1 - 0.3 * torch.exp(-(((x.abs() - 0.72) / 0.05) ** 2))[None] * (below * 4).clamp(0, 1)[:, None]
    light = (1 - 0.35 * (below * 1.2).clamp(0, 1))[:, None] * fold
    colour[:, rows, left:right] = shade[:, None, :] * light[None]
    alpha[rows] = 0
    edge = ((1 - x.abs()) * (right - left) / 2).clamp(0, 1)
    alpha[rows, left:right] = edge[None].expand(len(below), -1)
    return colour, alpha


def _garden(height: int, width: int, generator: torch.Generator) -> Tensor:
    """An out-of-focus garden [3,height,width] in 0..1: warm sky above, foliage, light through the leaves."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")

    def tone(r: float, g: float, b: float) -> Tensor:
        return torch.tensor([r, g, b])[:, None, None]

    def noise(cells: int) -> Tensor:
        grid = torch.rand(1, 1, cells, cells * width // height + 1, generator=generator)
        return F.interpolate(grid, size=(height, width), mode="bicubic", align_corners=False)[0].clamp(0, 1)

    sky = torch.lerp(tone(0.98, 0.83, 0.62), tone(0.72, 0.86, 0.97), (1 - y * 1.8).clamp(0, 1)[None])
    sun = torch.exp(-(((x - 0.16) / 0.28) ** 2 + ((y - 0.18) / 0.30) ** 2))[None]
    sky = sky + sun * tone(0.25, 0.18, 0.02)
    leaves = torch.lerp(tone(0.13, 0.22, 0.12), tone(0.48, 0.56, 0.24), noise(7))
    leaves = leaves * (0.75 + 0.5 * noise(14)) + sun * tone(0.35, 0.26, 0.06)
    crown = ((y - 0.34 + 0.30 * (noise(4)[0] - 0.5) + 0.18 * (noise(9)[0] - 0.5)) / 0.16 + 0.5).clamp(0, 1)[None]
    canvas = torch.lerp(sky, leaves, crown)
    ground = torch.lerp(tone(0.42, 0.44, 0.20), tone(0.72, 0.64, 0.34), noise(5))
    canvas = torch.lerp(canvas, ground, ((y - 0.80) / 0.10).clamp(0, 1)[None])
    canvas = gaussian_blur2d(canvas[None].clamp(0, 1), (41, 41), (11.0, 11.0))[0]
    for _ in range(46):
        draw = torch.rand(7, generator=generator).tolist()
        radius = height * (0.012 + 0.035 * draw[0])
        cx, cy = draw[1] * width, (0.04 + 0.66 * draw[2] ** 1.2) * height
        distance = ((x * width - cx).square() + (y * height - cy).square()).sqrt() / radius
        disc = ((1 - distance) * radius / 3).clamp(0, 1) * (0.75 + 0.25 * distance.clamp(0, 1))
        warm = tone(1.0, 0.80 + 0.15 * draw[3], 0.45 + 0.3 * draw[4])
        canvas = canvas + (0.06 + 0.22 * draw[5]) * disc[None] * warm * (1.05 - canvas)
    return canvas.clamp(0, 1)


def _graded(canvas: Tensor) -> Tensor:
    """A warm grade and darker corners, [3,H,W] in 0..1; no grain, which would make the file several times larger."""
    height, width = canvas.shape[1:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    grade = torch.tensor([1.05, 1.02, 0.98])[:, None, None] * (1 - 0.08 * (x * x + y * y).clamp(max=2))
    return (canvas * grade).clamp(0, 1)

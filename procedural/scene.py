"""Pictures with several rendered faces in them, and exactly where those faces are.

Faces are rendered once into a store of cut-outs (`FaceSprites`) and composed many times: turned, scaled, mirrored,
recoloured and placed on backgrounds that have nothing to do with faces, then degraded as cameras and files do. The
backgrounds are varied far beyond what is natural, so that a detector trained on them has only the faces to go by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ..faces.warp import invert_affine, resample, transform_points
from .backgrounds import draw_background, draw_shapes, part_of, uniform
from .degrade import degrade, recolour
from .landmarks import five_points
from .looks import LOOKS
from .parameters import sample_parameters
from .renderer import render

_BROWS = slice(17, 27)
_CHIN = 8
_FOREHEAD = 0.45
"""Height of the forehead above the brows, in distances from brows to chin."""
_BODY = 0.5
"""How far a cut-out is continued below its lower edge, in its own height."""
_MIRROR_68 = torch.tensor(
    [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
    + [39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]
)
"""Which of the 68 points takes the place of each in a mirrored face."""


@dataclass(frozen=True, eq=False)
class FaceSprites:
    """Rendered faces that can be cut out and pasted."""

    images: Tensor
    """[N,3,S,S] uint8."""
    alphas: Tensor
    """[N,S,S] bool: the figure."""
    landmarks: Tensor
    """[N,68,2] float32, in pixels."""
    looks: Tensor
    """[N] int64, an index into the names they were rendered with."""

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: Tensor | slice) -> FaceSprites:
        """Some of them."""
        return FaceSprites(self.images[index], self.alphas[index], self.landmarks[index], self.looks[index])

    def save(self, path: Path) -> None:
        """Writes a compressed .npz, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(
            part,
            images=self.images.numpy(),
            alphas=np.packbits(self.alphas.numpy(), axis=-1),
            landmarks=self.landmarks.numpy(),
            looks=self.looks.numpy(),
        )
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> FaceSprites:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            images = torch.from_numpy(data["images"])
            alphas = torch.from_numpy(np.unpackbits(data["alphas"], axis=-1, count=images.shape[-1])).bool()
            return cls(images, alphas, torch.from_numpy(data["landmarks"]), torch.from_numpy(data["looks"]))


def render_sprites(
    count: int,
    generator: torch.Generator,
    looks: Sequence[str] | None = None,
    size: int = 128,
    supersample: int = 2,
    compiled: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> FaceSprites:
    """Renders `count` different people, the looks taking turns.

    Args:
        count: how many faces.
        generator: draws the people.
        looks: names of looks, all of them when left out.
        size: side in pixels.
        supersample: samples per pixel along each axis.
        compiled: see `procedural.Renderer`.
        on_progress: called with (done, total) after every few faces; what it raises stops the work.
    """
    names = list(looks or LOOKS)
    parts = []
    done = 0
    for index, look in enumerate(names):
        share = count * (index + 1) // len(names) - count * index // len(names)
        while share > 0:
            batch = min(share, 64)
            rendered = render(sample_parameters(batch, generator), size, look, supersample, compiled)
            images = ((rendered.image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            parts.append((images, rendered.labels != 0, rendered.landmarks.float(), torch.full((batch,), index)))
            share -= batch
            done += batch
            if on_progress is not None:
                on_progress(done, count)
    images, alphas, landmarks, index_of_look = (torch.cat(column) for column in zip(*parts, strict=True))
    return FaceSprites(images, alphas, landmarks, index_of_look)


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are composed."""

    height: int = 256
    """Of the picture, in pixels."""
    width: int = 256
    """Of the picture, in pixels."""
    max_faces: int = 4
    """The most faces in one picture."""
    empty: float = 0.12
    """Share of pictures with no face at all."""
    smallest: float = 12.0
    """Side of the smallest face box, in pixels."""
    largest: float = 0.85
    """Side of the largest face box, in shorter sides of the picture."""
    portrait: float = 0.3
    """Share of pictures with a single face that it fills from about the middle."""
    max_tilt: float = 60.0
    """The strongest tilt, in degrees; most faces are tilted much less."""
    turned: float = 0.0
    """Share of the faces that are turned by any angle, upside down too."""
    hidden: float = 0.0
    """Share of the faces of which something hides a part: a bar over the eyes, or about half of them."""
    inside: float = 0.75
    """The least part of a face box that is within the picture."""
    overlap: float = 0.15
    """The largest part of a face box that a later head and its surroundings may cover."""
    degrade: float = 1.0
    """0 leaves the pictures clean; 1 blurs, recolours, adds noise and compresses many of them."""


@dataclass(frozen=True, eq=False)
class ComposedScene:
    """A picture and the faces in it."""

    image: Tensor
    """[3,H,W], -1..1."""
    boxes: Tensor
    """[K,4] left, top, right, bottom in pixels: the upright box round forehead, cheeks and chin."""
    landmarks: Tensor
    """[K,5,2] in pixels: the eye on the left of the upright face, the other eye, nose tip, the mouth corners."""


def face_box(landmarks: Tensor) -> Tensor:
    """The box [...,4] round a face with 68 landmarks [...,68,2], forehead included."""
    brows = landmarks[..., _BROWS, :]
    up = brows.mean(-2, keepdim=True) - landmarks[..., _CHIN : _CHIN + 1, :]
    outline = torch.cat([landmarks, brows + _FOREHEAD * up], dim=-2)
    return torch.cat([outline.amin(-2), outline.amax(-2)], dim=-1)


def mirror(sprites: FaceSprites) -> FaceSprites:
    """Every face mirrored, with its landmarks renamed so that they keep their order."""
    size = sprites.images.shape[-1]
    points = sprites.landmarks[:, _MIRROR_68] * torch.tensor([-1.0, 1.0]) + torch.tensor([float(size), 0.0])
    return FaceSprites(sprites.images.flip(-1), sprites.alphas.flip(-1), points, sprites.looks)


def compose_scene(
    sprites: FaceSprites, config: SceneConfig, generator: torch.Generator, backgrounds: Sequence[Tensor] = ()
) -> ComposedScene:
    """Draws one scene.

    Args:
        sprites: the faces to choose from.
        config: sizes and chances.
        generator: draws everything.
        backgrounds: pictures without faces, [3,h,w] uint8, which half of the scenes then stand before.
    """
    height, width = config.height, config.width
    if backgrounds and uniform(generator) < 0.5:
        canvas = part_of(backgrounds, height, width, generator)
    else:
        canvas = draw_background(height, width, generator, lambda: _texture(sprites, generator))
    for _ in range(2):
        if uniform(generator) < 0.25:
            canvas = _paste_faceless(canvas, sprites, generator)
    boxes: list[Tensor] = []
    points: list[Tensor] = []
    count = 0 if uniform(generator) < config.empty else 1 + int(config.max_faces * uniform(generator) ** 1.5)
    portrait = count == 1 and uniform(generator) < config.portrait
    for _ in range(count):
        for _attempt in range(6):
            chosen = sprites.select(torch.randint(len(sprites), (1,), generator=generator))
            if uniform(generator) < 0.5:
                chosen = mirror(chosen)
            matrix = _placement(chosen.landmarks[0], config, portrait, generator)
            landmarks = transform_points(matrix[None], chosen.landmarks)[0]
            box = face_box(landmarks)
            if _fits(box, boxes, config):
                canvas = _paste(canvas, chosen, matrix, landmarks, portrait, generator)
                if config.hidden > 0 and uniform(generator) < config.hidden:
                    cover = _texture(sprites, generator) if uniform(generator) < 0.5 else None
                    canvas = _hide_part(canvas, five_points(landmarks), cover, generator)
                boxes.append(box)
                points.append(five_points(landmarks))
                break
    if count and uniform(generator) < 0.15:
        canvas = draw_shapes(canvas, 1, generator, largest=0.12)
    if config.degrade > 0 and uniform(generator) < config.degrade:
        canvas = degrade(canvas, generator)
    return ComposedScene(
        canvas.clamp(0, 1) * 2 - 1,
        torch.stack(boxes) if boxes else torch.zeros(0, 4),
        torch.stack(points) if points else torch.zeros(0, 5, 2),
    )


def _placement(landmarks: Tensor, config: SceneConfig, portrait: bool, generator: torch.Generator) -> Tensor:
    """A random map [2,3] from a sprite to the scene."""
    own = face_box(landmarks)
    side = float((own[2:] - own[:2]).prod().sqrt())
    largest = config.largest * min(config.height, config.width)
    smallest = max(config.smallest, 0.45 * largest) if portrait else config.smallest
    target = smallest * (largest / smallest) ** uniform(generator)
    spread = 2 * uniform(generator) - 1
    angle = math.radians(config.max_tilt) * math.copysign(abs(spread) ** 2, spread)
    if config.turned > 0 and uniform(generator) < config.turned:
        angle = math.pi * spread
    stretch = math.exp(0.12 * (2 * uniform(generator) - 1))
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ torch.diag(torch.tensor([stretch, 1 / stretch])) * (target / side)
    extent = torch.tensor([float(config.width), float(config.height)])
    place = torch.rand(2, generator=generator)
    if portrait:
        place = 0.5 + (place - 0.5) * 0.4
    shift = place * extent - linear @ ((own[:2] + own[2:]) / 2)
    return torch.cat([linear, shift[:, None]], dim=1)


def _fits(box: Tensor, others: Sequence[Tensor], config: SceneConfig) -> bool:
    """Whether enough of a box is in the picture and clear of the heads already there."""
    extent = torch.tensor([config.width, config.height])
    area = float((box[2:] - box[:2]).prod())
    inside = float((torch.minimum(box[2:], extent) - box[:2].clamp(min=0)).clamp(min=0).prod())
    if inside < config.inside * area:
        return False
    # Hair and shoulders reach beyond the box, so a later face must keep more distance than its own box asks for.
    reach = (box[2:] - box[:2]) * 0.45
    for other in others:
        shared = torch.minimum(box[2:] + reach, other[2:]) - torch.maximum(box[:2] - reach, other[:2])
        if float(shared.clamp(min=0).prod()) > config.overlap * float((other[2:] - other[:2]).prod()):
            return False
    return True


def _hide_part(canvas: Tensor, five: Tensor, cover: Tensor | None, generator: torch.Generator) -> Tensor:
    """Puts a patch over the eyes, the left, right, upper or lower part of a face with five landmarks [5,2]."""
    middle = (five[0] + five[1]) / 2
    across, down = five[1] - five[0], (five[3] + five[4]) / 2 - middle
    edge = 0.25 * (2 * uniform(generator) - 1)
    # left, top, right, bottom in eye distances and eye-to-mouth distances from between the eyes
    left, top, right, bottom = (
        (-0.7 - 0.5 * uniform(generator), -0.2 - 0.3 * uniform(generator), 0.7 + 0.5 * uniform(generator), 0.3),
        (-2.5, -2.0, edge, 2.6),
        (edge, -2.0, 2.5, 2.6),
        (-2.5, 0.5 + edge, 2.5, 2.6),
        (-2.5, -2.0, 2.5, 0.1 + edge),
    )[int(torch.randint(5, (1,), generator=generator))]
    if cover is None:
        cover = torch.rand(3, 1, 1, generator=generator).expand(3, 16, 16)
    height, width = cover.shape[1:]
    linear = torch.stack([across * ((right - left) / width), down * ((bottom - top) / height)], dim=1)
    matrix = torch.cat([linear, (middle + left * across + top * down)[:, None]], dim=1)
    return composite(canvas, cover, torch.ones(height, width), matrix)


def _paste(
    canvas: Tensor,
    sprite: FaceSprites,
    matrix: Tensor,
    landmarks: Tensor,
    portrait: bool,
    generator: torch.Generator,
) -> Tensor:
    """Composites the one face of `sprite` under `matrix` into a canvas [3,H,W] in 0..1."""
    picture = recolour(sprite.images[0].float() / 255, generator, 0.5)
    alpha = sprite.alphas[0].float()
    kind = uniform(generator)
    if kind < (0.5 if portrait else 0.2):
        # The whole tile with its own background, sometimes as an oval or with soft edges.
        alpha = _tile_alpha(alpha.shape[-1], generator)
    elif kind < 0.75:
        rows = round(_BODY * alpha.shape[-1])
        picture = F.pad(picture[None], (0, 0, 0, rows), mode="replicate")[0]
        alpha = F.pad(alpha[None, None], (0, 0, 0, rows), mode="replicate")[0, 0]
    return composite(canvas, picture, alpha, matrix)


def composite(canvas: Tensor, picture: Tensor, alpha: Tensor, matrix: Tensor) -> Tensor:
    """Puts a picture [3,h,w] with an alpha [h,w] over a canvas [3,H,W], all 0..1, through a map picture -> canvas."""
    height, width = alpha.shape
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]])
    quad = transform_points(matrix[None], corners[None])[0]
    x0, y0 = (max(0, math.floor(float(v))) for v in quad.amin(0))
    x1, y1 = (
        min(canvas.shape[2], math.ceil(float(quad[:, 0].max()))),
        min(canvas.shape[1], math.ceil(float(quad[:, 1].max()))),
    )
    if x1 <= x0 or y1 <= y0:
        return canvas
    inverse = invert_affine(matrix[None])[0]
    start = inverse[:, :2] @ torch.tensor([float(x0), float(y0)]) + inverse[:, 2]
    layer = resample(
        torch.cat([picture * alpha, alpha[None]]),
        torch.cat([inverse[:, :2], start[:, None]], dim=1),
        (y1 - y0, x1 - x0),
        padding_mode="zeros",
    )
    result = canvas.clone()
    part = result[:, y0:y1, x0:x1]
    part *= 1 - layer[3:]
    part += layer[:3]
    return result


def _tile_alpha(size: int, generator: torch.Generator) -> Tensor:
    """An alpha [size,size] for pasting a whole tile: a square with hard or soft edges, or an oval."""
    centre = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = centre[:, None], centre[None]
    soft = 0.02 + 0.3 * uniform(generator) ** 2
    oval = uniform(generator) < 0.3
    distance = 1 - ((x.square() + y.square()).sqrt() if oval else torch.maximum(x.abs(), y.abs()))
    return (distance / soft).clamp(0, 1)


def _paste_faceless(canvas: Tensor, sprites: FaceSprites, generator: torch.Generator) -> Tensor:
    """A head whose face is a flat patch of its own skin, or a shuffled face: parts in disorder are no face."""
    sprite = sprites.select(torch.randint(len(sprites), (1,), generator=generator))
    size = sprite.images.shape[-1]
    picture, points = sprite.images[0].float() / 255, sprite.landmarks[0]
    if uniform(generator) < 0.6:
        return composite(
            canvas,
            recolour(_shuffled(picture, generator), generator, 0.5),
            _tile_alpha(size, generator),
            _anywhere(canvas, size, 0.1 + 0.6 * uniform(generator), generator),
        )
    cheek = points[[2, 14, 30]].mean(0).clamp(0, size - 1).long()
    skin = picture[:, cheek[1], cheek[0]]
    middle, reach = points[17:].mean(0), (points[17:].amax(0) - points[17:].amin(0)) * 0.75
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    distance = (((x - middle[0]) / reach[0]).square() + ((y - middle[1]) / reach[1]).square()).sqrt()
    blank = ((1.15 - distance) / 0.15).clamp(0, 1)
    picture = torch.lerp(picture, skin[:, None, None].expand_as(picture), blank)
    matrix = _anywhere(canvas, size, 0.15 + 0.8 * uniform(generator), generator)
    return composite(canvas, recolour(picture, generator, 0.5), sprite.alphas[0].float(), matrix)


def _anywhere(canvas: Tensor, size: int, share: float, generator: torch.Generator) -> Tensor:
    """A map [2,3] that puts a square of `size` at any place and angle, `share` of the canvas's shorter side large."""
    height, width = canvas.shape[1:]
    scale = share * min(height, width) / size
    angle = (2 * uniform(generator) - 1) * math.pi
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    place = torch.rand(2, generator=generator) * torch.tensor([float(width), float(height)])
    return torch.cat([turn, (place - turn @ torch.full((2,), size / 2))[:, None]], dim=1)


def _shuffled(picture: Tensor, generator: torch.Generator) -> Tensor:
    """A square picture [3,S,S] cut into 3x3 to 6x6 tiles that change places, some of them mirrored."""
    size = picture.shape[-1]
    count = 3 + int(4 * uniform(generator))
    side = size // count
    whole = picture[:, : side * count, : side * count]
    tiles = rearrange(whole, "c (rows h) (columns w) -> (rows columns) c h w", rows=count, columns=count)
    tiles = tiles[torch.randperm(count * count, generator=generator)]
    mirrored = torch.rand(count * count, generator=generator) < 0.5
    tiles = torch.where(mirrored[:, None, None, None], tiles.flip(2), tiles)
    whole = rearrange(tiles, "(rows columns) c h w -> c (rows h) (columns w)", rows=count)
    return F.interpolate(whole[None], size=(size, size), mode="bilinear", align_corners=False)[0]


def _texture(sprites: FaceSprites, generator: torch.Generator) -> Tensor:
    """A patch [3,h,w] of hair or backdrop from the top of a render."""
    index = int(torch.randint(len(sprites), (1,), generator=generator))
    size = sprites.images.shape[-1]
    brows = float(sprites.landmarks[index, _BROWS, 1].min())
    rows = max(4, min(size // 4, int(brows * 0.6)))
    return sprites.images[index, :, :rows].float() / 255

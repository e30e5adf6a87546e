"""The sample picture of several people: portraits that the shipped generator makes up, framed on a wall.

python -m facestylist.tools.bench.sample_group [--out assets/group.png] [--seeds 14 15 45]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from ...core.assets import ASSETS
from ...core.pictures import tensor_to_image, to_pil
from ...latents.sampling import sample_latent, synthesise
from ...models.checkpoints import load_generator

SEEDS, TRUNCATION = (14, 15, 45), 0.9
SIZE, SIDE, MOUNT, FRAME = (800, 400), 204, 12, 8
"""Of the picture, of a portrait, and widths around it, in pixels."""
WALL, SHADE, WOOD, PAPER = (176, 170, 160), (120, 114, 106), (74, 54, 40), (238, 234, 226)


def group(seeds: tuple[int, ...] = SEEDS) -> Image.Image:
    """The wall, three portraits across."""
    generator = load_generator("embedded")
    faces = tensor_to_image(synthesise(generator, sample_latent(generator, seeds, TRUNCATION)))
    wall = Image.new("RGB", SIZE, WALL)
    outer = SIDE + 2 * (MOUNT + FRAME)
    gap = (SIZE[0] - len(faces) * outer) // (len(faces) + 1)
    places = [(gap + index * (outer + gap), (SIZE[1] - outer) // 2) for index in range(len(faces))]
    shadows = ImageDraw.Draw(wall)
    for x, y in places:
        shadows.rectangle((x + 8, y + 10, x + outer + 8, y + outer + 10), SHADE)
    wall = wall.filter(ImageFilter.GaussianBlur(9))
    draw = ImageDraw.Draw(wall)
    for face, (x, y) in zip(faces, places, strict=True):
        draw.rectangle((x, y, x + outer - 1, y + outer - 1), WOOD)
        draw.rectangle((x + FRAME, y + FRAME, x + outer - FRAME - 1, y + outer - FRAME - 1), PAPER)
        portrait = to_pil(face).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        wall.paste(portrait, (x + FRAME + MOUNT, y + FRAME + MOUNT))
    return wall


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description="Make the sample picture of several people.")
    parser.add_argument("--out", type=Path, default=ASSETS / "group.png")
    parser.add_argument("--seeds", type=int, nargs=3, default=SEEDS)
    args = parser.parse_args()
    group(tuple(args.seeds)).save(args.out)


if __name__ == "__main__":
    main()

"""Photos and the same in a style, what the shipped fast stylizers learned from.

    python -m facestylist.tools.portraits.student_pairs --faces DIR --look oil --out DIR [--count 300] [--scenes DIR]

Writes OUT/before and OUT/after for `train-stylizer --before --after`. A drawn look is drawn by its rule. For oil the
face is what the embedded oil makes of it, all around it the rendered cast's impasto in the colours of the oil.
Portraits are shown alone, and four on a picture, as faces in whole photos are smaller. `--scenes` are pictures of
anything else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.picture_files import find_pictures
from ...core.pictures import image_to_tensor, read_photo, tensor_to_image, write_picture
from ...faces.masks import face_masks
from ...latents.encoding import resize
from ...models.checkpoints import load_encoder, load_generator, load_stylizer
from ...models.stylizer import draw
from ...training.finetune.palette import colour_map
from .drawings import LOOKS, SEED, drawn, portraits, reshaped

SIDE, SMALL, SCENE = 192, 112, 384
FEATHER = 0.22
"""Width of the border between face and surroundings, in sides of the picture."""
PALETTE = 0.85
"""How far the surroundings take the colours of the oil."""
SHARPEN = 0.8
Painter = Callable[[Tensor, Tensor | None], Tensor]
"""Picture `[3, H, W]` in 0..1 and the landmarks of its face, if any -> the same in the style."""


def drawer(look: str) -> Painter:
    """Draws by the rule of a look."""

    def paint(picture: Tensor, landmarks: Tensor | None) -> Tensor:
        shaped = picture if landmarks is None else reshaped(picture, landmarks, LOOKS[look])
        return drawn(shaped, LOOKS[look])

    return paint


@torch.no_grad()
def oil_painter(style: str, examples: list[tuple[Tensor, Tensor]]) -> Painter:
    """Paints faces by the generator, the rest by rule."""
    encoder, generator = load_encoder("embedded"), load_generator(style)
    impasto = load_stylizer("rendered:student-impasto").network.eval()

    def face(picture: Tensor) -> Tensor:
        seen = resize(picture[None] * 2 - 1, encoder.resolution)
        made = generator.generator.synthesis(encoder.network(seen)).clamp(-1, 1)
        made = F.interpolate(made, size=picture.shape[-2:], mode="bicubic", align_corners=False).clamp(-1, 1)
        soft = F.avg_pool2d(F.pad(made, (2, 2, 2, 2), mode="reflect"), 5, 1)
        return (made + SHARPEN * (made - soft)).clamp(-1, 1)

    around = torch.cat([draw(impasto, picture[None] * 2 - 1) for picture, _ in examples])
    matrix, offset = (x.float() for x in colour_map(around, torch.cat([face(picture) for picture, _ in examples])))

    def paint(picture: Tensor, landmarks: Tensor | None) -> Tensor:
        with torch.no_grad():
            ground = draw(impasto, picture[None] * 2 - 1)
            moved = torch.einsum("ij,njhw->nihw", matrix, ground) + offset[:, None, None]
            ground = torch.lerp(ground, moved, PALETTE).clamp(-1, 1)
            if landmarks is not None:
                mask = face_masks(landmarks[None], picture.shape[-1], "face", FEATHER)[:, None]
                ground = torch.lerp(ground, face(picture), mask)
        return (ground[0] + 1) / 2

    return paint


def four(pictures: list[Tensor]) -> Tensor:
    """Four squares as one picture."""
    small = [resize(picture[None], SMALL)[0] for picture in pictures]
    return torch.cat([torch.cat(small[:2], 2), torch.cat(small[2:], 2)], 1).clamp(0, 1)


def main() -> None:
    """Writes the pairs."""
    parser = argparse.ArgumentParser(description="Make the pairs that a fast stylizer learns from.")
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--look", choices=("oil", *LOOKS), required=True)
    parser.add_argument("--style", default="embedded:oil", help="the generator that paints the faces of the oil")
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    people = portraits(args.faces, args.count, SIDE)
    paint = oil_painter(args.style, people[:32]) if args.look == "oil" else drawer(args.look)

    def write(name: str, before: Tensor, after: Tensor) -> None:
        for side, picture in (("before", before), ("after", after)):
            write_picture(tensor_to_image(picture[None] * 2 - 1)[0], args.out / side / f"{name}.png")

    made = [(picture, paint(picture, points)) for picture, points in people]
    for number, pair in enumerate(made):
        write(f"face{number:04}", *pair)
    order = torch.randperm(len(made), generator=torch.Generator().manual_seed(SEED)).tolist()
    for number in range(len(made) // 8):
        chosen = [made[index] for index in order[4 * number : 4 * number + 4]]
        if args.look == "oil":
            write(f"four{number:03}", four([before for before, _ in chosen]), four([after for _, after in chosen]))
        else:
            # By rule at its own size, as lines do not grow with the face.
            small = [(resize(people[i][0][None], SMALL)[0], people[i][1] * SMALL / SIDE) for i in order[:4]]
            order = order[4:] + order[:4]
            write(f"four{number:03}", four([p for p, _ in small]), four([paint(p, points) for p, points in small]))
    for number, path in enumerate(find_pictures(args.scenes) if args.scenes else []):
        scene = (image_to_tensor(read_photo(path)[:1])[0].clamp(-1, 1) + 1) / 2
        factor = SCENE / max(scene.shape[-2:])
        scene = F.interpolate(scene[None], scale_factor=min(1.0, factor), mode="bilinear", antialias=True)[0].clamp(
            0, 1
        )
        for copy in "abc":
            write(f"scene{number:03}{copy}", scene, paint(scene, None))


if __name__ == "__main__":
    main()

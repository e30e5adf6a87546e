"""Drawings of portraits by rule, beside their photos: what the shipped cartoon, sketch and caricature learned from.

    python -m facestylist.tools.portraits.drawings --faces DIR --look cartoon --out DIR [--count 400]

`--faces` is a folder of aligned portraits with a `faces.csv` (file, held_out, native_px, grey, and the landmarks
`left_eye_x`, `left_eye_y`, ... in pixels of a 256 px crop). A look is a change of shape, then the rule by which a fast
stylizer draws (`training/stylizer/targets.py`). People who are held out are left out.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.pictures import image_to_tensor, read_photo, tensor_to_image, write_picture
from ...latents.encoding import resize
from ...models.media import medium_fields
from ...training.stylizer.targets import TARGETS, saturate
from ..detector.photos import POINTS

SIDE = 128
LEAST_PIXELS = 220
"""Portraits of fewer pixels than this were enlarged, and look like it."""
SEED = 11


@dataclass(frozen=True)
class Look:
    """How a portrait is drawn."""

    rule: str
    """A name in `TARGETS`."""
    eyes: float = 1.0
    """How much larger eyes are."""
    reach: float = 0.6
    """How far around an eye, in distances between the eyes."""
    others: bool = False
    """Whether head and brow grow, mouth, nose and chin shrink, and colours are richer."""


LOOKS: Mapping[str, Look] = {
    "cartoon": Look("cartoon", 1.35),
    "sketch": Look("sketch"),
    "caricature": Look("cartoon", 1.9, 0.72, others=True),
}


def enlarged(places: Tensor, centre: Tensor, radius: Tensor, factor: float) -> Tensor:
    """Where to look, `[S, S, 2]` in pixels, so that what lies within `radius` of `centre` is `factor` as large."""
    offset = places - centre
    distance = (offset.norm(dim=-1, keepdim=True) / radius).clamp(max=1.0)
    return places - offset * (1 - distance.square()).square() * (1 - 1 / factor)


def reshaped(picture: Tensor, landmarks: Tensor, look: Look) -> Tensor:
    """The picture `[3, S, S]` in 0..1 with the shapes of a look; `landmarks [5, 2]` in pixels."""
    side = picture.shape[-1]
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    places = torch.stack([x, y], -1)
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    gap, down = (landmarks[1] - landmarks[0]).norm(), mouth - eyes
    if look.others:
        places = enlarged(places, eyes - 0.55 * down, 2.1 * gap, 1.28)
        places = enlarged(places, mouth + 0.55 * down, 1.6 * gap, 0.74)
        places = enlarged(places, (landmarks[2] + mouth) / 2, 0.75 * gap, 0.70)
    for eye in landmarks[:2]:
        places = enlarged(places, eye, look.reach * gap, look.eyes)
    grid = (places * 2 / side - 1)[None]
    moved = F.grid_sample(picture[None], grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return moved[0].clamp(0, 1)


def drawn(picture: Tensor, look: Look) -> Tensor:
    """A picture `[3, H, W]` in 0..1 drawn by the look's rule, in its shapes."""
    medium, rule = TARGETS[look.rule]
    one = picture[None]
    result = rule(one, one * 2 - 1, medium_fields(medium, one * 2 - 1), None)
    return (saturate((1.06 * result + 0.03).clamp(0, 1), 1.25) if look.others else result)[0]


def portraits(folder: Path, count: int, side: int = SIDE) -> list[tuple[Tensor, Tensor]]:
    """`count` portraits `[3, side, side]` in 0..1 with their landmarks `[5, 2]` in pixels, chosen by chance."""
    with (folder / "faces.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["held_out"] == "0" and r["grey"] == "0"]
    rows = [row for row in rows if int(row["native_px"]) >= LEAST_PIXELS]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED)).tolist()
    found = []
    for row in (rows[index] for index in order[:count]):
        photo = image_to_tensor(read_photo(folder / row["file"]))
        points = [[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in POINTS]
        found.append(((resize(photo, side)[0].clamp(-1, 1) + 1) / 2, torch.tensor(points) * side / photo.shape[-1]))
    return found


def main() -> None:
    """Writes OUT/photo and OUT/LOOK."""
    parser = argparse.ArgumentParser(description="Draw portraits by rule.")
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--look", choices=LOOKS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    look = LOOKS[args.look]
    for number, (photo, points) in enumerate(portraits(args.faces, args.count)):
        for kind, picture in (("photo", photo), (args.look, drawn(reshaped(photo, points, look), look))):
            write_picture(tensor_to_image(picture[None] * 2 - 1)[0], args.out / kind / f"{number:04}.png")


if __name__ == "__main__":
    main()

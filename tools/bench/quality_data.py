"""What `bench quality` compares on: a look's style pictures, and people that nothing has learned from.

Two kinds of looks. A rendered one has the base `rendered` and true stylised twins of its people. One of photographs has
the base `embedded`: `oil` are paintings, `drawn` portraits drawn by rule, whose rule gives twins as well.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...core.files import write_atomically
from ...core.picture_files import find_pictures
from ...core.pictures import image_to_tensor, read_photo
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces
from ...latents.encoding import invert_with_encoder, resize
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent
from ...procedural import LOOKS
from ..detector.photos import POINTS
from ..portraits.drawings import LOOKS as DRAWN
from ..portraits.drawings import drawn, portraits, reshaped
from .judges import Judge
from .renders import PEOPLE, renders

PHOTOGRAPHS = ("oil", "drawn")
DRAWN_LOOK = "cartoon"
DRAWINGS, HELD_DRAWINGS = 150, 50
HELD_PAINTING = 3
"""Every third painting is only measured with."""
CROP = 256
Describe = Callable[[Tensor], Tensor]
"""Pictures `[N, 3, S, S]` in -1..1 -> descriptors `[N, D]` of who is in them."""


@dataclass(frozen=True, eq=False)
class People:
    """People to measure on, as pictures `[N, 3, S, S]` in -1..1."""

    photos: Tensor
    codes: FaceLatent
    """The encoder's, of the photos."""
    known: Mapping[str, Tensor]
    """By judge: descriptors `[N, D]` of the photos."""
    twins: Tensor | None = None
    """The same people truly in the look."""
    labels: Tensor | None = None
    """Label maps `[N, S, S]` of the twins."""
    landmarks: Tensor | None = None
    """`[N, 68, 2]` in pixels, of the twins."""


@dataclass(frozen=True, eq=False)
class Look:
    """One look, with all that its rows share."""

    name: str
    source: FaceGenerator
    encoder: FaceEncoder
    style: Tensor
    """Style pictures to learn from, unpaired."""
    held: Tensor
    """Pictures of the style that no row sees."""
    people: Mapping[str, People]
    """`tune`: those that settings may be chosen on. `report`: those of the tables."""
    lessons: Tensor
    """Photos of other people, for a student to learn on."""
    style_features: Callable[[Tensor], Tensor]
    """Pictures -> `[N, F]` that style distances are measured in."""
    judges: Mapping[str, Describe] = field(default_factory=dict)
    parser: Judge | None = None


@torch.no_grad()
def _people(
    photos: Tensor, source: FaceGenerator, encoder: FaceEncoder, judges: Mapping[str, Describe], **truth: Tensor
) -> People:
    codes = invert_with_encoder(photos, encoder, source)
    known = {name: torch.cat([describe(part) for part in photos.split(16)]) for name, describe in judges.items()}
    return People(photos, codes, known, **truth)


def rendered_look(
    name: str, source: FaceGenerator, encoder: FaceEncoder, judge: Judge, folder: Path, count: int = PEOPLE
) -> Look:
    """A look of the rendered cast; half of its people are to tune on."""
    look, photo = (renders(which, source.resolution, folder, count) for which in (name, "photo"))
    judges: dict[str, Describe] = {"judge": judge.identity}
    half = count // 2
    people = {
        part: _people(
            photo.held[chosen],
            source,
            encoder,
            judges,
            twins=look.held[chosen],
            labels=look.labels[chosen],
            landmarks=look.landmarks[chosen],
        )
        for part, chosen in (("tune", slice(half)), ("report", slice(half, count)))
    }
    return Look(name, source, encoder, look.style, look.others, people, photo.style, judge.features, judges, judge)


def photographs_look(
    name: str,
    source: FaceGenerator,
    encoder: FaceEncoder,
    judges: Mapping[str, Describe],
    style_features: Callable[[Tensor], Tensor],
    faces: Path,
    paintings: Path,
    london: Path,
    folder: Path,
) -> Look:
    """A look of photographs.

    Args:
        faces: aligned portraits with a `faces.csv`, as `portraits.drawings` takes them; those held out are to tune on.
        paintings: aligned paintings, for oil.
        london: a photo each of the people of the tables.
        folder: where crops and drawings are kept.
    """
    size = source.resolution
    photos, points = kept(folder / f"held-{CROP}.pt", partial(_held_out, faces))
    report = kept(folder / f"report-{CROP}.pt", partial(_cropped, london))
    twins = {}
    lessons = portraits(faces, DRAWINGS + HELD_DRAWINGS + 100, size)
    if name == "oil":
        given = [resize(image_to_tensor(read_photo(path)), size).clamp(-1, 1) for path in find_pictures(paintings)]
        pictures = torch.cat(given)
        is_held = torch.arange(len(pictures)) % HELD_PAINTING == 0
        style, held = pictures[~is_held], pictures[is_held]
    else:

        def draw_all() -> Tensor:
            return torch.stack([_drawn(photo, marks) for photo, marks in lessons[: DRAWINGS + HELD_DRAWINGS]])

        drawings = kept(folder / f"drawings-{size}.pt", draw_all)
        style, held = drawings[:DRAWINGS], drawings[DRAWINGS:]
        small = (resize(photos, size).clamp(-1, 1) + 1) / 2
        marks = points * size / CROP
        twins["twins"] = kept(
            folder / f"twins-{size}.pt", lambda: torch.stack([_drawn(*one) for one in zip(small, marks, strict=True)])
        )
    people = {
        "tune": _people(photos, source, encoder, judges, **twins),
        "report": _people(report, source, encoder, judges),
    }
    others = torch.stack([photo for photo, _ in lessons[-100:]]) * 2 - 1
    return Look(name, source, encoder, style, held, people, others, style_features, judges)


def kept(path: Path, make: Callable[[], Tensor | tuple[Tensor, ...]]) -> Tensor:
    """What `make` gives, from its file where it was made before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        write_atomically(path, lambda file: torch.save(made, file))
    return torch.load(path, weights_only=True)


def _drawn(photo: Tensor, landmarks: Tensor) -> Tensor:
    """A portrait `[3, S, S]` in 0..1, drawn, in -1..1."""
    return drawn(reshaped(photo, landmarks, DRAWN[DRAWN_LOOK]), DRAWN[DRAWN_LOOK]) * 2 - 1


def _held_out(folder: Path) -> tuple[Tensor, Tensor]:
    """The first photo of each person held out, `[N, 3, CROP, CROP]`, and its landmarks `[N, 5, 2]`."""
    with (folder / "faces.csv").open(newline="") as file:
        rows = {row["person"]: row for row in reversed(list(csv.DictReader(file))) if row["held_out"] == "1"}
    photos, points = [], []
    for row in rows.values():
        photo = image_to_tensor(read_photo(folder / row["file"]))
        marks = torch.tensor([[float(row[f"{name}_{axis}"]) for axis in "xy"] for name in POINTS])
        photos.append(resize(photo, CROP)[0].clamp(-1, 1))
        points.append(marks * CROP / photo.shape[-1])
    return torch.stack(photos), torch.stack(points)


def _cropped(folder: Path) -> Tensor:
    """The largest face of each photo of a folder."""
    find = partial(detect_faces, load_detector("embedded"))
    crops = [
        align_faces(image_to_tensor(read_photo(path)), find, CROP, on_no_face="error", order="largest", max_faces=1)
        for path in find_pictures(folder)
    ]
    return torch.cat([found.crops for found in crops])


def is_rendered(name: str) -> bool:
    """Whether a look is one of the renderer's."""
    return name in LOOKS and name != "photo"

"""A folder of photos as aligned portraits, and who of them is held out. Done once; kept beside the run."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.files import replacing
from ...core.picture_files import find_pictures
from ...faces.align import align_faces
from ...faces.types import Detection
from ...models.identity import IdentityNetwork
from ..data.picture_files import read_picture
from ..kit.fingerprint import fingerprint
from ..kit.loop import SAVE_SECONDS
from .portraits import PART, Portraits

log = logging.getLogger(__name__)

SIZE = 256
GREY_CHROMA, GREY_WEIGHT = 0.01, 0.25
"""Mean deviation of the colours from grey (of a range of 2) below which a picture counts as black and white, and how
often such a one is shown: its face is worth learning, its lack of colour is not."""
SMALL_WEIGHT = 0.25
"""How often a face of fewer pixels than it is drawn with is shown."""
ONE_PERSON = 0.475
"""Similarity from which a portrait is taken for another one of a held-out person (dlib: a distance of .45)."""
FEWEST = 8
OUT, OTHER = 1, 2
"""Marks of a portrait that is measured on, and of another one of somebody who is held out."""
LIST = "faces.csv"

Detect = Callable[[Tensor], Sequence[Detection]]


def read_people(
    folder: Path,
    size: int,
    held_out: int,
    detect: Detect,
    identity: IdentityNetwork | None = None,
    seed: int = 0,
    kept: Path | None = None,
    callbacks: Callbacks | None = None,
) -> tuple[Portraits, Portraits]:
    """Portraits to learn from, and those of other people to measure on.

    Args:
        folder: photos, in subfolders too: every face that is found in them; or aligned square portraits with
            `faces.csv`, which lists each `file`, whether it is `held_out` (1) and, where known, its `person` and the
            pixels it came from (`native_px`).
        size: side of the faces that will be drawn, which decides how much a small one is worth.
        held_out: how many people to hold out where no list says so; at most a fifth of all.
        detect: finds the faces of a photo `[3, H, W]` in -1..1.
        identity: tells which portraits show somebody who is held out.
        seed: chooses them.
        kept: a file to keep the aligned portraits in, and to find them.
        callbacks: progress.

    Raises:
        ValueError: there are too few people, the list cannot be read, or `kept` holds portraits of other photos.
    """
    listed = (folder / LIST).is_file()
    files = find_pictures(folder, subfolders=True)
    content = fingerprint(
        [[str(path.relative_to(folder)), path.stat().st_size] for path in files if path.is_file()],
        (folder / LIST).read_bytes() if listed else b"",
    )
    cast = _Kept(kept, content)
    if not cast.complete:
        _read_list(folder / LIST, cast) if listed else _cut_out(files, detect, cast, callbacks or Callbacks())
    if len(cast) < FEWEST:
        raise ValueError(f"{len(cast)} faces were found in {folder}; a base takes hundreds, {FEWEST} at least.")
    choice = "listed" if listed else fingerprint(held_out, seed, identity)
    if cast.choice != choice:
        if not listed:
            cast.held_out = _chosen(cast.images, held_out, seed, identity)
        cast.choice = choice
        cast.save(complete=True)
    weights = torch.ones(len(cast))
    weights[_chroma(cast.images) < GREY_CHROMA] *= GREY_WEIGHT
    weights[cast.pixels < 0.75 * size] *= SMALL_WEIGHT
    learned, out = cast.held_out == 0, cast.held_out == OUT
    if int(learned.sum()) < FEWEST or int(out.sum()) < 2:
        raise ValueError(
            f"Of {len(cast)} faces in {folder}, {int(learned.sum())} are left to learn from and {int(out.sum())} to "
            f"measure on: at least {FEWEST} and 2 are needed, of different people. Give photos of more people."
        )
    return Portraits(cast.images[learned], weights[learned]), Portraits(cast.images[out], weights[out])


class _Kept:
    """Portraits as far as they are read, and the file they are kept in."""

    def __init__(self, path: Path | None, content: str) -> None:
        self.path, self.content = path, content
        self.done, self.choice, self.complete = 0, "", False
        self.images = torch.zeros(0, 3, SIZE, SIZE, dtype=torch.uint8)
        self.pixels, self.held_out = torch.zeros(0), torch.zeros(0, dtype=torch.uint8)
        if path is None or not path.is_file():
            return
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            if about.get("content") != content:
                raise ValueError(
                    f"{path.parent} holds a run with other photos. Choose another --run-dir, or take away {path} to "
                    "read the photos anew."
                )
            self.images, self.pixels, self.held_out = (file.get_tensor(name) for name in NAMES)
        self.done, self.choice, self.complete = int(about["done"]), about["choice"], about["complete"] == "True"

    def __len__(self) -> int:
        return len(self.images)

    def add(self, images: Iterable[Tensor], pixels: Iterable[Tensor], held_out: Tensor | None = None) -> None:
        """Pictures of 8 bits, pixels of each in its photo, and marks."""
        self.images, self.pixels = torch.cat([self.images, *images]), torch.cat([self.pixels, *pixels])
        new = len(self.images) - len(self.held_out)
        marks = torch.zeros(new, dtype=torch.uint8) if held_out is None else held_out
        self.held_out = torch.cat([self.held_out, marks])

    def save(self, complete: bool = False) -> None:
        """Writes the file, where there is to be one."""
        if self.path is None:
            return
        about = {"content": self.content, "done": str(self.done), "choice": self.choice, "complete": str(complete)}
        with replacing(self.path) as place:
            save_file({name: getattr(self, name) for name in NAMES}, place, about)


NAMES = ("images", "pixels", "held_out")


def _cut_out(files: Sequence[Path], detect: Detect, cast: _Kept, callbacks: Callbacks) -> None:
    """Every face of the photos; goes on where an interrupted run has saved."""
    images: list[Tensor] = []
    pixels: list[Tensor] = []
    saved = time.monotonic()
    for number, path in enumerate(files[cast.done :], cast.done + 1):
        try:
            faces = align_faces(read_picture(path)[None], detect, SIZE, on_no_face="skip", names=[path.name])
        except ValueError as error:
            log.warning("Skipped %s: %s", path, error)
        else:
            images.append(_bytes(faces.crops))
            pixels.append(torch.linalg.det(faces.crop_to_photo[:, :, :2]).abs().sqrt() * SIZE)
        if callbacks.on_progress is not None:
            callbacks.on_progress(number, len(files), {})
        if number == len(files) or time.monotonic() - saved > SAVE_SECONDS:
            cast.add(images, pixels)
            cast.done, images, pixels = number, [], []
            cast.save()
            saved = time.monotonic()
    log.info("%d faces in %d photos", len(cast), len(files))


def _read_list(table: Path, cast: _Kept) -> None:
    """Portraits that are aligned already; of a person who is held out, one is measured on and none is learned."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "held_out"} <= set(rows[0]):
        raise ValueError(f"{table} has to be a table with the columns file and held_out, divided by commas.")
    people = [row.get("person") or row["file"] for row in rows]
    out = {person for person, row in zip(people, rows, strict=True) if row["held_out"] == "1"}
    seen: set[str] = set()
    images, pixels, held = [], [], []
    for person, row in zip(people, rows, strict=True):
        try:
            picture = read_picture(table.parent / row["file"])
            native = float(row.get("native_px") or picture.shape[-1])
        except (ValueError, TypeError) as error:
            raise ValueError(f"{table}, {row['file']}: {error}") from error
        if picture.shape[1] != picture.shape[2]:
            raise ValueError(f"{row['file']} in {table} is not square; aligned faces are.")
        held.append(0 if person not in out else OTHER if person in seen or row["held_out"] != "1" else OUT)
        seen.update([person] if held[-1] == OUT else [])
        images.append(_bytes(F.interpolate(picture[None], (SIZE, SIZE), mode="bicubic", antialias=True)))
        pixels.append(native)
    cast.add(images, [torch.tensor(pixels)], torch.tensor(held, dtype=torch.uint8))


def _chosen(images: Tensor, count: int, seed: int, identity: IdentityNetwork | None) -> Tensor:
    """For each portrait OUT where it is held out, OTHER where it is another one of somebody who is, 0 else."""
    held = torch.zeros(len(images), dtype=torch.uint8)
    known = None if identity is None else descriptors(identity, images)
    left = min(count, len(images) // 5)
    for index in torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist():
        if left == 0:
            break
        if held[index]:
            continue
        if known is not None and identity is not None:
            held[identity.similarity(known, known[index]) > ONE_PERSON] = OTHER
        held[index] = OUT
        left -= 1
    return held


@torch.no_grad()
def descriptors(network: IdentityNetwork, images: Tensor) -> Tensor:
    """`[N, D]` of pictures `[N, 3, S, S]`, uint8 or in -1..1."""
    device = next(network.parameters()).device
    found = []
    for part in images.split(PART):
        pictures = part.float() / 127.5 - 1 if part.dtype == torch.uint8 else part
        found.append(network.describe(pictures.to(device)).float().cpu())
    return torch.cat(found)


def _bytes(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _chroma(images: Tensor) -> Tensor:
    """`[N]`: mean deviation from grey, of a range of 2."""
    parts = (part.float() for part in images.split(PART))
    return torch.cat([(p - p.mean(1, keepdim=True)).abs().mean((1, 2, 3)) / 127.5 for p in parts])

"""A folder of photos as aligned portraits, and who of them is held out. Done once; kept beside the run."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...faces.align import align_faces
from ...models.detection import Detection
from ...models.files import replacing
from ...models.identity import IdentityNetwork
from ...models.pictures import find_pictures
from ..loop import Callbacks
from ..picture_files import read_picture
from .portraits import Portraits

log = logging.getLogger(__name__)

SIZE = 256
GREY_CHROMA, GREY_WEIGHT = 0.01, 0.25
"""Mean deviation of the colours from grey (of a range of 2) below which a picture counts as black and white, and how
often such a one is shown: its face is worth learning, its lack of colour is not."""
SMALL_WEIGHT = 0.25
"""How often a face of fewer pixels than it is drawn with is shown."""
ONE_PERSON = 0.45
"""Descriptor distance below which a portrait is taken for another one of a held-out person."""
FEWEST = 8

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
        ValueError: there are too few faces.
    """
    tensors = load_file(kept) if kept is not None and kept.is_file() else None
    if tensors is None:
        listed = folder / "faces.csv"
        tensors = _listed(listed) if listed.is_file() else _found(folder, detect, callbacks or Callbacks())
        if len(tensors["images"]) < FEWEST:
            raise ValueError(
                f"{len(tensors['images'])} faces were found in {folder}; a base takes hundreds, {FEWEST} at least."
            )
        if kept is not None:
            with replacing(kept) as place:
                save_file(tensors, place)
    images, pixels = tensors["images"], tensors["pixels"]
    held = tensors["held_out"] if bool(tensors["held_out"].any()) else _chosen(images, held_out, seed, identity)
    weights = torch.ones(len(images))
    weights[_chroma(images) < GREY_CHROMA] *= GREY_WEIGHT
    weights[pixels < 0.75 * size] *= SMALL_WEIGHT
    learned, kept_out = held == 0, held == 1
    return Portraits(images[learned], weights[learned]), Portraits(images[kept_out], weights[kept_out])


def _found(folder: Path, detect: Detect, callbacks: Callbacks) -> dict[str, Tensor]:
    """Every face of the photos in a folder."""
    crops, pixels, skipped = [], [], 0
    files = find_pictures(folder, subfolders=True)
    for index, path in enumerate(files):
        try:
            faces = align_faces(read_picture(path)[None], detect, SIZE, on_no_face="skip", names=[path.name])
        except ValueError as error:
            skipped += 1
            log.warning("Skipped %s: %s", path, error)
            continue
        crops.append(_bytes(faces.crops))
        linear = faces.crop_to_photo[:, :, :2]
        pixels.append(torch.linalg.det(linear).abs().sqrt() * SIZE)
        if callbacks.on_progress is not None:
            callbacks.on_progress(index + 1, len(files), {})
    if not crops:
        raise ValueError(f"There is no photo in {folder} that can be read.")
    log.info("%d faces in %d photos of %s", sum(map(len, crops)), len(files) - skipped, folder)
    images = torch.cat(crops)
    return {"images": images, "pixels": torch.cat(pixels), "held_out": torch.zeros(len(images), dtype=torch.uint8)}


def _listed(table: Path) -> dict[str, Tensor]:
    """Portraits that are aligned already; of a person who is held out, one is measured on and none is learned."""
    images, pixels, held = [], [], []
    seen: set[str] = set()
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            out = row.get("held_out") == "1"
            person = row.get("person") or row["file"]
            if out and person in seen:
                continue
            seen.update([person] if out else [])
            picture = read_picture(table.parent / row["file"])
            pixels.append(float(row.get("native_px") or picture.shape[-1]))
            held.append(int(out))
            images.append(_bytes(F.interpolate(picture[None], (SIZE, SIZE), mode="bicubic", antialias=True)))
    return {
        "images": torch.cat(images), "pixels": torch.tensor(pixels), "held_out": torch.tensor(held, dtype=torch.uint8),
    }  # fmt: skip


def _chosen(images: Tensor, count: int, seed: int, identity: IdentityNetwork | None) -> Tensor:
    """For each portrait 1 where it is held out, 2 where it is another one of somebody who is, 0 else."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    chosen = order[: min(count, len(images) // 5)]
    held = torch.zeros(len(images), dtype=torch.uint8)
    if identity is not None:
        known = descriptors(identity, images)
        held[(torch.cdist(known, known[chosen]) < ONE_PERSON).any(1)] = 2
    held[chosen] = 1
    return held


@torch.no_grad()
def descriptors(network: IdentityNetwork, images: Tensor) -> Tensor:
    """`[N, D]` of pictures `[N, 3, S, S]`, uint8 or in -1..1."""
    device = next(network.parameters()).device
    found = []
    for part in images.split(32):
        pictures = part.float() / 127.5 - 1 if part.dtype == torch.uint8 else part
        found.append(network.describe(pictures.to(device)).float().cpu())
    return torch.cat(found)


def _chroma(images: Tensor) -> Tensor:
    """`[N]`: mean deviation from grey, of a range of 2."""
    parts = (part.float() for part in images.split(64))
    return torch.cat([(p - p.mean(1, keepdim=True)).abs().mean((1, 2, 3)) / 127.5 for p in parts])


def _bytes(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

"""How long encoding, drawing, searching and stylising take, in pictures drawn: ratios that hold on a busy machine.

    facestylist bench speed --no-loading

Every task is timed in every round, next to a picture that the generator draws; its ratio is the median over the rounds.
A machine that others use slows both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...core.assets import ASSETS
from ...core.pictures import image_to_tensor, read_picture
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces
from ...faces.paste import paste_faces
from ...latents.sampling import sample_latent, synthesise
from ...models.types import FaceEncoder, FaceGenerator
from ...training.inversion.pivotal import tune_to_faces
from ...training.inversion.search import invert_by_optimisation, invert_with_encoder
from ...training.inversion.settings import InversionConfig, PivotalConfig

UNIT = "draw a face"
SEARCH_STEPS = 2


@dataclass(frozen=True)
class Pace:
    """How long a task takes for one face."""

    seconds: float
    """Of the processor; the median over the rounds."""
    ratio: float
    """In faces drawn by the generator; the median over the rounds."""


def tasks_of(
    source: FaceGenerator, encoder: FaceEncoder, style: FaceGenerator
) -> dict[str, tuple[int, Callable[[], object]]]:
    """(how many faces it counts for, what is timed) by title; `UNIT` is among them."""
    one = sample_latent(source, [1])
    faces = synthesise(source, sample_latent(source, [1, 2])).clamp(-1, 1)
    latent = invert_with_encoder(faces, encoder, source)
    photo = image_to_tensor(read_picture(ASSETS / "rendered" / "sample.png")[0])
    find = partial(detect_faces, load_detector("embedded"))
    people = len(align_faces(photo, find, source.resolution))

    def search() -> object:
        return invert_by_optimisation(faces, source, latent, InversionConfig(steps=SEARCH_STEPS, preview_interval=0))

    def tune() -> object:
        return tune_to_faces(faces, source, latent, PivotalConfig(steps=SEARCH_STEPS, preview_interval=0))

    def stylise() -> Tensor:
        faces = align_faces(photo, find, source.resolution)
        drawn = synthesise(style, invert_with_encoder(faces.crops, encoder, source))
        return paste_faces(photo, faces, drawn.cpu())[0]

    return {
        UNIT: (1, lambda: synthesise(source, one)),
        "read it with the encoder": (1, lambda: encoder.network(faces[:1])),
        "find it in a photo and cut it out": (people, lambda: align_faces(photo, find, source.resolution)),
        "stylise it: find, cut out, read, draw, paste back": (people, stylise),
        "one step of the search for a latent": (SEARCH_STEPS * len(faces), search),
        "one step of pivotal tuning, locality included": (SEARCH_STEPS * len(faces), tune),
    }


def measure_paces(
    tasks: Mapping[str, tuple[int, Callable[[], object]]],
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Pace]:
    """Each task's pace, from `rounds` rounds after one that only warms up."""
    seconds: dict[str, list[float]] = {title: [] for title in tasks}
    for number in range(rounds + 1):
        for title, (faces, run) in tasks.items():
            before = clock()
            with torch.no_grad():
                run()
            taken = clock() - before
            if number:
                seconds[title].append(taken / faces)
    unit = seconds[UNIT]
    return {
        title: Pace(
            statistics.median(all_taken),
            statistics.median(a / max(b, 1e-9) for a, b in zip(all_taken, unit, strict=True)),
        )
        for title, all_taken in seconds.items()
    }


def pace_table(paces: Mapping[str, Pace]) -> list[str]:
    """Lines of the table."""
    lines = ["| for each face | faces drawn | processor s |", "|---|---:|---:|"]
    for title, pace in paces.items():
        lines.append(f"| {title} | {pace.ratio:.1f} | {pace.seconds:.3f} |")
    return lines

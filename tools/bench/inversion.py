"""How close each way of inversion comes to held-out faces: encoder, more looks, search in W and W+, pivotal tuning.

    facestylist bench inversion [--faces 32] [--searched 4] [--steps 200] [--json] [--quick]

Faces are rendered from the seeds that no network was trained on, and found by the embedded networks. Every number is
measured on the pictures that are drawn from the result, clamped as they would be shown: nothing that a search optimises
is taken from the search itself. No network judges, so nothing has to be downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...latents.encoding import invert_with_encoder, mean_squared_error
from ...latents.sampling import synthesise
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent
from ...training.inversion.pivotal import tune_to_faces
from ...training.inversion.search import invert_by_optimisation
from ...training.inversion.settings import InversionConfig, PivotalConfig
from ...training.losses.distances import measure
from ...training.losses.reconstruction import peak_signal_to_noise

LOOKS = 5
"""How often an encoder looks in the second row."""
BARS = {"encoder": 22.0, "search": 27.0}
"""PSNR in dB that a held-out face is to have at the least, on average."""


@dataclass(frozen=True)
class Row:
    """One way of inversion."""

    method: str
    faces: int
    psnr: float
    """dB, mean over the faces."""
    psnr_lowest: float
    """dB, of the face that came out worst."""
    l1: float
    """Mean absolute difference, 0..1."""
    face_l1: float
    """The same of the part that the face fills."""
    gradient_energy: float
    """Squared differences of neighbouring pixels in that part, relative to the true picture's: below 1 is softer."""
    seconds: float
    """Of the processor, per face."""
    at_least: float | None = None
    """The PSNR that it is to reach, where there is such a bar."""


def measure_inversion(
    source: FaceGenerator,
    encoder: FaceEncoder,
    photos: Tensor,
    searched: int,
    steps: int,
    say: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """A row for each way of inversion.

    Args:
        source: the generator.
        encoder: its encoder.
        photos: `[N, 3, R, R]` in -1..1.
        searched: how many of them the searches, which take hundreds of times as long, are given.
        steps: of each search, and of the tuning.
        say: told each row as it comes.
    """
    rows: list[Row] = []
    few = photos[:searched]

    def add(method: str, wanted: Tensor, find: Callable[[], FaceLatent], bar: float | None = None) -> FaceLatent:
        before = time.process_time()
        latent = find()
        seconds = time.process_time() - before
        rows.append(_row(method, synthesise(source, latent), wanted, seconds, bar))
        say(_told(rows[-1]))
        return latent

    def search(start: FaceLatent | None, space: str) -> FaceLatent:
        config = InversionConfig(steps=steps, space=space, preview_interval=0)
        return invert_by_optimisation(few, source, start, config)

    add("encoder", photos, lambda: invert_with_encoder(photos, encoder, source), BARS["encoder"])
    add(f"encoder, {LOOKS} looks", photos, lambda: invert_with_encoder(photos, encoder, source, LOOKS))
    first = add(f"encoder, the {len(few)} searched", few, lambda: invert_with_encoder(few, encoder, source))
    add(f"W, {steps} steps from the mean", few, lambda: search(None, "w"))
    add(f"W+, {steps} steps from the mean", few, lambda: search(None, "w_plus"), BARS["search"])
    pivots = add(f"encoder, then W+, {steps} steps", few, lambda: search(first, "w_plus"), BARS["search"])

    before = time.process_time()
    tuned = tune_to_faces(few, source, pivots, PivotalConfig(steps=steps, preview_interval=0)).generator
    seconds = time.process_time() - before
    rows.append(_row(f"the same, then pivotal tuning, {steps} steps", synthesise(tuned, pivots), few, seconds, None))
    say(_told(rows[-1]))
    return rows


def _row(method: str, pictures: Tensor, wanted: Tensor, seconds: float, bar: float | None) -> Row:
    pictures, wanted = pictures.cpu(), wanted.cpu()
    psnr = peak_signal_to_noise(mean_squared_error(pictures, wanted))
    told = measure(pictures, wanted)
    count = len(wanted)
    return Row(
        method,
        count,
        float(psnr.mean()),
        float(psnr.min()),
        told["l1"],
        told["face_l1"],
        told["gradient_energy"],
        seconds / count,
        bar,
    )


def _told(row: Row) -> str:
    return f"{row.method}: {row.psnr:.2f} dB, {row.seconds:.1f} s of the processor per face"


def inversion_table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table."""
    lines = [
        "| method | faces | PSNR, dB | lowest | L1 | face L1 | gradient energy | processor s per face | at least, dB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        bar = "" if row.at_least is None else f"{row.at_least:.0f}"
        lines.append(
            f"| {row.method} | {row.faces} | {row.psnr:.2f} | {row.psnr_lowest:.2f} | {row.l1:.4f} | "
            f"{row.face_l1:.4f} | {row.gradient_energy:.2f} | {row.seconds:.1f} | {bar} |"
        )
    return lines

"""How speed grows with the batch, the faces in a photo, the photo's size and the number of processes: `bench speed
--scale`. Everything runs on the processor; networks are loaded before the clock starts."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...cli.photos import write_frames, write_pictures
from ...core.pictures import photos_of, read_photo, tensor_to_bytes, write_picture
from ...detection.detectors import detect_faces, load_detector
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import sample_latent, synthesise
from ...models.checkpoints import load_encoder, load_generator, load_stylizer
from ...models.generator import GeneratorConfig
from ...models.stylizer import draw
from ...pipeline.stylise import find_faces, paste
from .scale_plot import Panel
from .speed import timed, timed_process
from .speed_jobs import GRID, LARGE, SAMPLE, STYLE, large_photo
from .speed_networks import generator_pass

Say = Callable[[str], None]
Curves = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Extent:
    """How far it is measured."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    sizes: tuple[int, ...] = (128, 256)
    """Of generators; 128 is the shipped one, the others have the published widths and random weights."""
    faces: tuple[int, ...] = (1, 2, 5, 10)
    crowd: tuple[int, int] = LARGE
    """Height and width of the photo that they are in."""
    megapixels: tuple[float, ...] = (0.5, 2, 12, 50)
    processes: tuple[int, ...] = (1, 2)
    photos: tuple[int, int] = (2, 10)
    """Few and many: what many take longer is free of the start."""
    steps: tuple[int, int] = (2, 10)
    rounds: int = 3


QUICK = Extent((1, 2), (128,), (1, 2), (1200, 1600), (0.1, 0.2), (1,), (1, 4), (1, 4), 1)


def measure_scale(extent: Extent, folder: Path, say: Say) -> list[Panel]:
    """The four panels; `folder` is written into."""
    # First what a machine that is not quiet would stop.
    processes, batches, faces, sizes = (
        _told(made, say)
        for made in (_processes(extent, folder), _batches(extent), _faces(extent), _sizes(extent, folder))
    )
    cells = GRID[0] * GRID[1]
    return [
        Panel(
            "Generators by the batch", "faces at a time", "faces/s", batches, True, "A batch shares what is done once."
        ),
        Panel(
            f"One photo of {extent.crowd[0] * extent.crowd[1] / 1e6:.2g} megapixels",
            "faces in it",
            "faces/s",
            faces,
            False,
            f"Faces as large as a {cells}th of the photo; detect, align, invert, draw, paste.",
        ),
        Panel(
            "Photos by their size",
            "megapixels",
            "photos/s",
            sizes,
            True,
            "One face that fills the photo's height; from the JPEG to the PNG.",
        ),
        Panel(
            "Processes of one thread each",
            "processes",
            "photos/s, steps/s",
            processes,
            False,
            "Under torchrun, without the start: `stylise` of small photos, `finetune` in batches of 4.",
        ),
    ]


def _told(found: Iterator[tuple[str, float, float]], say: Say) -> Curves:
    curves: Curves = {}
    for name, x, rate in found:
        say(f"{name}, {x:g}: {rate:.3g}/s")
        curves.setdefault(name, []).append((x, rate))
    return curves


def _batches(extent: Extent) -> Iterator[tuple[str, float, float]]:
    for size in extent.sizes:
        shipped = size == 128
        config = load_generator("embedded").generator.config if shipped else GeneratorConfig.make(size)
        for batch in extent.batches:
            run = functools.partial(generator_pass, config, "fp32", batch, False)
            yield f"{size} px{', shipped' * shipped}", batch, batch / timed(run)(extent.rounds).wall_seconds


def _faces(extent: Extent) -> Iterator[tuple[str, float, float]]:
    stylise = _by_generator()
    for count in extent.faces:
        image = tensor_to_bytes(large_photo(count, extent.crowd, GRID))
        if len(stylise(image)[0]) != count:
            raise RuntimeError(f"Not all of {count} faces were found.")
        seconds = timed(lambda image=image: lambda: stylise(image))(extent.rounds).wall_seconds  # type: ignore[misc]
        yield "generator", count, count / seconds


def _sizes(extent: Extent, folder: Path) -> Iterator[tuple[str, float, float]]:
    stylise, student = _by_generator(), load_stylizer(f"embedded:student-{STYLE}").network

    def by_student(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return tensor_to_bytes(draw(student, photos_of(image)))

    photo = folder / "photo.jpg"
    for pixels in extent.megapixels:
        height = round((pixels * 1e6 * 3 / 4) ** 0.5)
        write_picture(tensor_to_bytes(large_photo(1, (height, round(height * 4 / 3))))[0], photo)
        for name, make in (("generator", lambda image: stylise(image)[1]), ("student", by_student)):
            run = lambda make=make: lambda: write_frames(make(read_photo(photo)), folder, "done")  # noqa: E731
            yield name, pixels, 1 / timed(run)(extent.rounds).wall_seconds


def _by_generator() -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """What gives the crops of an IMAGE, and the IMAGE with its faces drawn in the style."""
    source, encoder, style = load_generator("embedded"), load_encoder("embedded"), load_generator(f"embedded:{STYLE}")
    find = functools.partial(detect_faces, load_detector("embedded"))

    def run(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            faces = find_faces(image, find, source.resolution)
            drawn = synthesise(style, invert_with_encoder(faces.crops, encoder, source))
            return faces.crops, paste(faces, drawn, 0.1, 0.0, "head")[0]

    return run


def _processes(extent: Extent, folder: Path) -> Iterator[tuple[str, float, float]]:
    source, photos, shots = load_generator("embedded"), folder / "photos", folder / "shots"
    photos.mkdir()
    files = [str(photos / f"{number}.png") for number in range(extent.photos[1] * max(extent.processes))]
    for file in files:
        shutil.copyfile(SAMPLE, file)
    # A training wants ten pictures.
    drawn = synthesise(source, sample_latent(source, range(10)))
    write_pictures(drawn, [shots / f"{number}.png" for number in range(len(drawn))])

    def stylised(processes: int, amount: int) -> list[str]:
        return ["stylise", *files[: amount * processes], "--style", STYLE, "--out", str(folder / "out")]

    def trained(processes: int, amount: int) -> list[str]:
        name, run = folder / "style.safetensors", folder / f"run-{processes}-{amount}"
        return [*f"finetune --precision fp32 --score-interval 0 --steps {amount}".split(), "--styles", str(shots)] + [
            *("--out", str(name), "--run-dir", str(run), "--no-align")
        ]

    for name, command, (few, many), shared in (
        ("stylise, photos/s", stylised, extent.photos, False),
        ("stage 1, steps/s", trained, extent.steps, True),
    ):
        for processes in extent.processes:
            launcher = f"env OMP_NUM_THREADS=1 {sys.executable} -m torch.distributed.run --standalone --nproc-per-node"
            start = [*launcher.split(), str(processes), "-m", "facestylist"]
            less, more = (
                timed_process([*start, *command(processes, amount), "--device", "cpu"])(1).wall_seconds
                for amount in (few, many)
            )
            if more <= less:
                raise RuntimeError(f"{name}: {many} took no longer than {few}. Measure on a quiet machine.")
            # Photos are for each process, a step is everybody's.
            yield name, processes, (many - few) * (1 if shared else processes) / (more - less)


def as_record(panels: list[Panel]) -> dict[str, Any]:
    """The numbers of each panel."""
    return {panel.title: panel.curves for panel in panels}

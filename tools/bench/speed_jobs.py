"""Rows of `bench speed` that are whole jobs: photos, the renderer, loading, starting."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...cli.photos import write_pictures
from ...core.assets import ASSETS
from ...core.pictures import image_to_tensor, read_photo
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces
from ...faces.paste import paste_faces
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import synthesise
from ...models.checkpoints import load_encoder, load_generator, load_stylizer
from ...models.stylizer import draw
from ...procedural import Renderer, sample_parameters
from ...procedural.renderer import CHUNK, can_compile
from .loading import FORMATS, MOST_MEMORY, MOST_SECONDS, make_networks
from .speed import MEGABYTE, Case, Measured, Run, timed, timed_process

SAMPLE = ASSETS / "sample.png"
LARGE = (3000, 4000)
"""Height and width of a photo of 12 megapixels."""
GRID = (2, 5)
"""Rows and columns of ten people."""
STYLE = "cartoon"
TORCH_ALONE = "import torch"
WITH_NODES = "import torch, facestylist; facestylist.NODE_CLASS_MAPPINGS"
LOADED_SIZE = 1024


def photo_cases(folder: Path) -> Iterator[Case]:
    """Large photos, and the shipped one stylised, in a new process and in one that has its networks."""
    for count in (1, GRID[0] * GRID[1]):
        name = f"photo of 12 megapixels, {count} face{'s' * (count > 1)}: detect, align, paste"
        yield Case(name, timed(functools.partial(_cut_and_paste, count)))
    for how, prepare, more in (("generator", _by_generator, ()), ("student", _by_student, ("--fast",))):
        command = [sys.executable, "-m", "facestylist", "stylise", str(SAMPLE), "--style", STYLE, *more]
        command += ["--out", str(folder / "cold"), "--device", "cpu", "--detector", "embedded"]
        yield Case(f"stylise by {how}, cold", timed_process(command), note="a new process")
        yield Case(f"stylise by {how}, warm", timed(functools.partial(prepare, folder / "warm")))


def renderer_cases() -> Iterator[Case]:
    """Some faces of the rendered cast, as they come and, where there is a compiler, compiled."""
    for look in ("photo", "cartoon"):
        for compiled in (False, True) if look == "photo" and can_compile() else (False,):
            name = f"renderer, {look}, {CHUNK} faces of 128 px{', compiled' * compiled}"
            yield Case(name, timed(functools.partial(_renderer, look, compiled)))


def load_cases(folder: Path, size: int = LOADED_SIZE) -> Iterator[Case]:
    """The shipped networks, then generators of the published widths from each format."""
    shipped: tuple[tuple[str, Callable[[], object]], ...] = (
        ("generator", lambda: load_generator("embedded")),
        ("encoder", lambda: load_encoder("embedded")),
        ("student", lambda: load_stylizer(f"embedded:student-{STYLE}")),
        ("detector", lambda: load_detector("embedded")),
    )
    for name, load in shipped:
        yield Case(f"load the shipped {name}", timed(lambda load=load: load))  # type: ignore[misc]
    networks = functools.cache(lambda: make_networks(size))
    for title, (file, write) in FORMATS.items():
        path = folder / file

        def make(path: Path = path, write: Any = write) -> None:
            write(networks(), path)

        yield Case(f"load {size} px: {title}", functools.partial(_load, path, make))


def start_cases() -> Iterator[Case]:
    """Processes that do nothing but start."""
    alone, both = (functools.cache(timed_process([sys.executable, "-c", code])) for code in (TORCH_ALONE, WITH_NODES))
    yield Case("start: the command line's help", timed_process([sys.executable, "-m", "facestylist", "--help"]))
    yield Case("start: torch", alone)
    yield Case("start: torch, and the pack with all nodes", both)
    yield Case("import of the pack, over torch's own", lambda rounds: _difference(both(rounds), alone(rounds)))


def _difference(a: Measured, b: Measured) -> Measured:
    seconds = None if a.seconds is None or b.seconds is None else a.seconds - b.seconds
    peak = None if a.peak is None or b.peak is None else a.peak - b.peak
    return Measured(seconds, a.wall_seconds - b.wall_seconds, peak, a.rounds)


@functools.cache
def _finder() -> Callable[[Tensor], Any]:
    return functools.partial(detect_faces, load_detector("embedded"))


def large_photo(count: int, size: tuple[int, int] = LARGE, grid: tuple[int, int] | None = None) -> Tensor:
    """`[1, 3, height, width]`: the shipped portrait in front of grey, alone or in cells of a grid."""
    rows, columns = grid or (GRID if count > 1 else (1, 1))
    side = min(size[0] // rows, size[1] // columns)
    person = F.interpolate(_sample(), size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    photo = torch.zeros(1, 3, *size)
    for place in range(count):
        top, left = place // columns * (size[0] // rows), place % columns * (size[1] // columns)
        photo[:, :, top : top + side, left : left + side] = person
    return photo


def _sample() -> Tensor:
    return image_to_tensor(read_photo(str(SAMPLE)))


def _cut_and_paste(count: int) -> Run:
    photo, size = large_photo(count), load_generator("embedded").resolution

    def run() -> None:
        with torch.inference_mode():
            faces = align_faces(photo, _finder(), size)
            if len(faces) != count:
                raise RuntimeError(f"The photo shows {count} faces, and {len(faces)} were found.")
            paste_faces(photo, faces, faces.crops)

    return run


def _by_generator(folder: Path) -> Run:
    source, encoder, style = load_generator("embedded"), load_encoder("embedded"), load_generator(f"embedded:{STYLE}")
    find = _finder()

    def run() -> None:
        with torch.inference_mode():
            photo = _sample()
            faces = align_faces(photo, find, source.resolution)
            drawn = synthesise(style, invert_with_encoder(faces.crops, encoder, source))
            write_pictures(paste_faces(photo, faces, drawn)[0], [folder / "generator.png"])

    return run


def _by_student(folder: Path) -> Run:
    network = load_stylizer(f"embedded:student-{STYLE}").network

    def run() -> None:
        with torch.inference_mode():
            write_pictures(draw(network, _sample()), [folder / "student.png"])

    return run


def _renderer(look: str, compiled: bool) -> Run:
    renderer, people = Renderer(compiled), sample_parameters(CHUNK, torch.Generator().manual_seed(0))

    def run() -> None:
        with torch.no_grad():
            renderer.render(people, 128, look)

    return run


def _load(path: Path, make: Callable[[], None], rounds: int) -> Measured:
    """Some loads of a file, each in a new process; the file is there no longer than that."""
    make()
    size = path.stat().st_size / MEGABYTE
    note = f"{size:.0f} MB; at most {MOST_SECONDS:g} s and {MOST_MEMORY[path.suffix] * size:.0f} MB"
    command = [sys.executable, "-m", f"{__package__}.loading", str(path)]
    try:
        found = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
            for _ in range(min(rounds, 3))
        ]
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    seconds, wall = (statistics.median(each[key] for each in found) for key in ("seconds", "wall_seconds"))
    peaks = [each["peak"] for each in found if each["peak"] is not None]
    return Measured(seconds, wall, statistics.median(peaks) if peaks else None, len(found), note)

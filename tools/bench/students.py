"""Are the shipped fast stylizers any good? On photographs beside plain filters, on rendered faces beside the long way.

    python -m facestylist.tools.bench.students [--portraits DIR] [--students sketch,impasto] [--faces 32] [--steps 200]
        [--renders .work/renders-128] [--fill docs/fast-stylizer.md]

- On the pictures of DIR: how far edges stay where the photo has them, for the student and for a plain pipeline of
  kornia filters with the same aim; and a sheet of photo, filters and student, to be judged by eye.
- On held-out rendered faces: distance to the true twin, the render of the same person in the look, of the student and
  of the long way: invert by optimisation (`--steps`), then the style generator. What both cost is measured in seconds
  of one core, which do not depend on what else the machine is doing.

Renders stay in their folder; without them the first run renders, which takes minutes. Filters are at their best
settings for a face of some 200 pixels, found by eye.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from kornia import color, enhance, filters
from torch import Tensor

from ...core.assets import list_embedded
from ...core.picture_files import find_pictures
from ...core.pictures import image_to_tensor, read_picture
from ...core.sheets import labelled_grid
from ...detection.detectors import detect_faces, load_detector
from ...latents.encoding import resize
from ...latents.sampling import synthesise
from ...models import checkpoints
from ...models.stylizer import draw
from ...models.types import FaceStylizer
from ...training.inversion.search import invert_by_optimisation
from ...training.inversion.settings import InversionConfig
from ...training.losses.distances import face_box
from .renders import renders
from .sections import fill_file

logger = logging.getLogger(__name__)

PREFIX = "rendered:student-"
LONGEST = 512
"""Photographs are drawn at this length."""
SOFTNESS = 1.5
"""Standard deviation in pixels of the blur before edges are compared: strokes are texture, not edges."""
SHEET_WIDTH = 360
AROUND, LEAST_CONFIDENCE = 2.4, 0.3
"""The sheet shows faces in squares so many times as high as they are."""


def pencil_filters(photo: Tensor) -> Tensor:
    """The usual pencil filter: brightness divided by its own blur."""
    grey = color.rgb_to_grayscale(photo)
    around = filters.gaussian_blur2d(grey, (21, 21), (5.0, 5.0))
    return (grey / (around + 0.02)).clamp(0, 1).pow(1.5).expand(-1, 3, -1, -1)


def oil_filters(photo: Tensor) -> Tensor:
    """Median, more saturation, more sharpness."""
    smooth = filters.median_blur(filters.median_blur(photo, (7, 7)), (7, 7))
    return filters.unsharp_mask(enhance.adjust_saturation(smooth, 1.4), (9, 9), (2.5, 2.5)).clamp(0, 1)


def cartoon_filters(photo: Tensor) -> Tensor:
    """Bilateral smoothing, posterised, with dark Sobel edges."""
    smooth = filters.bilateral_blur(filters.bilateral_blur(photo, (9, 9), 0.1, (3.0, 3.0)), (9, 9), 0.1, (3.0, 3.0))
    flat = enhance.posterize(enhance.adjust_saturation(smooth, 1.35).clamp(0, 1), 3)
    edges = filters.sobel(color.rgb_to_grayscale(smooth))
    return flat * (1 - (edges * 6 - 0.35).clamp(0, 0.9))


BASELINES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sketch": pencil_filters,
    "impasto": oil_filters,
    "cartoon": cartoon_filters,
}
"""A plain pipeline for each look; pictures `[N, 3, H, W]` in 0..1."""


@dataclass(frozen=True)
class Agreement:
    """How far the edges of a picture are those of the photo."""

    strength: float
    """Correlation of the gradients' lengths over all pixels, -1..1."""
    direction: float
    """Mean absolute cosine between the gradients, weighted by the photo's: 1 parallel, 0.64 by chance."""


def agreement(picture: Tensor, photo: Tensor) -> Agreement:
    """Of pictures `[1, 3, H, W]` of the same size in 0..1."""
    gradients = []
    for one in (picture, photo):
        soft = filters.gaussian_blur2d(color.rgb_to_grayscale(one), (9, 9), (SOFTNESS, SOFTNESS))
        gradients.append(filters.spatial_gradient(soft)[0, 0])
    lengths = [g.square().sum(0).sqrt() for g in gradients]
    strength = torch.corrcoef(torch.stack([length.flatten() for length in lengths]))[0, 1]
    cosine = (gradients[0] * gradients[1]).sum(0).abs() / (lengths[0] * lengths[1] + 1e-8)
    seen = lengths[0] > 1e-4
    direction = (cosine * lengths[1])[seen].sum() / lengths[1][seen].sum().clamp(min=1e-8)
    return Agreement(float(strength), float(direction))


def twin_distances(picture: Tensor, twins: Tensor) -> tuple[float, float]:
    """Mean absolute difference of pictures `[N, 3, S, S]` in -1..1, as parts of 0..1: whole, and the face's middle."""
    difference = (picture.clamp(-1, 1) - twins).abs() / 2
    return float(difference.mean()), float(face_box(difference).mean())


def photographs(folder: Path) -> dict[str, Tensor]:
    """The pictures of a folder by name, `[1, 3, H, W]` in 0..1 and at most `LONGEST` pixels long."""
    files = find_pictures(folder)
    if not files:
        raise ValueError(f"There are no pictures in {folder}.")
    photos = {}
    for path in files:
        photo = (image_to_tensor(read_picture(path)[0]) + 1) / 2
        scale = min(1.0, LONGEST / max(photo.shape[-2:]))
        size = [round(side * scale) for side in photo.shape[-2:]]
        photos[path.stem] = torch.nn.functional.interpolate(photo, size, mode="bilinear", antialias=True).clamp(0, 1)
    return photos


def portrait(picture: Tensor, photo: Tensor) -> Tensor:
    """The square `[S, S, 3]` of a picture in which the photo has its largest face, with hair and shoulders."""
    height, width = photo.shape[-2:]
    found = detect_faces(load_detector("embedded"), photo[0] * 2 - 1, LEAST_CONFIDENCE)
    side, x, y = min(height, width), width / 2, min(height, width) / 2
    if found:
        left, top, right, bottom = max((f.box for f in found), key=lambda box: float(box[3] - box[1])).tolist()
        side, x, y = min(side, round(AROUND * (bottom - top))), (left + right) / 2, (top + bottom) / 2
    start_x, start_y = (int(min(max(c - side / 2, 0), extent - side)) for c, extent in ((x, width), (y, height)))
    square = picture[..., start_y : start_y + side, start_x : start_x + side]
    return torch.nn.functional.interpolate(square, (SHEET_WIDTH, SHEET_WIDTH), mode="bicubic")[0].permute(1, 2, 0)


def on_photographs(students: Mapping[str, FaceStylizer], photos: Mapping[str, Tensor], sheet: Path) -> list[str]:
    """Lines of the table, and the sheet."""
    lines = [
        "| look | edges: filters | edges: student | direction: filters | direction: student |",
        "|---|---:|---:|---:|---:|",
    ]
    rows: list[list[Tensor | None]] = [[portrait(photo, photo)] for photo in photos.values()]
    headings = ["photo"]
    for look, stylizer in students.items():
        scores: list[tuple[Agreement, Agreement]] = []
        for row, photo in zip(rows, photos.values(), strict=True):
            plain = BASELINES[look](photo)
            made = (draw(stylizer.network, photo * 2 - 1) + 1) / 2
            scores.append((agreement(plain, photo), agreement(made, photo)))
            row += [portrait(plain, photo), portrait(made, photo)]
            logger.info("%s: filters %s, student %s", look, *scores[-1])
        headings += [f"{look}: filters", f"{look}: student"]
        means = [
            sum(getattr(score[which], name) for score in scores) / len(scores)
            for name in ("strength", "direction")
            for which in (0, 1)
        ]
        lines.append(f"| {look} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    labelled_grid(rows, headings, [], "Photographs, plain filters and the shipped students", SHEET_WIDTH).save(
        sheet, quality=86, optimize=True
    )
    return lines


def on_twins(students: Mapping[str, FaceStylizer], options: argparse.Namespace) -> list[str]:
    """Lines of the table."""
    source = checkpoints.load_generator("rendered")
    size, count = source.resolution, options.faces
    photos = renders("photo", size, options.renders).held[:count]
    started = time.process_time()
    latents = invert_by_optimisation(photos, source, None, InversionConfig(steps=options.steps, preview_interval=0))
    inverting = (time.process_time() - started) / count
    lines = [
        "| look | student | long way | ratio | face: student | face: long way | ratio | seconds: student | "
        "seconds: long way | times as fast |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for look, stylizer in students.items():
        twins = renders(look, size, options.renders).held[:count]
        style = checkpoints.load_generator(f"rendered:{look}")
        started = time.process_time()
        long_way = twin_distances(resize(synthesise(style, latents), size), twins)
        spent = inverting + (time.process_time() - started) / count
        started = time.process_time()
        made = draw(stylizer.network, photos)
        seconds = (time.process_time() - started) / count
        mine = twin_distances(made, twins)
        logger.info("%s: student %s, long way %s, %.3f and %.1f s", look, mine, long_way, seconds, spent)
        compared = " | ".join(f"{a:.4f} | {b:.4f} | {a / b:.2f}" for a, b in zip(mine, long_way, strict=True))
        lines.append(f"| {look} | {compared} | {seconds:.3f} | {spent:.1f} | {spent / seconds:.0f} |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes the section and the sheet."""
    shipped = [name.removeprefix(PREFIX) for name in list_embedded("stylizer", "rendered")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, metavar="DIR", help="photographs; without them that part is left out")
    parser.add_argument("--students", default=",".join(shipped))
    parser.add_argument("--faces", type=int, default=32, help="held-out faces; 0 leaves that part out")
    parser.add_argument("--steps", type=int, default=InversionConfig.steps, help="of the long way's inversion")
    parser.add_argument("--renders", type=Path, default=Path(".work/renders-128"), help="keeps rendered people")
    parser.add_argument(
        "--fill", type=Path, default=Path("docs/fast-stylizer.md"), help="document with a section `students`"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    students = {look: checkpoints.load_stylizer(PREFIX + look) for look in options.students.split(",")}
    text = []
    if options.portraits is not None:
        photos = photographs(options.portraits)
        sheet = options.fill.parent / "pictures" / "students.jpg"
        text += [
            f"**Photographs**: {len(photos)}, at most {LONGEST} px long. *Edges*: correlation of the lengths of "
            "gradients with the photo's; *direction*: mean cosine between them where the photo has edges (0.64 is "
            "chance). Both after a blur of 1.5 px, so that strokes count as texture. *Filters* are plain pipelines of "
            "kornia (`BASELINES` in `tools/bench/students.py`).",
            "",
            *on_photographs(students, photos, sheet),
        ]
    if options.faces:
        text += [
            *([""] if text else []),
            f"**Rendered faces**: {options.faces} held-out ones. Mean absolute difference to the true twin, 0..1, of "
            "the whole picture and of the middle of the face, by the student and by the long way: inversion by "
            f"{options.steps} steps of optimisation from the mean face, then the style generator. Seconds of one core "
            "a face.",
            "",
            *on_twins(students, options),
        ]
    fill_file(options.fill, "students", text)


if __name__ == "__main__":
    main()

"""What the constraint and the pairs are worth: three ways to fine-tune, judged against true stylised twins.

    python -m facestylist.tools.bench.stages [--looks cartoon,sketch,impasto,chibi]
        [--arms plain:3,constrained:3,pairs:2] [--steps 120] [--rate 0.001]
        [--work .work/bench] [--renders .work/renders-128] [--out FILE.md] [--sheet FILE.jpg] [--patches]

plain         stage 1 without the semantic constraint
constrained   stage 1 with it
pairs         a third of the steps of stage 1 with it, then stage 2 on the people behind the style pictures

Runs of a look and seed share the generator they start from, the style pictures and the number of steps. Held-out people
are rendered as photos and read by the encoder; what the style generator makes of their codes is compared with the same
people rendered in the look. The style judge and the parsing network (`judges`) are trained on other people and used by
no run. Finished runs stay in the work folder and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.files import write_atomically
from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...latents.sampling import sample_latent, synthesise
from ...models import checkpoints
from ...models.types import FaceGenerator, FaceLatent
from ...training.finetune.run import finetune
from ...training.inversion.search import invert_with_encoder
from ...training.losses.distances import PatchPart, face_box, sliced_patch_distance
from ...training.pairs.anchors import destylise
from ...training.pairs.making import make_pairs
from ...training.pairs.supervise import supervise
from ..embedded.config import EmbeddedConfig
from ..embedded.styles import ANCHORS, pair_settings, style_settings
from .judges import Judge, frechet_distance, kernel_distance, mean_iou, parse, train_judge
from .renders import Renders, renders

logger = logging.getLogger(__name__)

RESAMPLES = 10_000
FRESH_SEED = 7000
SHEET_PEOPLE = 8
PER_FACE = ("L1", "face L1", "mIoU")
PER_STYLE = ("Frechet", "KID", "patches")
ARMS = ("plain", "constrained", "pairs")
COMPARISONS = (("plain", "constrained"), ("constrained", "pairs"))


@dataclass(frozen=True)
class Run:
    """One fine-tuning to be judged."""

    arm: str
    look: str
    seed: int
    steps: int
    learning_rate: float = 1e-3
    """The generator's in stage 1."""

    @property
    def name(self) -> str:
        """A file name for what comes out of it."""
        return f"{self.look}-{self.arm}-{self.steps}-rate{self.learning_rate:g}-seed{self.seed}"


def fine_tune(run: Run, source: FaceGenerator, pictures: Tensor, callbacks: Callbacks | None = None) -> FaceGenerator:
    """A style by one of the three ways, with the settings the embedded styles are made with."""
    config = EmbeddedConfig()
    first = style_settings(run.look, replace(config, style_steps=run.steps, seed=run.seed))
    first = replace(first, learning_rate=run.learning_rate, preview_interval=0)
    if run.arm == "plain":
        return finetune(source, pictures, replace(first, steps=run.steps, semantic_weight=0.0), callbacks).generator
    if run.arm == "constrained":
        return finetune(source, pictures, replace(first, steps=run.steps), callbacks).generator
    start = run.steps // 3
    stylist = finetune(source, pictures, replace(first, steps=start), callbacks).generator
    anchors = destylise(source, None, pictures, checkpoints.load_encoder("rendered"))
    pairs = make_pairs(source, stylist, ANCHORS, anchors)
    second = pair_settings(run.look, replace(config, style_pair_steps=run.steps - start, seed=run.seed))
    return supervise(source, stylist, pairs, replace(second, preview_interval=0), callbacks).generator


@torch.no_grad()
def judged(style: FaceGenerator, codes: FaceLatent, look: Renders, judge: Judge) -> dict[str, Any]:
    """Numbers of each face against its twin, lists `[faces]`, and three style distances of freshly sampled faces."""
    made = synthesise(style, codes).clamp(-1, 1)
    fresh = fresh_faces(style, len(look.others))
    difference = (made - look.held).abs() / 2
    return {
        "L1": difference.mean((1, 2, 3)).tolist(),
        "face L1": face_box(difference).mean((1, 2, 3)).tolist(),
        "mIoU": mean_iou(parse(judge, made), look.labels).tolist(),
        "Frechet": frechet_distance(judge, fresh, look.others),
        "KID": kernel_distance(judge, fresh, look.others),
        "patches": sliced_patch_distance(fresh, look.others),
    }


def interval(difference: Tensor) -> tuple[float, float, float]:
    """Mean of paired differences `[seeds, faces]` and its 95 % bootstrap interval, resampling faces and seeds."""
    random = torch.Generator().manual_seed(0)
    shares = []
    for count in difference.shape:
        drawn = torch.randint(count, (RESAMPLES, count), generator=random)
        shares.append(torch.zeros(RESAMPLES, count).scatter_add_(1, drawn, torch.full(drawn.shape, 1 / count)))
    means = ((shares[0] @ difference) * shares[1]).sum(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    return float(difference.mean()), low, high


def table(look: str, rows: dict[str, list[dict[str, Any]]], perfect: float) -> list[str]:
    """Lines of one look's table: a row per arm, a row per comparison."""
    some = next(iter(rows.values()))
    lines = [
        f"**{look}**, {len(some)} seeds, {len(some[0]['L1'])} people, true twins are read with mIoU {perfect:.3f}",
        "",
        f"| | {' | '.join((*PER_FACE, *PER_STYLE))} | CPU seconds |",
        "|---|" + "---:|" * (len(PER_FACE + PER_STYLE) + 1),
    ]
    for arm, found in rows.items():
        cells = [f"{float(torch.tensor([row[name] for row in found]).mean()):.4f}" for name in (*PER_FACE, *PER_STYLE)]
        seconds = float(torch.tensor([row["seconds"] for row in found]).median())
        lines.append(f"| {arm} | {' | '.join(cells)} | {seconds:.0f} |")
    for before, after in COMPARISONS:
        if before not in rows or after not in rows:
            continue
        seeds, cells = min(len(rows[before]), len(rows[after])), []
        for name in PER_FACE:
            first, second = (torch.tensor([row[name] for row in rows[arm][:seeds]]) for arm in (before, after))
            mean, low, high = interval(second - first)
            cells.append(f"{mean:+.4f} ({low:+.4f} .. {high:+.4f})")
        for name in PER_STYLE:
            first, second = (torch.tensor([row[name] for row in rows[arm][:seeds]]) for arm in (before, after))
            cells.append(f"{float(second.mean() / first.mean()) - 1:+.1%}")
        lines.append(f"| {before} -> {after} | {' | '.join(cells)} | |")
    return [*lines, ""]


def weights_of(run: Run, source: FaceGenerator, work: Path) -> Path:
    """Where a run's generator is kept."""
    return work / f"{run.name}-{source.w_space[:8]}.safetensors"


def results_of(run: Run, source: FaceGenerator, codes: FaceLatent, look: Renders, judge: Judge, work: Path) -> Any:
    """What a run reached, from the work folder or run and judged now."""
    weights = weights_of(run, source, work)
    numbers = weights.with_suffix(".json")
    if numbers.exists():
        return json.loads(numbers.read_text())
    if not weights.exists():
        started = time.process_time()

        def report(step: int, total: int, losses: dict[str, float]) -> None:
            if step % 20 == 0:
                logger.info("%s: step %d of %d, %.0f CPU s", run.name, step, total, time.process_time() - started)

        style = fine_tune(run, source, look.style, Callbacks(on_progress=report))
        seconds = {"seconds": f"{time.process_time() - started:.0f}"}
        checkpoints.save_generator(replace(style, discriminator=None), weights, seconds)
    found = judged(checkpoints.load_generator(weights), codes, look, judge)
    found["seconds"] = float(checkpoints.inspect(weights).metadata["seconds"])
    write_atomically(numbers, lambda file: file.write(json.dumps(found).encode()))
    return found


def compare(
    looks: Sequence[str], arms: Sequence[tuple[str, int]], steps: int, rate: float, work: Path, folder: Path
) -> list[str]:
    """Lines of all tables; arms come with their numbers of seeds."""
    source = checkpoints.load_generator("rendered")
    photos = renders("photo", source.resolution, folder)
    codes = invert_with_encoder(photos.held, checkpoints.load_encoder("rendered"), source)
    judge = train_judge(work / f"judge-{source.resolution}.pt", source.resolution)
    lines: list[str] = []
    for name in looks:
        look = renders(name, source.resolution, folder)
        perfect = float(mean_iou(parse(judge, look.held), look.labels).mean())
        rows: dict[str, list[dict[str, Any]]] = {}
        for arm, seeds in arms:
            runs = [Run(arm, name, seed, steps, rate) for seed in range(seeds)]
            rows[arm] = [results_of(run, source, codes, look, judge, work) for run in runs]
        lines += table(name, rows, perfect)
    return lines


@torch.no_grad()
def patches_apart(runs: Sequence[Run], work: Path, folder: Path) -> list[str]:
    """Lines of a table: the patch distance of each finished run, of mean colours, and of what patches show besides."""
    source = checkpoints.load_generator("rendered")
    lines = ["| run | patches | colours | details |", "|---|---:|---:|---:|"]

    def add(name: str, made: Tensor, look: Renders) -> None:
        found = [sliced_patch_distance(made, look.others, part=part) for part in get_args(PatchPart)]
        lines.append(f"| {name} | " + " | ".join(f"{distance:.4f}" for distance in found) + " |")

    for name in dict.fromkeys(run.look for run in runs):
        look = renders(name, source.resolution, folder)
        add(f"{name}, true", look.held, look)
        for run in runs:
            weights = weights_of(run, source, work)
            if run.look == name and weights.exists():
                add(run.name, fresh_faces(checkpoints.load_generator(weights), len(look.others)), look)
    return lines


def fresh_faces(style: FaceGenerator, count: int) -> Tensor:
    """Pictures `[count, 3, R, R]` in -1..1 of faces that every run is asked for."""
    return synthesise(style, sample_latent(style, range(FRESH_SEED, FRESH_SEED + count))).clamp(-1, 1)


@torch.no_grad()
def draw_sheet(runs: Sequence[Run], work: Path, folder: Path, path: Path) -> None:
    """Saves held-out people: as photos, as their twins in each look, and as the finished ones of `runs` draw them."""
    source = checkpoints.load_generator("rendered")
    photos = renders("photo", source.resolution, folder, SHEET_PEOPLE).held
    codes = invert_with_encoder(photos, checkpoints.load_encoder("rendered"), source)
    rows = {"photo": photos}
    for run in runs:
        weights = weights_of(run, source, work)
        if weights.exists():
            rows.setdefault(f"{run.look}, twin", renders(run.look, source.resolution, folder, SHEET_PEOPLE).held)
            rows[f"{run.look}, {run.arm}"] = synthesise(checkpoints.load_generator(weights), codes)
    pictures = [list(tensor_to_image(row)) for row in rows.values()]
    sheet = labelled_grid(pictures, [""] * SHEET_PEOPLE, list(rows), cell=source.resolution)
    write_atomically(path, lambda file: sheet.save(file, "JPEG", quality=85, optimize=True))


def main(arguments: list[str] | None = None) -> None:
    """Runs the comparison and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", default="cartoon,sketch,impasto,chibi")
    parser.add_argument("--arms", default="plain:3,constrained:3,pairs:2", help="ways to fine-tune, with their seeds")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rate", type=float, default=1e-3, help="the generator's learning rate in stage 1")
    parser.add_argument("--work", type=Path, default=Path(".work/bench"))
    parser.add_argument("--renders", type=Path, default=Path(".work/renders-128"))
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file of the tables, else they are logged")
    parser.add_argument("--sheet", type=Path, default=None, help="a JPEG of what seed 0 of every run draws")
    parser.add_argument("--patches", action="store_true", help="takes the patch distance of finished runs apart")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    arms = [(arm, int(seeds)) for arm, _, seeds in (part.partition(":") for part in options.arms.split(","))]
    looks = options.looks.split(",")
    lines = compare(looks, arms, options.steps, options.rate, options.work, options.renders)
    if options.patches:
        runs = [Run(arm, look, s, options.steps, options.rate) for look in looks for arm, n in arms for s in range(n)]
        lines += patches_apart(runs, options.work, options.renders)
    for line in lines:
        logger.info("%s", line)
    if options.sheet:
        runs = [Run(arm, look, 0, options.steps, options.rate) for look in looks for arm, _ in arms]
        draw_sheet(runs, options.work, options.renders, options.sheet)
    if options.out:
        write_atomically(options.out, lambda file: file.write("\n".join(lines).encode()))


if __name__ == "__main__":
    main()

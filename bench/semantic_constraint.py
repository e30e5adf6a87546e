"""Does the semantic preservation constraint help? Plain fine-tuning against ours, judged against true stylised twins.

    python -m facestylist.bench.semantic_constraint [--looks cartoon,sketch] [--steps 400] [--seeds 3] [--faces 256]
        [--work .work/bench] [--out docs/semantic-constraint.md]

Every pair of runs shares seed, style pictures and number of steps; only `semantic_weight` differs. Held-out people are
rendered as photos and read by the encoder; what the style generator makes of their codes is compared with the same
people rendered in the look. The style judge and the parsing network (`judges`) are trained on other people and used by
no run. Finished runs stay in the work folder and are not repeated.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..models import checkpoints
from ..models.sampling import sample_latent, synthesise
from ..models.types import FaceGenerator, FaceLatent
from ..procedural import LOOKS, Renderer, parameters_from_z
from ..training.config import FinetuneConfig
from ..training.embedded.config import EmbeddedConfig
from ..training.embedded.dataset import HELD_OUT_SEED, shard_z
from ..training.embedded.styles import style_pictures, style_settings
from ..training.embedded.supervision import face_box
from ..training.finetune import finetune
from ..training.inversion import invert_with_encoder
from ..training.loop import Callbacks, write_atomically
from .judges import Judge, kernel_distance, mean_iou, parse, sliced_patch_distance, train_judge

logger = logging.getLogger(__name__)

RESAMPLES = 10_000
COLUMNS = ("L1 to twin", "face L1", "mIoU with twin", "style KID", "patch distance")


class Held:
    """Held-out people: codes of their photo, and their true twins in one look."""

    def __init__(self, source: FaceGenerator, look: str, faces: int, renderer: Renderer) -> None:
        people = parameters_from_z(shard_z(HELD_OUT_SEED, faces))
        photos = renderer.render(people, source.resolution, fast=True).image
        encoder = checkpoints.load_encoder("embedded")
        self.latent: FaceLatent = invert_with_encoder(photos, encoder, source)
        twins = renderer.render(people, source.resolution, look, fast=True)
        self.twins, self.labels = twins.image, twins.labels.long()
        others = style_pictures_of_others(look, faces, source.resolution)
        self.wanted = others


def style_pictures_of_others(look: str, count: int, size: int) -> Tensor:
    """Pictures of a look that no run is trained on: the people after those of the style set."""
    return style_pictures(look, 150 + count, size)[150:]


def fine_tuned(source: FaceGenerator, look: str, settings: FinetuneConfig, work: Path) -> tuple[FaceGenerator, float]:
    """The finished run from its file, or run now; with its minutes."""
    name = f"{look}-weight{settings.semantic_weight:g}-seed{settings.seed}-steps{settings.steps}-{source.w_space[:8]}"
    path = work / f"{name}.safetensors"
    if not path.exists():
        started = time.monotonic()
        pictures = style_pictures(look, EmbeddedConfig().style_images, source.resolution)

        def report(step: int, total: int, losses: dict[str, float]) -> None:
            if step % 50 == 0:
                logger.info("%s: step %d of %d", name, step, total)

        result = finetune(source, pictures, settings, Callbacks(on_progress=report)).generator
        minutes = f"{(time.monotonic() - started) / 60:.1f}"
        checkpoints.save_generator(replace(result, discriminator=None), path, {"minutes": minutes})
    return checkpoints.load_generator(path), float(checkpoints.inspect(path).metadata.get("minutes", "nan"))


@torch.no_grad()
def judged(style: FaceGenerator, held: Held, judge: Judge) -> dict[str, Tensor | float]:
    """Per-face numbers `[faces]` against the twins, and two style distances of freshly sampled faces."""
    made = synthesise(style, held.latent).clamp(-1, 1)
    fresh = synthesise(style, sample_latent(style, range(7000, 7000 + len(made)))).clamp(-1, 1)
    difference = (made - held.twins).abs() / 2
    return {
        "L1 to twin": difference.mean((1, 2, 3)),
        "face L1": face_box(difference).mean((1, 2, 3)),
        "mIoU with twin": mean_iou(parse(judge, made), held.labels),
        "style KID": kernel_distance(judge, fresh, held.wanted),
        "patch distance": sliced_patch_distance(fresh, held.wanted),
    }


def interval(difference: Tensor) -> tuple[float, float, float]:
    """Mean of paired differences `[seeds, faces]` and its 95 % bootstrap interval, resampling faces and seeds."""
    random = torch.Generator().manual_seed(0)
    seeds, faces = difference.shape
    means = torch.empty(RESAMPLES)
    for i in range(RESAMPLES):
        rows = torch.randint(seeds, (seeds,), generator=random)
        columns = torch.randint(faces, (faces,), generator=random)
        means[i] = difference[rows][:, columns].mean()
    low, high = means.quantile(torch.tensor([0.025, 0.975])).tolist()
    return float(difference.mean()), low, high


def compare(look: str, weights: tuple[float, float], steps: int, seeds: int, faces: int, work: Path) -> list[str]:
    """Lines of one look's table."""
    source = checkpoints.load_generator("embedded")
    renderer = Renderer(compiled=True)
    held = Held(source, look, faces, renderer)
    judge = train_judge(work / f"judge-{source.resolution}.pt", source.resolution)
    perfect = float(mean_iou(parse(judge, held.twins), held.labels).mean())
    rows: dict[float, list[dict[str, Tensor | float]]] = {}
    for weight in weights:
        rows[weight] = []
        for seed in range(seeds):
            base = style_settings(look, EmbeddedConfig())
            settings = replace(base, semantic_weight=weight, seed=seed, steps=steps, preview_interval=0)
            style, _ = fine_tuned(source, look, settings, work)
            rows[weight].append(judged(style, held, judge))
    lines = [
        f"**{look}** ({LOOKS[look].description.rstrip('.')}; {steps} steps, {seeds} seeds, {faces} people; the parsing "
        f"network reads the true twins with mIoU {perfect:.3f})\n",
        f"| semantic weight | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS),
    ]
    for weight in weights:
        cells = [f"{_mean(rows[weight], name):.4f}" for name in COLUMNS]
        lines.append(f"| {weight:g} | {' | '.join(cells)} |")
    cells = []
    for name in COLUMNS:
        without, with_it = rows[weights[0]], rows[weights[1]]
        if isinstance(without[0][name], Tensor):
            before, after = (torch.stack([torch.as_tensor(row[name]) for row in r]) for r in (without, with_it))
            mean, low, high = interval(after - before)
            cells.append(f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]")
        else:
            cells.append(f"{_mean(with_it, name) / _mean(without, name) - 1:+.1%}")
    lines.append(f"| difference | {' | '.join(cells)} |")
    return [*lines, ""]


def _mean(rows: list[dict[str, Tensor | float]], name: str) -> float:
    return sum(float(torch.as_tensor(row[name]).mean()) for row in rows) / len(rows)


def main(arguments: list[str] | None = None) -> None:
    """Runs the comparison and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", default="cartoon")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--faces", type=int, default=256)
    parser.add_argument("--weights", default="0,3")
    parser.add_argument("--work", type=Path, default=Path(".work/bench"))
    parser.add_argument("--out", type=Path, default=None, help="a JSON list of the tables' lines, else to the log")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    first, second = (float(w) for w in options.weights.split(","))
    lines: list[str] = []
    for look in options.looks.split(","):
        lines += compare(look, (first, second), options.steps, options.seeds, options.faces, options.work)
    for line in lines:
        logger.info("%s", line)
    if options.out:
        write_atomically(options.out, lambda file: file.write(json.dumps(lines, indent=1).encode()))


if __name__ == "__main__":
    main()

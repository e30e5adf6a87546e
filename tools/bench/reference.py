"""Does a reference lead? Faces drawn in the look of a reference against the same faces without, on held-out people.

    python -m facestylist.tools.bench.reference [--looks cartoon,sketch] [--faces 24] [--references 4] [--steps 40]
        [--amount 0.8] [--layer-cut 7] [--structure 0] [--work .work/bench] [--fill docs/faces.md]

References are renders of other held-out people in the look, so their colours are other ones. Each is read by the search
of `training/inversion/reference.py`, begun at the encoder for photographs, and applied to every face. Two questions:

- Is the guided picture nearer to the reference than the unguided one is? Style distance of two single pictures: half
  *texture*, the distance of the second moments of the judge's feature maps, and half *colour*, the distance of the mean
  colours of the parts both show, weighted by their area; each relative to its mean over the unguided pictures.
- Is the face still the same? mIoU of the parsing network's reading with the label map of the true twin in the look.

The judge (`judges`) is trained on other people and used by no method. Renders and the judge stay in the work folder:
the first run renders, later ones take about four minutes of one core.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...core.assets import list_embedded
from ...core.files import write_atomically
from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...latents.appearance import random_appearances
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import synthesise
from ...latents.settings import ApplyConfig
from ...models import checkpoints
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent
from ...procedural import NUM_LABELS, Renderer, parameters_from_z
from ...training.inversion.reference import apply_reference, encode_reference
from ...training.inversion.settings import ReferenceConfig
from ...training.losses.distances import appearance_distance
from ..embedded.dataset import HELD_OUT_SEED, shard_z
from .judges import Judge, mean_iou, parse, train_judge
from .sections import fill_file

logger = logging.getLogger(__name__)

LEAST_SHARE = 0.005
"""A part smaller than this share of the picture has no colour to compare."""
PICTURE_LOOKS = ("cartoon", "impasto")
SEEDS = range(6)


@dataclass(frozen=True)
class Outcome:
    """One look: a number per pair of face and reference."""

    look: str
    closer: Tensor
    """Whether the guided picture is nearer than the unguided one, by style distance."""
    closer_texture: Tensor
    closer_colour: Tensor
    before: Tensor
    """Style distance of the unguided picture; its mean is 1 by definition."""
    after: Tensor
    miou_before: Tensor
    miou_after: Tensor
    ceiling: Tensor
    """mIoU of the parsing network's reading of the true twins themselves, one number per face."""
    error: float
    """Mean squared error of the references as read."""


def drawn(
    work: Path, name: str, look: str, first: int, count: int, size: int, renderer: Renderer
) -> tuple[Tensor, Tensor]:
    """Renders `[N, 3, S, S]` and label maps of held-out people, kept in the work folder."""
    path = work / f"held-out-{name}-{size}-{first}-{count}.pt"
    if not path.exists():
        people = parameters_from_z(shard_z(HELD_OUT_SEED)[first : first + count])
        made = renderer.render(people, size, look, fast=True)
        kept = (made.image, made.labels)
        write_atomically(path, lambda file: torch.save(kept, file))
    image, labels = torch.load(path, weights_only=True)
    return image, labels.long()


@torch.no_grad()
def texture(judge: Judge, picture: Tensor, other: Tensor) -> float:
    """Distance of the second moments of the judge's feature maps of two pictures `[3, S, S]`."""
    return appearance_distance(*(judge._encode(p[None]) for p in (picture, other)))


def colour(picture: Tensor, labels: Tensor, other: Tensor, other_labels: Tensor) -> float:
    """Distance of the mean colours of the parts that two pictures `[3, S, S]` both show, weighted by their area."""
    total = weight = 0.0
    for label in range(NUM_LABELS):
        a, b = labels == label, other_labels == label
        share = float(a.float().mean() * b.float().mean()) ** 0.5
        if min(float(a.float().mean()), float(b.float().mean())) < LEAST_SHARE:
            continue
        total += share * float((picture[:, a].mean(1) - other[:, b].mean(1)).norm())
        weight += share
    return total / weight if weight else 0.0


def measured(
    look: str,
    source: FaceGenerator,
    encoder: FaceEncoder,
    judge: Judge,
    faces: FaceLatent,
    options: argparse.Namespace,
    renderer: Renderer,
) -> Outcome:
    """One look's numbers."""
    style = checkpoints.load_generator(f"rendered:{look}")
    size, count = source.resolution, options.references
    twin_pictures, twins = drawn(options.work, look, look, 0, options.faces, size, renderer)
    references, _ = drawn(options.work, f"{look}-reference", look, options.faces, count, size, renderer)
    config = ReferenceConfig(steps=options.steps, several="batch")
    read = encode_reference(references, style, config, source, encoder)
    settings = ApplyConfig(options.amount, options.structure, False, options.layer_cut)
    plain = synthesise(style, faces).clamp(-1, 1)
    guided = synthesise(style, apply_reference(style, faces, read, settings)).clamp(-1, 1)
    seen, seen_guided, seen_references = (parse(judge, p) for p in (plain, guided, references))
    distances = torch.empty(2, 2, options.faces, count)
    for face in range(options.faces):
        for number in range(count):
            pair = face * count + number
            pictures = ((plain[face], seen[face]), (guided[pair], seen_guided[pair]))
            for row, (picture, labels) in enumerate(pictures):
                distances[row, 0, face, number] = texture(judge, picture, references[number])
                distances[row, 1, face, number] = colour(picture, labels, references[number], seen_references[number])
    both = (distances / distances[0].mean((1, 2))[None, :, None, None]).mean(1)
    return Outcome(
        look,
        (both[1] < both[0]).flatten(),
        (distances[1, 0] < distances[0, 0]).flatten(),
        (distances[1, 1] < distances[0, 1]).flatten(),
        both[0].flatten(),
        both[1].flatten(),
        mean_iou(seen, twins).repeat_interleave(count),
        mean_iou(seen_guided, twins.repeat_interleave(count, 0)),
        mean_iou(parse(judge, twin_pictures), twins),
        float(read.reconstruction_error.mean()) if read.reconstruction_error is not None else float("nan"),
    )


def table(outcomes: list[Outcome], options: argparse.Namespace, minutes: float) -> list[str]:
    """The lines of the section."""
    pairs = options.faces * options.references
    lines = [
        "    python -m facestylist.tools.bench.reference",
        "",
        f"{options.faces} held-out people, {options.references} references of other people per look, so {pairs} pairs "
        f"in each; {options.steps} search steps from the encoder for photographs, amount {options.amount:g}, layer cut "
        f"{options.layer_cut or 'automatic'}, structure {options.structure:g}. {minutes:.1f} minutes.",
        "",
        "*Closer*: share of the pairs in which the guided picture is nearer to the reference than the unguided one. "
        "*Style distance*: half texture (second moments of a judge network's features), half colour (mean colours of "
        "the parts both show); 1 for the mean unguided picture. *mIoU*: how well a parsing network's labels match "
        "those of the true twin, in percent.",
        "",
        "| look | closer | by texture | by colour | style distance | mIoU unguided | mIoU guided | change | "
        "mIoU of the twins |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]

    def share(flags: Tensor) -> str:
        return f"{flags.float().mean() * 100:.1f} %"

    for o in outcomes:
        before, after = float(o.miou_before.mean()) * 100, float(o.miou_after.mean()) * 100
        lines.append(
            f"| {o.look} | {share(o.closer)} | {share(o.closer_texture)} | {share(o.closer_colour)} | "
            f"{float(o.after.mean()):.2f} | {before:.1f} | {after:.1f} | {after - before:+.1f} | "
            f"{float(o.ceiling.mean()) * 100:.1f} |"
        )
    joined = [torch.cat([getattr(o, n) for o in outcomes]) for n in ("closer", "closer_texture", "closer_colour")]
    before, after = (
        float(torch.cat([getattr(o, n) for o in outcomes]).mean()) * 100 for n in ("miou_before", "miou_after")
    )
    distance = float(torch.cat([o.after for o in outcomes]).mean())
    lines.append(
        f"| **all** | {' | '.join(map(share, joined))} | {distance:.2f} | {before:.1f} | {after:.1f} | "
        f"{after - before:+.1f} | {float(torch.cat([o.ceiling for o in outcomes]).mean()) * 100:.1f} |"
    )
    return lines


@torch.no_grad()
def pictures(
    source: FaceGenerator,
    encoder: FaceEncoder,
    faces: FaceLatent,
    photos: Tensor,
    options: argparse.Namespace,
    renderer: Renderer,
) -> None:
    """docs/pictures/reference.jpg and variations.jpg."""
    chosen = range(3)
    some = faces.replace(w_plus=faces.w_plus[list(chosen)], reconstruction_error=None)
    led, varied = [], []
    for look in PICTURE_LOOKS:
        style = checkpoints.load_generator(f"rendered:{look}")
        size, count = source.resolution, options.references
        references, _ = drawn(options.work, f"{look}-reference", look, options.faces, count, size, renderer)
        read = encode_reference(
            references, style, ReferenceConfig(steps=options.steps, several="batch"), source, encoder
        )
        plain = tensor_to_image(synthesise(style, some))
        guided = tensor_to_image(synthesise(style, apply_reference(style, some, read)))
        led.append([None, None, *tensor_to_image(references)])
        varied_pictures = tensor_to_image(synthesise(style, random_appearances(style, some, SEEDS)))
        for n in chosen:
            photo = tensor_to_image(photos[n : n + 1])[0]
            led.append([photo, plain[n], *guided[n * count : (n + 1) * count]])
            varied.append([photo, plain[n], *varied_pictures[n * len(SEEDS) : (n + 1) * len(SEEDS)]])
    folder = options.fill.parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"reference {k + 1}" for k in range(options.references)]
    rows = [name for look in PICTURE_LOOKS for name in ("references", look, "", "")]
    labelled_grid(led, ["photo", "the style", *names], rows, "Faces in the look of a reference").save(
        folder / "reference.jpg", quality=88, optimize=True
    )
    rows = [name for look in PICTURE_LOOKS for name in (look, "", "")]
    labelled_grid(
        varied, ["photo", "the style", *(f"seed {s}" for s in SEEDS)], rows, "One style, many appearances"
    ).save(folder / "variations.jpg", quality=88, optimize=True)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and writes the section and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    styles = [name.partition(":")[2] for name in list_embedded(of="rendered") if ":" in name]
    parser.add_argument("--looks", default=",".join(styles))
    parser.add_argument("--faces", type=int, default=24)
    parser.add_argument("--references", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--amount", type=float, default=ApplyConfig.amount)
    parser.add_argument("--structure", type=float, default=ApplyConfig.structure)
    parser.add_argument("--layer-cut", type=int, default=0)
    parser.add_argument("--no-pictures", action="store_true", help="only measure")
    parser.add_argument("--work", type=Path, default=Path(".work/bench"))
    parser.add_argument("--fill", type=Path, default=Path("docs/faces.md"), help="document with a section `reference`")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    source, encoder = checkpoints.load_generator("rendered"), checkpoints.load_encoder("rendered")
    judge = train_judge(options.work / f"judge-{source.resolution}.pt", source.resolution)
    renderer = Renderer()
    photos, _ = drawn(options.work, "photo", "photo", 0, options.faces, source.resolution, renderer)
    faces = invert_with_encoder(photos, encoder, source)
    outcomes = []
    for look in options.looks.split(","):
        outcomes.append(measured(look, source, encoder, judge, faces, options, renderer))
        o = outcomes[-1]
        logger.info(
            "%s: closer %.3f (texture %.3f, colour %.3f), distance %.3f, mIoU %.4f -> %.4f, error %.4f, %.0f s",
            look,
            o.closer.float().mean(),
            o.closer_texture.float().mean(),
            o.closer_colour.float().mean(),
            o.after.mean(),
            o.miou_before.mean(),
            o.miou_after.mean(),
            o.error,
            time.monotonic() - started,
        )
    fill_file(options.fill, "reference", table(outcomes, options, (time.monotonic() - started) / 60))
    if not options.no_pictures:
        pictures(source, encoder, faces, photos, options, renderer)


if __name__ == "__main__":
    main()

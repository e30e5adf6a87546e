"""Fills the numbers and the picture of the rendered cast's model card from what the training wrote.

    python -m facestylist.tools.bench.rendered_card [--results FILE.json] [--assets assets/rendered] [--docs docs]

`--results` is the `results.json` of the training's work folder. The table goes between the two marker comments in
the `README.md` beside the networks, the picture to `pictures/rendered.jpg` of the docs.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from ...core.assets import ASSETS, FILES, STYLE_PREFIX
from ...core.pictures import tensor_to_image
from ...core.sheets import Row, contact_sheet
from ...latents.encoding import invert_with_encoder
from ...latents.sampling import sample_latent, synthesise
from ...models import checkpoints
from ...procedural import Renderer, can_compile, parameters_from_z
from ..embedded.dataset import HELD_OUT_SEED, shard_z
from .sections import fill_file

logger = logging.getLogger(__name__)

STAGES = {
    "render": "rendering",
    "start": "supervised start",
    "mapping": "mapping",
    "grow": "new block",
    "full": "whole generator",
    "polish": "adversarial polish",
    "codes": "encoder, codes",
    "encoder": "encoder, pictures",
}
"""Stages in the order they run, and what they are called in the table."""
COLUMNS = {
    "psnr": ("PSNR, dB", "{:.2f}"),
    "l1": ("L1", "{:.4f}"),
    "face_l1": ("face L1", "{:.4f}"),
    "gradient_energy": ("gradient energy", "{:.2f}"),
    "w_error": ("w error", "{:.3f}"),
}
PEOPLE, CELL = 8, 128
DIVERSITY_FACES, DIVERSITY_SIZE = 512, 32


def stage_table(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One row per stage that was measured; a dash where a stage has no such number."""
    lines = [
        f"| stage | steps | minutes | {' | '.join(title for title, _ in COLUMNS.values())} |",
        "|---|" + "---:|" * (2 + len(COLUMNS)),
    ]
    for name in [*STAGES, *(key for key in results if key not in STAGES)]:
        if name not in results:
            continue
        row = results[name]
        cells = [f"{row[key]}" if key in row else "-" for key in ("steps", "minutes")]
        cells += [text.format(row[key]) if key in row else "-" for key, (_, text) in COLUMNS.items()]
        title = STAGES.get(name, name) + (f" {row['faces']} faces" if "faces" in row else "")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def file_table(assets: Path) -> list[str]:
    """One row per network that ships, and the sum."""
    lines = ["| file | MB | values | made from |", "|---|---:|---:|---|"]
    total = 0
    for path in sorted(assets.glob("*.safetensors"), key=_shipping_order):
        size = path.stat().st_size
        total += size
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            values = sum(_count(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        lines.append(f"| `{path.name}` | {size / 1e6:.2f} | {values / 1e6:.2f} M | {_origin(path, metadata)} |")
    lines.append(f"| together | {total / 1e6:.2f} | | |")
    return lines


def _shipping_order(path: Path) -> tuple[int, str]:
    known = list(FILES.values())
    return (known.index(path.name) if path.name in known else len(known), path.name)


def _count(shape: list[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _origin(path: Path, metadata: Mapping[str, str]) -> str:
    """What a file says about how it was made, in a few words."""
    if path.stem.startswith(STYLE_PREFIX):
        words = [f"{metadata['style_pictures']} unpaired pictures"] if "style_pictures" in metadata else []
        words += [f"{metadata['minutes']} minutes"] if float(metadata.get("minutes", 0)) > 0 else []
        return ", ".join(words) or "-"
    if path.name == FILES["detector"] and "metrics" in metadata:
        measured, settings = (json.loads(metadata.get(name, "{}")) for name in ("metrics", "training"))
        portraits = f" and {settings['portraits']} portraits" if "portraits" in settings else ""
        faces = f"{settings['faces']} rendered faces{portraits}" if "faces" in settings else ""
        words = [f"{settings['steps']} steps on {faces}"] if faces else []
        words += [f"recall {measured['recall']:.1%}", f"{measured['false_positives']:.3f} false faces per scene"]
        words += [f"landmark error {measured['landmark_error']:.2%} of the eye distance"]
        return ", ".join(words)
    if "learnt_from" in metadata:
        return f"fast stylizer: {metadata['steps']} steps, {metadata['learnt_from']}"
    return {FILES["generator"]: "generator and discriminator", FILES["encoder"]: "W+ of an aligned face"}.get(
        path.name, "-"
    )


@torch.no_grad()
def pictures(assets: Path, people: int = PEOPLE) -> list[Row]:
    """Random samples; held-out renders and what encoder, generator and styles make of them."""
    source = checkpoints.load_generator(assets / FILES["generator"])
    encoder = checkpoints.load_encoder(assets / FILES["encoder"])
    z = shard_z(HELD_OUT_SEED)[:people]
    truth = Renderer().render(parameters_from_z(z), source.resolution, fast=True).image
    latent = invert_with_encoder(truth, encoder, source)
    samples = [
        ("random z, first row", synthesise(source, sample_latent(source, range(people)))),
        ("random z, second row", synthesise(source, sample_latent(source, range(people, 2 * people)))),
    ]
    reconstructions = [
        ("held-out renders", truth),
        ("the generator at the codes the encoder reads from them", synthesise(source, latent)),
    ]
    styled = []
    for path in sorted(assets.glob(f"{STYLE_PREFIX}*.safetensors")):
        style = checkpoints.load_generator(path)
        styled.append((f"style {style.style} at the same codes", synthesise(style, latent)))
        twins = Renderer().render(parameters_from_z(z), source.resolution, style.style).image
        styled.append((f"the same people rendered as {style.style}, which no network saw", twins))
    return [_row(title, batch) for title, batch in (*samples, *reconstructions, *styled)]


@torch.no_grad()
def diversity(assets: Path, count: int = DIVERSITY_FACES) -> list[str]:
    """How far apart the generator's people are, next to the renders': root mean squared differences at 32 px
    (on a scale of 0..1), for all pairs and for each face and the one most like it."""
    source = checkpoints.load_generator(assets / FILES["generator"])
    drawn = Renderer(compiled=can_compile() and count >= DIVERSITY_FACES).render(
        parameters_from_z(shard_z(HELD_OUT_SEED, count)), source.resolution, fast=True
    )
    made = synthesise(source, sample_latent(source, range(count)), 16).clamp(-1, 1)
    lines = ["| diversity | mean distance of two faces | mean distance to the nearest |", "|---|---:|---:|"]
    for title, batch in (("renders", drawn.image), ("samples", made)):
        rows = F.adaptive_avg_pool2d(batch / 2, DIVERSITY_SIZE).flatten(1)
        apart = torch.cdist(rows, rows) / rows.shape[1] ** 0.5
        pairs = float(apart.sum() / (count * (count - 1)))
        nearest = float(apart.fill_diagonal_(torch.inf).min(1).values.mean())
        lines.append(f"| {count} {title} | {pairs:.4f} | {nearest:.4f} |")
    return lines


def _row(title: str, batch: Tensor) -> Row:
    return Row(list(tensor_to_image(batch)), [""] * len(batch), CELL, title)


def main(arguments: list[str] | None = None) -> None:
    """Writes the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("tools/embedded/results.json"))
    parser.add_argument("--assets", type=Path, default=ASSETS / "rendered")
    parser.add_argument("--faces", type=int, default=DIVERSITY_FACES, help="how many to measure diversity with")
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    results = json.loads(options.results.read_text(encoding="utf-8"))
    card = options.assets / "README.md"
    lines = [*stage_table(results), "", *file_table(options.assets), "", *diversity(options.assets, options.faces)]
    fill_file(card, "numbers", lines)
    sheet = contact_sheet(pictures(options.assets), "The embedded default")
    target = options.docs / "pictures" / "rendered.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, quality=88, optimize=True)
    logger.info("%s and %s are up to date", card, target)


if __name__ == "__main__":
    main()

"""What an encoder taught on a style reads in drawings, beside the shipped one, which was shown photo-like faces.

    facestylist train-encoder --generator rendered:sketch --steps 1500 --out encoder.safetensors
    python -m facestylist.tools.bench.style_encoder --encoder encoder.safetensors [--look sketch] [--faces 128]
        [--work .work/bench] [--renders .work/renders-128] [--sheet FILE.jpg]

Held-out people are read from their rendered pictures in the look. *Drawn again*: what the style generator makes of the
codes, against the picture that was read. *The person*: what the source makes of them, against the photo of the same
person; mIoU is of its label map.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...core.files import write_atomically
from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...latents.encoding import invert_with_encoder, mean_squared_error
from ...latents.sampling import synthesise
from ...models import checkpoints
from ...training.losses.reconstruction import peak_signal_to_noise
from .judges import mean_iou, parse, train_judge
from .renders import renders
from .students import twin_distances

logger = logging.getLogger(__name__)

SHEET_PEOPLE = 8


def compare(
    encoders: Sequence[str], look: str, count: int, work: Path, folder: Path
) -> tuple[list[str], dict[str, Tensor]]:
    """Lines of the table, and rows of pictures `[N, 3, S, S]` by what they show."""
    source, style = checkpoints.load_generator("rendered"), checkpoints.load_generator(f"rendered:{look}")
    photos, drawings = (renders(name, source.resolution, folder, count) for name in ("photo", look))
    judge = train_judge(work / f"judge-{source.resolution}.pt", source.resolution)
    held, drawn, labels = photos.held[:count], drawings.held[:count], photos.labels[:count]
    lines = ["| encoder | drawn again: PSNR | L1 | face L1 | the person: PSNR | L1 | face L1 | mIoU |"]
    lines += ["|---|" + "---:|" * 7]
    rows = {"photo": held, look: drawn}
    for name in encoders:
        codes = invert_with_encoder(drawn, checkpoints.load_encoder(name), style)
        again, person = synthesise(style, codes).clamp(-1, 1), synthesise(source, codes).clamp(-1, 1)
        cells = []
        for made, wanted in ((again, drawn), (person, held)):
            whole, face = twin_distances(made, wanted)
            decibels = float(peak_signal_to_noise(mean_squared_error(made, wanted)).mean())
            cells += [f"{decibels:.1f}", f"{whole:.4f}", f"{face:.4f}"]
        cells.append(f"{float(mean_iou(parse(judge, person), labels).mean()):.3f}")
        title = "shipped" if name == "rendered" else "of the style"
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
        rows |= {f"{title}: drawn again": again, f"{title}: the person": person}
    return lines, rows


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    """Measures, and saves the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True, metavar="FILE")
    parser.add_argument("--look", default="sketch")
    parser.add_argument("--faces", type=int, default=128, help="at most 256")
    parser.add_argument("--work", type=Path, default=Path(".work/bench"), help="keeps the judge")
    parser.add_argument("--renders", type=Path, default=Path(".work/renders-128"), help="keeps rendered people")
    parser.add_argument("--sheet", type=Path, default=None)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    encoders = ("rendered", options.encoder)
    lines, rows = compare(encoders, options.look, options.faces, options.work, options.renders)
    for line in lines:
        logger.info("%s", line)
    if options.sheet:
        pictures = [list(tensor_to_image(row[:SHEET_PEOPLE])) for row in rows.values()]
        sheet = labelled_grid(pictures, [""] * SHEET_PEOPLE, list(rows), cell=rows["photo"].shape[-1])
        write_atomically(options.sheet, lambda file: sheet.save(file, "JPEG", quality=85, optimize=True))


if __name__ == "__main__":
    main()

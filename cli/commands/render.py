"""Draw procedural faces with their landmarks and label maps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ...core.files import check_writable, write_atomically
from ...pipeline.processes import current_shard
from ..console import Console, require
from ..options import positive

HELP = "draw procedural faces with exact landmarks and label maps"
CHUNK = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=positive, required=True, metavar="N", help="how many people")
    parser.add_argument("--style", default="photo", metavar="LOOK", help="photo, cartoon, ... (default: photo)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument("--size", type=positive, default=256, metavar="N", help="side in pixels (default: 256)")


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...core.callbacks import batched
    from ...core.pictures import tensor_to_image, write_picture
    from ...procedural import LABEL_COLOURS, LOOKS, Label, render, sample_parameters, select
    from ...runtime.devices import pick_device
    from ...runtime.progress import ProgressReporter

    require(args.style in LOOKS, f"there is no style {args.style!r}; choose one of {', '.join(LOOKS)}")
    check_writable(args.out, folder=True)
    device = pick_device()
    seed = args.seed or 0
    # Drawn on the CPU, so that a seed means the same people on every device.
    everyone = sample_parameters(args.count, torch.Generator().manual_seed(seed))
    faces = []
    shard = current_shard()
    people = {name: shard.of(value).to(device) for name, value in everyone.items()}
    numbers = shard.of(range(args.count))
    with torch.inference_mode(), ProgressReporter(len(numbers), "render") as progress:
        for rows in batched(len(numbers), CHUNK, progress.callbacks()):
            drawn = render(select(people, rows), args.size, look=args.style)
            pictures = tensor_to_image(drawn.image)
            for row, number in enumerate(numbers[rows]):
                name = f"{number:05}.png"
                console.line(str(write_picture(pictures[row], args.out / name)))
                # In a folder of their own, so that the pictures' folder can be given to `finetune --styles`.
                _write_labels(drawn.labels[row].cpu().numpy(), args.out / "labels" / name, LABEL_COLOURS)
                landmarks = drawn.landmarks[row].tolist()
                faces.append({"image": name, "labels": f"labels/{name}", "landmarks": landmarks})
    record = {
        "style": args.style,
        "size": args.size,
        "seed": seed,
        "labels": {label.name.lower(): int(label) for label in Label},
        "faces": faces,
    }
    landmarks_file = shard.path_of_rank(args.out / "landmarks.json")
    write_atomically(landmarks_file, lambda file: file.write(json.dumps(record).encode()))
    console.line(str(landmarks_file))
    console.result({"out": str(args.out), **record, **shard.as_json()})


def _write_labels(labels: object, path: Path, colours: object) -> None:
    """A palette PNG: its values are the labels, and it looks like what they stand for."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.asarray(labels, dtype=np.uint8), "P")
    picture.putpalette(np.asarray(colours, dtype=np.uint8).reshape(-1).tolist())
    write_atomically(path, lambda file: picture.save(file, "PNG"))

"""Turn any readable checkpoint into this project's own format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console import Console
from ..files import find_file, load_encoder, load_generator, need

HELP = "turn a checkpoint into our .safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any checkpoint that `inspect` knows, or embedded")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")


def run(args: argparse.Namespace, console: Console) -> None:
    need(args.out.suffix == ".safetensors", f"OUT is {args.out}; its name has to end in .safetensors")
    from ...models.checkpoints import inspect, save_encoder, save_generator

    kind = inspect(find_file(args.file)).kind
    if kind == "encoder":
        encoder = load_encoder(args.file)
        save_encoder(encoder, args.out, dict(encoder.provenance), half=args.half)
    else:
        generator = load_generator(args.file)
        save_generator(generator, args.out, dict(generator.provenance), half=args.half)
    console.line(str(args.out))
    console.result({"files": [str(args.out)], "kind": kind})

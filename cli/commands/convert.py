"""Turn any readable checkpoint into this project's own format, or one of ours into a public implementation's layout."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.files import check_writable
from ...pipeline.networks import find_file
from ..console import Console, require

HELP = "turn a checkpoint into our .safetensors"
LAYOUTS = ("facestylist", "rosinality", "nvidia", "psp", "arcface")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any checkpoint that `inspect` knows, or embedded")
    parser.add_argument("out", type=Path, metavar="OUT.safetensors", help="or OUT.pt for the other layouts")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        help="facestylist (default), or state dicts under the names of rosinality (a generator; its default for "
        "OUT.pt), nvidia (the same), psp (encoders of pSp, e4e and ReStyle) or arcface (an ArcFace network)",
    )
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size; ours only")


def run(args: argparse.Namespace, console: Console) -> None:
    suffix = args.out.suffix.lower()
    ours = args.layout == "facestylist" or (args.layout is None and suffix != ".pt")
    wanted = ".safetensors" if ours else ".pt"
    require(suffix == wanted, f"OUT is {args.out}; its name has to end in {wanted}")
    require(not args.half or ours, "--half is only for our own format")
    check_writable(args.out)
    from ...models.checkpoints import inspect
    from ...models.checkpoints.convert import convert, public_layout

    file = find_file(args.file)
    layout = args.layout or ("facestylist" if ours else public_layout(inspect(file)))
    info = convert(file, args.out, layout, args.half)
    for lack in info.missing:
        console.note(f"The file had no {lack}.")
    console.files([args.out], kind=info.kind, family=info.family, layout=layout, missing=info.missing)

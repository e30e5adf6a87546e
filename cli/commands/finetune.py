"""Teach a generator a style from a folder of pictures (stage 1); under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.settings import to_mapping
from ...training.finetune.settings import FinetuneConfig
from ...training.guides.hints import GuideRequest, parse_request
from ..console import Console
from ..files import load_generator, require
from ..options import add_settings, read_config
from ..runs import begin_run
from ..sharding import training_processes

if TYPE_CHECKING:
    from ...training.guides.networks import NetworkGuide

HELP = "teach a generator a style"
ON_THEIR_OWN = ("steps", "seed", "style_name")
"""Settings whose flags are not made from the config: they are shared, or have a default of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default="embedded", metavar="FILE", help="a checkpoint with its discriminator")
    parser.add_argument("--styles", type=Path, required=True, metavar="DIR", help="a folder of 10 to 300 pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the style, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument("--steps", type=int, metavar="N", help=f"default: {FinetuneConfig.steps}")
    parser.add_argument("--style-name", metavar="NAME", help="default: the name of OUT")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    parser.add_argument("--run-dir", type=Path, metavar="RUN", help="where the run is kept (default: runs/NAME)")
    parser.add_argument(
        "--no-align", dest="align", action="store_false", help="the pictures are aligned faces already; only resize"
    )
    parser.add_argument("--subfolders", action="store_true", help="take the pictures of DIR's subfolders, too")
    parser.add_argument(
        "--max-pictures", type=int, default=0, metavar="N", help="no more than N, spread over the folder (default: all)"
    )
    parser.add_argument(
        "--guide",
        type=_guide,
        action="append",
        default=[],
        metavar="KIND=FILE[:WEIGHT]",
        help="something else to keep, seen by a network you have: lpips, identity, dino or parsing; may be repeated",
    )
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, FinetuneConfig, but=ON_THEIR_OWN)


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    require(args.resume is None or args.run_dir in (None, args.resume), "--resume and --run-dir name different folders")
    require(args.resume is None or args.resume.is_dir(), f"there is no run in {args.resume}")
    config = read_config(args, FinetuneConfig, style_name=args.out.stem)
    run_dir = args.resume or args.run_dir or Path("runs") / config.style_name
    begin_run(console, run_dir, args.resume is not None, f"with --resume {run_dir}", args.out)
    from ...models.checkpoints import save_generator
    from ...runtime.folders import cache_dir, model_dirs
    from ...runtime.progress import ProgressReporter
    from ...training.data.inputs import check_source
    from ...training.data.style_images import FolderSettings, largest_face_aligner, scan_style_folder
    from ...training.finetune.run import finetune

    processes = training_processes()
    source = load_generator(args.source)
    if processes.device is not None:
        source = source.to(processes.device)
    check_source(source)
    size = source.resolution
    aligner = largest_face_aligner(size, "auto", model_dirs("face_detection")) if args.align else False
    settings = FolderSettings(size, subfolders=args.subfolders, most=args.max_pictures)
    with processes.main_process_first(), ProgressReporter(1, "style pictures") as progress:
        told = progress.update if processes.is_main else None
        styles = scan_style_folder(args.styles, settings, aligner, cache_dir() / "style_crops", told)
    if processes.is_main:
        console.note(styles.report())
    training, held_out = styles.split(config.validation)
    guides = [_open(request) for request in args.guide]
    with ProgressReporter(config.steps, "fine-tune") as progress:
        resume = args.resume is not None
        result = finetune(
            source,
            styles.read(training),
            config,
            progress.callbacks(),
            run_dir,
            resume,
            guides=guides,
            processes=processes,
            validation_images=styles.read(held_out),
        )
    if not processes.is_main:
        return
    save_generator(result.generator, args.out, dict(result.generator.provenance), half=args.half)
    console.line(str(args.out))
    console.result(
        {
            "files": [str(args.out)],
            "run": str(run_dir),
            "pictures": len(training),
            "held_out": [str(styles.paths[index]) for index in held_out],
            "skipped": [{"picture": str(path), "reason": reason} for path, reason in styles.skipped],
            "chosen_step": result.chosen_step,
            "scores": [asdict(score) for score in result.scores],
            "settings": to_mapping(config),
            "last": result.history[-1] if result.history else {},
        }
    )


def _guide(text: str) -> GuideRequest:
    """`--guide`'s value."""
    try:
        return parse_request(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _open(request: GuideRequest) -> NetworkGuide:
    """The guide with the networks in its files, which are found by path or in the models folder."""
    from ...runtime.folders import find_model, model_dirs
    from ...training.guides.files import open_guide
    from ...training.guides.hints import FOLDER, get_it

    places = model_dirs(FOLDER)
    files = []
    for name in request.files:
        try:
            files.append(find_model(FOLDER, name))
        except ValueError as error:
            raise ValueError(f"There is no file {name}. {get_it(request.kind, places)}") from error
    return open_guide(request.kind, files, request.weight, places)

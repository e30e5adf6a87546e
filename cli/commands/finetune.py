"""Teach a generator a style from a folder of pictures (stage 1); under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ...pipeline.networks import load_generator
from ...training.finetune.settings import FinetuneConfig
from ..console import Console
from ..options import add_settings, read_config
from ..training import TrainingCommand, add_guides, add_output, add_resume, add_run_dir, check_output, open_guides

HELP = "teach a generator a style"
ON_THEIR_OWN = ("steps", "seed", "style_name")
"""Settings whose flags are not made from the config: they are shared, or have a default of their own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default="embedded", metavar="FILE", help="a checkpoint with its discriminator")
    parser.add_argument("--styles", type=Path, required=True, metavar="DIR", help="a folder of 10 to 300 pictures")
    add_output(parser, "the style", FinetuneConfig)
    parser.add_argument("--style-name", metavar="NAME", help="default: the name of OUT")
    add_resume(parser, folder=True)
    add_run_dir(parser)
    parser.add_argument(
        "--no-align", dest="align", action="store_false", help="the pictures are aligned faces already; only resize"
    )
    parser.add_argument("--subfolders", action="store_true", help="take the pictures of DIR's subfolders, too")
    parser.add_argument(
        "--max-pictures", type=int, default=0, metavar="N", help="no more than N, spread over the folder (default: all)"
    )
    add_guides(parser)
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, FinetuneConfig, but=ON_THEIR_OWN)


def run(args: argparse.Namespace, console: Console) -> None:
    check_output(args)
    config = read_config(args, FinetuneConfig, style_name=args.out.stem)
    job = TrainingCommand(args, console, config, config.style_name)
    from ...models.checkpoints import save_generator
    from ...runtime.folders import cache_dir, model_dirs
    from ...runtime.progress import ProgressReporter
    from ...training.data.inputs import check_source
    from ...training.data.style_images import FolderSettings, largest_face_aligner, scan_style_folder
    from ...training.finetune.run import finetune

    source = load_generator(args.source).to(job.device)
    check_source(source)
    size = source.resolution
    aligner = largest_face_aligner(size, "auto", model_dirs("face_detection")) if args.align else False
    settings = FolderSettings(size, subfolders=args.subfolders, most=args.max_pictures)
    with job.main_process_first(), ProgressReporter(1, "style pictures") as progress:
        told = progress.update if job.is_main else None
        styles = scan_style_folder(args.styles, settings, aligner, cache_dir() / "style_crops", told)
    if job.is_main:
        console.note(styles.report())
    training, held_out = styles.split(config.validation)
    with ProgressReporter(config.steps, "fine-tune") as progress:
        result = finetune(
            source,
            styles.read(training),
            config,
            progress.callbacks(),
            guides=open_guides(args),
            validation_images=styles.read(held_out),
            **job.run,
        )
    job.finish(
        save_generator,
        result.generator,
        result.history,
        pictures=len(training),
        held_out=[str(styles.paths[index]) for index in held_out],
        skipped=[{"picture": str(path), "reason": reason} for path, reason in styles.skipped],
        chosen_step=result.chosen_step,
        scores=[asdict(score) for score in result.scores],
    )

"""Train a style further with pseudo-pairs (stage 2); under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...pipeline.networks import load_generator, source_of, style_file
from ...training.pairs.supervision_settings import PairSupervisionConfig
from ..console import Console
from ..options import add_settings, read_config
from ..training import TrainingCommand, add_guides, add_output, add_resume, add_run_dir, check_output, open_guides

HELP = "train a style further with pairs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="FILE", help="what the style was fine-tuned from (default: embedded)")
    parser.add_argument("--style", required=True, metavar="FILE", help="the style, with its discriminator")
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE", help="pairs made with the two")
    add_output(parser, "the style", PairSupervisionConfig)
    add_resume(parser, folder=True)
    add_run_dir(parser)
    add_guides(parser)
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, PairSupervisionConfig, but=("steps", "seed"))


def run(args: argparse.Namespace, console: Console) -> None:
    check_output(args)
    config = read_config(args, PairSupervisionConfig)
    job = TrainingCommand(args, console, config, f"{args.out.stem}-pairs")
    from ...models.checkpoints import save_generator
    from ...runtime.progress import ProgressReporter
    from ...training.pairs.manifest import load_pairs
    from ...training.pairs.supervise import supervise

    source = load_generator(args.source or source_of(args.style)).to(job.device)
    style = load_generator(style_file(args.style)).to(job.device)
    pairs = load_pairs(args.pairs)
    guides = open_guides(args)
    with ProgressReporter(config.steps, "pairs") as progress:
        result = supervise(source, style, pairs, config, progress.callbacks(), **job.run, guides=guides)
    job.finish(save_generator, result.generator, result.history, pairs=len(pairs))

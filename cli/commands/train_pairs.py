"""Train a style further with pseudo-pairs (stage 2); under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.settings import to_mapping
from ...training.pairs.supervision_settings import PairSupervisionConfig
from ..console import Console
from ..files import load_generator, require, source_of, style_file
from ..options import add_settings, read_config
from ..runs import begin_run
from ..sharding import training_processes

HELP = "train a style further with pairs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="FILE", help="what the style was fine-tuned from (default: embedded)")
    parser.add_argument("--style", required=True, metavar="FILE", help="the style, with its discriminator")
    parser.add_argument("--pairs", type=Path, required=True, metavar="FILE", help="pairs made with the two")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the style, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument("--steps", type=int, metavar="N", help=f"default: {PairSupervisionConfig.steps}")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    parser.add_argument("--run-dir", type=Path, metavar="RUN", help="where the run is kept (default: runs/NAME)")
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, PairSupervisionConfig, but=("steps", "seed"))


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    require(args.resume is None or args.run_dir in (None, args.resume), "--resume and --run-dir name different folders")
    require(args.resume is None or args.resume.is_dir(), f"there is no run in {args.resume}")
    config = read_config(args, PairSupervisionConfig)
    run_dir = args.resume or args.run_dir or Path("runs") / f"{args.out.stem}-pairs"
    begin_run(console, run_dir, args.resume is not None, f"with --resume {run_dir}", args.out)
    from ...models.checkpoints import save_generator
    from ...runtime.progress import ProgressReporter
    from ...training.pairs.manifest import load_pairs
    from ...training.pairs.supervise import supervise

    processes = training_processes()
    source, style = load_generator(args.source or source_of(args.style)), load_generator(style_file(args.style))
    if processes.device is not None:
        source, style = source.to(processes.device), style.to(processes.device)
    pairs = load_pairs(args.pairs)
    with ProgressReporter(config.steps, "pairs") as progress:
        resume = args.resume is not None
        result = supervise(source, style, pairs, config, progress.callbacks(), run_dir, resume, processes)
    if not processes.is_main:
        return
    save_generator(result.generator, args.out, dict(result.generator.provenance), half=args.half)
    console.line(str(args.out))
    console.result(
        {
            "files": [str(args.out)],
            "run": str(run_dir),
            "pairs": len(pairs),
            "settings": to_mapping(config),
            "last": result.history[-1] if result.history else {},
        }
    )

"""Train the embedded face detector on rendered scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...cli.console import Console, require
from ...cli.files import read_settings
from ...cli.options import positive
from ...cli.training import begin_run
from ...pipeline.processes import require_one_process

HELP = "train the embedded face detector on rendered scenes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the weights, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument("--steps", type=positive, metavar="N", help="training steps")
    parser.add_argument(
        "--photos", type=Path, metavar="DIR", help="portraits to learn from as well, listed with landmarks in faces.csv"
    )
    parser.add_argument("--backgrounds", type=Path, metavar="DIR", help="pictures without faces to learn from as well")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from (default: new ones)")
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / "detector", metavar="RUN", help="runs/detector")
    parser.add_argument("--resume", action="store_true", help="continue what the run's folder holds")


def run(args: argparse.Namespace, console: Console) -> None:
    require_one_process("train-detector")
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    begin_run(console, args.run_dir, args.resume, "with --resume", args.out)
    values: dict[str, Any] = read_settings(args.config) if args.config else {}
    from ...core.settings import from_mapping, to_mapping
    from ...runtime.progress import ProgressReporter
    from ..detector.run import train_detector
    from ..detector.settings import DetectorTrainingConfig

    given = {"steps": args.steps, "seed": args.seed}
    values |= {name: value for name, value in given.items() if value is not None}
    config = from_mapping(DetectorTrainingConfig, values)
    with ProgressReporter(config.steps, "detector") as progress:
        result = train_detector(
            config,
            progress.callbacks(),
            args.run_dir,
            args.resume,
            output=args.out,
            photos=args.photos,
            backgrounds=args.backgrounds,
            start=args.start,
        )
    for name, value in result.metrics.items():
        console.line(f"{name}: {value:.4g}")
    console.line(str(args.out))
    console.result({"files": [str(args.out)], "metrics": result.metrics, "settings": to_mapping(config)})

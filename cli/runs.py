"""The run of a training command: whether it can be written and resumed at all, and what an interrupt leaves of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..core.files import check_writable
from ..training.kit.kept import check_run, kept_losses, kept_step
from .console import Console
from .sharding import current_shard


def begin_run(console: Console, run_dir: Path, resume: bool, again: str, out: Path) -> None:
    """Checks where a training will write, and prepares what is said if it is interrupted.

    Args:
        run_dir: its folder.
        resume: whether it goes on from what is there.
        again: what the same command needs to go on, such as "--resume".
        out: the file that comes of it.

    Raises:
        ValueError: something cannot be written, the folder holds a run that was not to be resumed, or none that could.
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

"""What a run's folder keeps, as far as its file names tell: needs no torch, so that a command can ask at once."""

from __future__ import annotations

from pathlib import Path


class CannotResume(ValueError):
    """The run folder holds no state that fits."""


def kept_states(run_dir: Path) -> list[Path]:
    """The files of saved states, newest first."""
    return sorted((run_dir / "state").glob("step-*.pt"), reverse=True)


def kept_step(run_dir: Path) -> int:
    """The step after which the newest state was saved; 0 without any."""
    states = kept_states(run_dir)
    return int(states[0].stem.removeprefix("step-")) if states else 0


def kept_losses(run_dir: Path) -> int:
    """How many rows the loss table has; 0 without one."""
    path = run_dir / "losses.csv"
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.is_file() else 0


def check_run(run_dir: Path, resume: bool, begun: bool = False) -> None:
    """Raises CannotResume where a folder holds a run that is not to be resumed, and, with `begun`, where there is none
    to be resumed."""
    step = kept_step(run_dir)
    if step and not resume:
        raise CannotResume(f"{run_dir} already holds a run. Resume it, or choose an empty folder for a new one.")
    if begun and not step:
        losses = kept_losses(run_dir)
        there = f"the losses of {losses} steps, but no state" if losses else "no run"
        raise CannotResume(
            f"{run_dir} holds {there} to go on from. Start the training anew, without --resume"
            + (" (its losses.csv will be kept under another name)." if losses else ".")
        )

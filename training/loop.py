"""The one training loop: steps, progress, previews, interruption, saved state and exact resumption.

A training is a `Task`: something that can do one step, draw a preview and hand out its state. `train` drives it.
A run folder holds `losses.csv`, `settings.json`, `previews/` and `state/` (the two newest states). A resumed run
continues bit for bit where the saved state was, whether it was cancelled or killed. A file `stop` put into the folder
ends the run in good order after the step at hand, with the result so far.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import logging
import math
import pickle  # noqa: S403 - only the name of its error
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..models.files import write_atomically
from .distributed import ALONE, Processes

log = logging.getLogger(__name__)

STATE_FORMAT = 1
STATES_KEPT = 2
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the operating system says when a disk, a quota or a limit on file sizes is used up."""
UNREADABLE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError,
    pickle.UnpicklingError, struct.error,
)  # fmt: skip
"""What PyTorch raises at a damaged file."""
MAX_BAD_STEPS = 3
"""So many non-finite steps in a row end the training."""


@dataclass(frozen=True)
class Callbacks:
    """How the outside follows and stops a training; every one is optional and may raise to interrupt it."""

    on_progress: Callable[[int, int, dict[str, float]], None] | None = None
    """`(step, total, losses)` after each step, step counted from 1."""
    on_preview: Callable[[int, Tensor], None] | None = None
    """`(step, picture [3, H, W] in 0..1)`."""
    should_stop: Callable[[], bool] | None = None
    """Asked after each step; true ends the training in good order, with its result."""


class Task(Protocol):
    """What `train` drives."""

    terms: tuple[str, ...]
    """Names of all numbers a step may report, the columns of the loss table."""

    def step(self, step: int) -> dict[str, float]:
        """Does update number `step`, counted from 1, and reports numbers; raises `NonFiniteLoss` before updating."""

    def preview(self) -> Tensor:
        """A picture `[3, H, W]` in 0..1; must not change what is trained, nor any random generator it uses."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while training: weights, optimisers, random generators, data order."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` gave."""

    # A task may also have `finished: bool`: true after a step, or after loading a state, ends the training there.


class NonFiniteLoss(ArithmeticError):
    """A step came out as NaN or infinite and was not applied; `term` says where."""

    def __init__(self, term: str) -> None:
        super().__init__(f"The term `{term}` is not a finite number.")
        self.term = term


class TrainingDiverged(RuntimeError):
    """Several steps in a row came out as NaN or infinite."""


class DiskFull(OSError):
    """A file of the run could not be written."""


class OutOfMemory(MemoryError):
    """A step did not fit into memory."""


class CannotResume(ValueError):
    """The run folder holds no state that fits."""


def require_finite(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The terms as numbers; `NonFiniteLoss` names the first that is not finite. One synchronisation."""
    if not terms:
        return {}
    values = torch.stack([term.detach().float().reshape(()) for term in terms.values()]).tolist()
    numbers = dict(zip(terms, values, strict=True))
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(name)
    return numbers


def train(
    task: Task,
    steps: int,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    snapshot_interval: int = 100,
    preview_interval: int = 0,
    processes: Processes = ALONE,
) -> list[dict[str, float]]:
    """Runs a task for `steps` steps and returns the loss table, a row of numbers per step.

    run_dir   where state, losses and previews go; None keeps nothing.
    resume    continue from the newest state in run_dir, from the start where there is none.
    settings  what must be equal for a state to fit, as plain values; kept beside the state.
    processes where several train together: the first writes and calls back, all start from its state. The task has to
              come to the same numbers, and the same `NonFiniteLoss`, in each.

    An exception from a callback (an interrupt) propagates after the state has been saved. A step that is not finite is
    left out; three in a row raise `TrainingDiverged`, the last good state being saved.
    """
    callbacks = (callbacks if processes.first else None) or Callbacks()
    folder = RunFolder(run_dir, task.terms) if run_dir is not None and processes.first else None
    done, history, bad_steps = _open(folder, task, settings or {}, resume, run_dir is not None, processes)
    saved = shown = done
    # False while a step is under way, whose weights may be half updated, and when the disk has refused a state.
    may_save = True
    try:
        while done < steps and not _finished(task):
            if processes.broadcast(_asked_to_stop(callbacks, folder)):
                # The last preview is the picture of what the training gives, here too.
                if preview_interval and shown != done and processes.first:
                    _show(task, folder, callbacks, done)
                break
            may_save = False
            losses = None
            try:
                losses = task.step(done + 1)
                bad_steps = 0
            except NonFiniteLoss as error:
                bad_steps += 1
                log.warning("Step %d is left out: %s", done + 1, error)
                if bad_steps >= MAX_BAD_STEPS:
                    may_save = True
                    raise TrainingDiverged(
                        f"The loss term `{error.term}` was not a finite number in {bad_steps} steps in a row (the "
                        f"last was step {done + 1}). Lower the learning rate, or set `precision` to fp32."
                    ) from error
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                raise OutOfMemory(
                    f"Memory ran out in step {done + 1}. Raise `accumulate`, or lower `batch_size` or the number of "
                    + ("processes." if run_dir is None else f"processes. {_kept(saved)}")
                ) from error
            done += 1
            may_save = True

            # The table first, then the state: a state never knows of a row that is not on disk.
            if losses is not None:
                row = {"step": float(done), **losses}
                history.append(row)
                if folder is not None:
                    folder.append(row)
            if folder is not None and done % snapshot_interval == 0:
                folder.save(task, done, bad_steps)
                saved = done
            ends = done == steps or _finished(task)
            if preview_interval and (done % preview_interval == 0 or ends) and processes.first:
                _show(task, folder, callbacks, done)
                shown = done
            if callbacks.on_progress is not None:
                callbacks.on_progress(done, steps, losses or {})
    except OSError as error:
        if folder is None or error.errno not in NO_ROOM:
            raise
        may_save = False
        raise _disk_full(folder, done, saved, error) from error
    finally:
        # After an exception inside a step, or on a full disk, the last saved state stands.
        if folder is not None:
            try:
                if may_save and saved != done:
                    folder.save(task, done, bad_steps)
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                raise _disk_full(folder, done, saved, error) from error
            finally:
                folder.close()
    return history


def _open(
    folder: RunFolder | None,
    task: Task,
    settings: Mapping[str, Any],
    resume: bool,
    kept: bool,
    processes: Processes,
) -> tuple[int, list[dict[str, float]], int]:
    """Steps done, loss rows and bad steps in a row, in every process, with the task in the state they belong to."""
    begun: tuple[int, list[dict[str, float]], int] = (0, [], 0)
    refused: CannotResume | None = None
    if folder is not None:
        try:
            begun = folder.open(task, settings, resume)
        except CannotResume as error:
            if processes.count == 1:
                raise
            refused = error
    if processes.count == 1 or not kept:
        return begun
    # The others may be on machines that do not see the folder, and must not wait for a process that has given up.
    state = task.state_dict() if processes.first and begun[0] else None
    begun, state, refusal = processes.broadcast((begun, state, str(refused) if refused else None))
    if refusal is not None:
        raise CannotResume(refusal)
    if state is not None and not processes.first:
        task.load_state_dict(state)
    return begun


def _asked_to_stop(callbacks: Callbacks, folder: RunFolder | None) -> bool:
    """Whether the training is to end in good order now."""
    if callbacks.should_stop is not None and callbacks.should_stop():
        return True
    return folder is not None and folder.take_stop_file()


def _finished(task: Task) -> bool:
    """Whether the task sees no use in further steps."""
    return bool(getattr(task, "finished", False))


def _show(task: Task, folder: RunFolder | None, callbacks: Callbacks, done: int) -> None:
    """Draws, saves and hands on a preview."""
    picture = task.preview()
    if folder is not None:
        folder.save_preview(picture, done)
    if callbacks.on_preview is not None:
        callbacks.on_preview(done, picture)


def _is_out_of_memory(error: BaseException) -> bool:
    """CUDA and MPS raise their own class, the CPU's allocator a RuntimeError with a sentence of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in ("out of memory", "can't allocate memory", "not enough memory"))


def _kept(saved: int) -> str:
    if not saved:
        return "No state was kept yet."
    return f"The state after step {saved} is kept, and a resumed run continues there."


def _disk_full(folder: RunFolder, done: int, saved: int, error: OSError) -> DiskFull:
    return DiskFull(
        f"The run in {folder.path} could not be written after step {done}: {error.strerror or error}. Make room there. "
        + _kept(saved)
    )


class RunFolder:
    """The files of one run. Every file but the loss table is written beside its place and moved there."""

    def __init__(self, path: Path, terms: Iterable[str]) -> None:
        self.path = Path(path)
        self._columns = ("step", *terms)
        self._table: Any = None

    def open(
        self, task: Task, settings: Mapping[str, Any], resume: bool
    ) -> tuple[int, list[dict[str, float]], int]:
        """Prepares the folder and, to resume, restores the task; returns steps done, loss rows, bad steps in a row."""
        states = self._states()
        if states and not resume:
            raise CannotResume(
                f"{self.path} already holds a run. Resume it, or choose an empty folder for a new one."
            )
        (self.path / "state").mkdir(parents=True, exist_ok=True)
        done, rows, bad_steps = 0, [], 0
        if states:
            self._check_settings(settings)
            done, bad_steps = self._restore(task, states)
            # Newer ones that could not be read would be tried first again, and count as kept.
            for damaged in states:
                if damaged > self._state_path(done):
                    damaged.unlink(missing_ok=True)
            rows = [row for row in self._read_rows() if row["step"] <= done]
        else:
            write_atomically(self.path / "settings.json", lambda file: file.write(_json(settings).encode()))
        write_atomically(self.path / "losses.csv", lambda file: file.write(self._table_text(rows).encode()))
        self._table = (self.path / "losses.csv").open("a", encoding="utf-8", newline="")
        return done, rows, bad_steps

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row to the loss table, at once on disk."""
        csv.DictWriter(self._table, self._columns, restval="", lineterminator="\n").writerow(row)
        self._table.flush()

    def save(self, task: Task, done: int, bad_steps: int) -> None:
        """Writes the state after `done` steps and removes all but the newest two."""
        state = {"format": STATE_FORMAT, "step": done, "bad_steps": bad_steps, "task": task.state_dict()}
        write_atomically(self._state_path(done), lambda file: torch.save(state, file))
        for old in self._states()[STATES_KEPT:]:
            old.unlink(missing_ok=True)

    def take_stop_file(self) -> bool:
        """Whether somebody has put a file `stop` into the folder; it is taken away, so that a resumed run goes on."""
        asked = self.path / "stop"
        if not asked.exists():
            return False
        asked.unlink(missing_ok=True)
        return True

    def save_preview(self, picture: Tensor, done: int) -> None:
        """Writes a picture `[3, H, W]` in 0..1 as `previews/step-<n>.png`."""
        from PIL import Image

        (self.path / "previews").mkdir(exist_ok=True)
        pixels = (picture.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        path = self.path / "previews" / f"step-{done:06d}.png"
        write_atomically(path, lambda file: Image.fromarray(pixels).save(file, format="PNG"))

    def close(self) -> None:
        """Closes the loss table."""
        if self._table is not None:
            self._table.close()

    def _state_path(self, done: int) -> Path:
        return self.path / "state" / f"step-{done:08d}.pt"

    def _states(self) -> list[Path]:
        """Newest first."""
        return sorted((self.path / "state").glob("step-*.pt"), reverse=True)

    def _restore(self, task: Task, states: list[Path]) -> tuple[int, int]:
        for path in states:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] == STATE_FORMAT:
                    task.load_state_dict(state["task"])
                    return int(state["step"]), int(state["bad_steps"])
            except UNREADABLE as error:
                log.warning("The state %s cannot be read (%s); trying the one before.", path.name, error)
                continue
            raise CannotResume(f"{path} is of format {state['format']!r}; this version reads {STATE_FORMAT}.")
        raise CannotResume(f"No state in {self.path / 'state'} can be read. Start again in an empty folder.")

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        try:
            before = dict(json.loads((self.path / "settings.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CannotResume(
                f"{self.path / 'settings.json'} cannot be read. Start again in an empty folder."
            ) from error
        now = json.loads(_json(settings))
        differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if differing:
            raise CannotResume(
                f"The run in {self.path} began with other settings ({ascii(', '.join(differing))[1:-1]}). Use the "
                "same ones to resume it, or choose an empty folder."
            )

    def _read_rows(self) -> list[dict[str, float]]:
        # The last row of a killed run may be cut short: one without a step or with too few cells is dropped.
        rows: list[dict[str, float]] = []
        table = self.path / "losses.csv"
        with contextlib.suppress(csv.Error, OSError), table.open(encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                cells = {name: value for name, value in row.items() if name}
                with contextlib.suppress(TypeError, ValueError):
                    if cells.get("step") and None not in cells.values():
                        rows.append({name: float(value) for name, value in cells.items() if value})
        return rows

    def _table_text(self, rows: Iterable[Mapping[str, float]]) -> str:
        lines = [",".join(self._columns)]
        lines += [",".join(str(row.get(column, "")) for column in self._columns) for row in rows]
        return "\n".join(lines) + "\n"


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), indent=2, sort_keys=True)

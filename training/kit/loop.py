"""The one training loop: steps, progress, previews, interruption, saved state and exact resumption.

A training is a `Task`: something that can do one step, draw a preview and name its state. `train` drives it.
A resumed run continues bit for bit where the state saved in its folder (`run_folder`) was, whether it was cancelled or
killed. A file `stop` put into the folder ends the run in good order after the step at hand, with the result so far.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from .distributed import SINGLE_PROCESS, Processes
from .interrupts import Interrupts, hand_over, held_back
from .kept import CannotResume
from .run_folder import RunFolder
from .state import State
from .step import NonFiniteLoss, Step

log = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the operating system says when a disk, a quota or a limit on file sizes is used up."""
SAVE_SECONDS = 300.0
"""Slow steps are saved at least this often, so that a killed process costs minutes and not hours."""
GO_ON, STOP, INTERRUPT = range(3)
MAX_BAD_STEPS = 3
"""So many non-finite steps in a row end the training."""


def interrupting(callbacks: Callbacks) -> Callbacks:
    """The same callbacks, but asked to stop they interrupt: an unfinished stage never counts as finished."""
    ask = callbacks.should_stop
    if ask is None:
        return callbacks

    def should_stop() -> bool:
        if ask():
            raise KeyboardInterrupt
        return False

    return replace(callbacks, should_stop=should_stop)


class Task(Protocol):
    """What `train` drives."""

    terms: tuple[str, ...]
    """Names of all numbers a step may report, the columns of the loss table."""

    state: State
    """Everything that changes while training: weights, optimisers, random generators, data order."""

    def step(self, at: Step) -> dict[str, float]:
        """Does one update and reports numbers; raises `NonFiniteLoss` before updating."""

    def preview(self) -> Tensor:
        """A picture `[3, H, W]` in 0..1; must not change what is trained, nor any random generator it uses."""

    # A task may also have `finished: bool`: true after a step, or after loading a state, ends the training there.


class TrainingDiverged(RuntimeError):
    """Several steps in a row came out as NaN or infinite."""


class DiskFull(OSError):
    """A file of the run could not be written."""


class OutOfMemory(MemoryError):
    """A step did not fit into memory."""


def train(
    task: Task,
    steps: int,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    snapshot_interval: int = 100,
    preview_interval: int = 0,
    processes: Processes = SINGLE_PROCESS,
    on_interrupt: Callable[[], Any] | None = None,
) -> list[dict[str, float]]:
    """Runs a task for `steps` steps and returns the loss table, a row of numbers per step.

    run_dir   where state, losses and previews go; None keeps nothing.
    resume    continue from the newest state in run_dir, from the start where there is none.
    settings  what must be equal for a state to fit, as plain values; kept beside the state.
    processes where several train together: the first writes and calls back, all start from its state. The task has to
              come to the same numbers, and the same `NonFiniteLoss`, in each.
    on_interrupt  called when an exception is about to propagate, to keep the best so far; what it raises is logged.

    An exception from a callback (an interrupt) propagates after the state has been saved. Signals such as Ctrl-C wait
    for the end of the step at hand, and raise KeyboardInterrupt then, in all processes. A step that is not finite is
    left out; three in a row raise `TrainingDiverged`, the last good state being saved.
    """
    callbacks = (callbacks if processes.is_main else None) or Callbacks()
    folder = RunFolder(run_dir, task.terms) if run_dir is not None and processes.is_main else None
    with held_back() as interrupts, contextlib.closing(folder) if folder else contextlib.nullcontext():
        done, history, bad_steps = _open(folder, task, settings or {}, resume, run_dir is not None, processes)
        saved = shown = done
        saved_at = time.monotonic()
        # False while a step is under way, whose weights may be half updated, and when the disk has refused a state.
        may_save, together = True, False
        try:
            while done < steps and not _finished(task):
                asked = _asked(callbacks, folder, interrupts, processes)
                if asked == INTERRUPT:
                    together = True
                    raise interrupts.interrupt()
                if asked == STOP:
                    # The last preview is the picture of what the training gives, here too.
                    if preview_interval and shown != done and processes.is_main:
                        _show(task, folder, callbacks, done)
                    break
                may_save = False
                losses = None
                try:
                    losses = task.step(Step(done + 1, steps, processes, task.terms))
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
                    more = "" if run_dir is None else ", raise `accumulate`, or start fewer processes"
                    note = "" if run_dir is None else f" {saved_state_note(saved)}"
                    raise OutOfMemory(f"Memory ran out in step {done + 1}. Lower `batch_size`{more}.{note}") from error
                done += 1
                may_save = True

                # The table first, then the state: a state never knows of a row that is not on disk.
                if losses is not None:
                    row = {"step": float(done), **losses}
                    history.append(row)
                    if folder is not None:
                        folder.append(row)
                due = done % snapshot_interval == 0 or time.monotonic() - saved_at > SAVE_SECONDS
                if folder is not None and due:
                    folder.save(task.state, done, bad_steps)
                    saved, saved_at = done, time.monotonic()
                ends = done == steps or _finished(task)
                if preview_interval and (done % preview_interval == 0 or ends) and processes.is_main:
                    _show(task, folder, callbacks, done)
                    shown = done
                if callbacks.on_progress is not None:
                    callbacks.on_progress(done, steps, losses or {})
            if folder is not None and saved != done:
                folder.save(task.state, done, bad_steps)
                saved = done
            if _asked(None, None, interrupts, processes) == INTERRUPT:
                together = True
                raise interrupts.interrupt()
        except BaseException as error:
            if folder is not None and isinstance(error, OSError) and error.errno in NO_ROOM:
                raise _disk_full(folder, done, saved, error) from error
            # After an exception inside a step, or on a full disk, the last saved state stands.
            if folder is not None and may_save and saved != done:
                try:
                    folder.save(task.state, done, bad_steps)
                    saved = done
                except OSError as refused:
                    # What ended the run is what is shown; what is lost by it is said beside it.
                    log.error("%s", _disk_full(folder, done, saved, refused))
            if folder is not None:
                log.info("The run in %s has ended early. %s", folder.path, saved_state_note(saved))
                if isinstance(error, KeyboardInterrupt) and not error.args:
                    error.args = (f"The run is in {folder.path}. {saved_state_note(saved)}",)
            hand_over(on_interrupt)
            if together:
                # A launcher that sees one process end ends the others: they wait for the one that writes.
                processes.broadcast(None)
            raise
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
            begun = folder.open(task.state, settings, resume)
        except CannotResume as error:
            if processes.count == 1:
                raise
            refused = error
    if processes.count == 1 or not kept:
        return begun
    # The others may be on machines that do not see the folder, and must not wait for a process that has given up.
    state = task.state.state_dict() if processes.is_main and begun[0] else None
    begun, state, refusal = processes.broadcast((begun, state, str(refused) if refused else None))
    if refusal is not None:
        raise CannotResume(refusal)
    if state is not None and not processes.is_main:
        task.state.load_state_dict(state)
    return begun


def _asked(callbacks: Callbacks | None, folder: RunFolder | None, interrupts: Interrupts, processes: Processes) -> int:
    """GO_ON, STOP or INTERRUPT: the same in every process, whichever of them was asked."""
    asked = GO_ON
    if interrupts.came:
        asked = INTERRUPT
    elif callbacks is not None and callbacks.should_stop is not None and callbacks.should_stop():
        asked = STOP
    if asked == GO_ON and folder is not None and folder.take_stop_file():
        asked = STOP
    if processes.count == 1:
        return asked
    return int(processes.gather(torch.tensor([asked], device=processes.device)).max())


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


def saved_state_note(saved: int) -> str:
    if not saved:
        return "No state was kept yet."
    return f"The state after step {saved} is kept, and a resumed run continues there."


def _disk_full(folder: RunFolder, done: int, saved: int, error: OSError) -> DiskFull:
    return DiskFull(
        f"The run in {folder.path} could not be written after step {done}: {error.strerror or error}. Make room there. "
        + saved_state_note(saved)
    )

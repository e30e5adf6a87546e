"""What a signal at any moment costs a training: nothing. Every training, stopped at random moments and resumed, against
the same training left alone.

    python -m facestylist.tools.bench.interrupts [--moments 20] [--signals INT,TERM,KILL] [--trainings NAME,...]
        [--seed 0]

Each trial is a process of its own that runs the command (forked, so that torch loads once). Its moment is drawn evenly
from the processor time that the whole command takes; half of the time a second signal follows at once, and half of the
time what was resumed is stopped once more. In the end the weights and `losses.csv` have to be those of the undisturbed
run to the bit, and on the way the exit status, what is said and what lies in the folder have to agree. Not on Windows.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...training.kit.kept import kept_losses, kept_step
from .small_trainings import Training, as_small, here, trainings

logger = logging.getLogger(__name__)

INTERRUPTED = 130


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    status: int
    """Negative: the signal that ended it."""
    seconds: float
    """Of the processor."""
    said: str
    """All that stands on stderr."""


def run(command: list[str], number: int = 0, after: float = 0.0, again: float | None = None) -> Ended:
    """Runs a command in a process of its own, which gets signal `number` when it has used `after` seconds of the
    processor, and the same once more `again` seconds later."""
    with tempfile.TemporaryDirectory() as scratch:
        said, spent = Path(scratch) / "said", Path(scratch) / "spent"
        child = os.fork()
        if not child:
            status = 1
            try:
                status = _child(command, said, number, after, again)
                spent.write_text(str(time.process_time()), encoding="utf-8")
            except KeyboardInterrupt:
                status = INTERRUPTED  # before the command had begun, or after it had ended
            finally:
                os._exit(status)
        _, how = os.waitpid(child, 0)
        seconds = float(spent.read_text(encoding="utf-8")) if spent.exists() else 0.0
        return Ended(os.waitstatus_to_exitcode(how), seconds, said.read_text(encoding="utf-8", errors="replace"))


def _child(command: list[str], said: Path, number: int, after: float, again: float | None) -> int:
    """What the forked process does; its exit status."""
    from ...__main__ import main

    target = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(target, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    sys.argv = ["facestylist", *command]
    # A shell ignores Ctrl-C for what it starts in the background, and a test runner may have a handler of its own.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    began = time.process_time()

    def send() -> None:
        while time.process_time() - began < after:
            time.sleep(0.001)
        os.kill(os.getpid(), number)
        if again is not None:
            time.sleep(again)
            os.kill(os.getpid(), number)

    if number:
        threading.Thread(target=send, daemon=True).start()
    with as_small():
        status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def results(out: Path) -> dict[str, Tensor]:
    """Every tensor that a training wrote."""
    return {f"{path.name}:{k}": v for path in sorted(out.glob("*.safetensors")) for k, v in load_file(path).items()}


def loss_tables(run_dir: Path) -> dict[str, list[str]]:
    """The rows of every loss table below a run's folder."""
    return {
        str(path.relative_to(run_dir)): path.read_text(encoding="utf-8").splitlines()
        for path in sorted(run_dir.rglob("losses.csv"))
    }


class Trials:
    """One training, undisturbed and then again and again disturbed."""

    def __init__(self, training: Training, folder: Path) -> None:
        self.training, self.folder = training, folder
        here(training.command(folder / "first" / "run", folder / "first" / "out", False))
        self._give_rendered(folder / "whole")
        ended = self._run(folder / "whole", False)
        if ended.status:
            raise RuntimeError(f"{training.name}: {ended.said}")
        self.seconds = ended.seconds
        self.weights = results(folder / "whole" / "out")
        self.tables = loss_tables(folder / "whole" / "run")

    def _give_rendered(self, place: Path) -> None:
        for pattern in self.training.rendered:
            for path in (self.folder / "first" / "run").glob(pattern):
                copy = place / "run" / path.relative_to(self.folder / "first" / "run")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)

    def _run(self, place: Path, resume: bool, *signals: Any) -> Ended:
        return run(self.training.command(place / "run", place / "out", resume), *signals)

    def __call__(self, number: int, moments: random.Random) -> tuple[str, list[str]]:
        """What a trial came to ("kept", "nothing yet", "done already"), and what was wrong about it."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        wrong: list[str] = []
        came_to = "done already"
        resume = False
        if moments.random() > 0.1:
            self._give_rendered(place)
        for disturbed in (True, moments.random() < 0.5, False):
            signals: tuple[Any, ...] = ()
            if disturbed:
                again = moments.choice([0.0, 0.03]) if number != signal.SIGKILL and moments.random() < 0.5 else None
                signals = number, moments.random() * self.seconds, again
            before = loss_tables(place / "run")
            ended = self._run(place, resume, *signals)
            wrong += self._wrong(ended, place, before, number if disturbed else 0)
            if ended.status == 0:
                break
            kept = kept_step(place / "run")
            resume = bool(kept) and not self.training.folder
            came_to = (
                "kept"
                if kept or any(len(rows) > 1 for rows in loss_tables(place / "run").values())
                else (came_to if came_to == "kept" else "nothing yet")
            )
        found, tables = results(place / "out"), loss_tables(place / "run")
        if found.keys() != self.weights.keys() or any(not torch.equal(found[k], v) for k, v in self.weights.items()):
            wrong.append("other weights")
        if tables != self.tables:
            wrong.append("other losses")
        if list(place.rglob("*.tmp")) and number != signal.SIGKILL:
            wrong.append("a temporary file was left")
        if not wrong:
            shutil.rmtree(place)
        return came_to, [f"{what} ({place})" for what in wrong]

    def _wrong(self, ended: Ended, place: Path, before: dict[str, list[str]], number: int) -> list[str]:
        """What a process should not have done."""
        wrong = []
        allowed = {0: {0}, signal.SIGKILL: {0, -signal.SIGKILL}}.get(number, {0, INTERRUPTED})
        if ended.status not in allowed:
            wrong.append(f"exit status {ended.status}: {ended.said[-300:]}")
        after = loss_tables(place / "run")
        if any(after.get(name, [])[: len(rows)] != rows for name, rows in before.items()):
            wrong.append("losses were overwritten")
        if ended.status == INTERRUPTED and not self.training.folder:
            step, rows = kept_step(place / "run"), kept_losses(place / "run")
            told = f"after step {step}. The same command" if step else "there is nothing to keep"
            # Before the command knows its run, it can say nothing about it.
            if told not in ended.said and (after != before or "is kept" in ended.said or "to keep" in ended.said):
                wrong.append(f"said otherwise than kept (step {step}): {ended.said[-300:]}")
            if step < rows and not any(len(r) - 1 > step for r in before.values()):
                wrong.append(f"{rows} steps were done and {step} are kept")
        return wrong


def main(arguments: list[str] | None = None) -> int:
    """Prints a table's row for each training and signal; the number of trials that went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--signals", default="INT,TERM,KILL")
    parser.add_argument("--trainings", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().setLevel(logging.INFO)
    torch.set_num_threads(1)
    bad = 0
    with _scratch() as folder:
        known = trainings(folder)
        logger.info("| training | processor s | signal | moments | kept | no step yet | done already | wrong |")
        for name in options.trainings.split(",") if options.trainings else known:
            (folder / name).mkdir()
            trials = Trials(known[name], folder / name)
            for text in options.signals.split(","):
                moments = random.Random(f"{name} {text} {options.seed}")  # noqa: S311 - no secret
                counts = {"kept": 0, "nothing yet": 0, "done already": 0}
                wrong: list[str] = []
                for _ in range(options.moments):
                    came_to, found = trials(getattr(signal, f"SIG{text}"), moments)
                    counts[came_to] += 1
                    wrong += found[:1]
                    for one in found:
                        logger.warning("%s, %s: %s", name, text, one)
                cells = [name, f"{trials.seconds:.1f}", text, options.moments, *counts.values(), len(wrong)]
                logger.info("| %s |", " | ".join(map(str, cells)))
                bad += len(wrong)
        if bad:
            logger.warning("What went wrong is in %s", shutil.copytree(folder, tempfile.mkdtemp(), dirs_exist_ok=True))
    return bad


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(min(main(), 1))

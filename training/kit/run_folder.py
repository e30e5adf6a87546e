"""The folder of a training: `losses.csv`, `settings.json`, `previews/` and `state/` with the two newest states.

Nothing that a run has written is ever lost to a resumed one. States and settings are written beside their place and
moved there. Rows of the loss table beyond the state that a run goes on from stay: they are done again, and are equal;
where they are not (another machine, another number of threads) the table as it was is kept under another name.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import pickle  # noqa: S403 - only the name of its error
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.files import make_folder, write_atomically
from ...core.pictures import to_pil
from .kept import CannotResume, check_run, kept_states

log = logging.getLogger(__name__)

STATE_FORMAT = 2
STATES_KEPT = 2
UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    pickle.UnpicklingError,
    struct.error,
)
"""What PyTorch raises at a damaged file."""
SETTINGS = "settings.json"


class RunFolder:
    """The files of one run; `terms` are the columns of its loss table beside the step."""

    def __init__(self, path: Path, terms: Iterable[str]) -> None:
        self.path = Path(path)
        self._columns = ("step", *terms)
        self._table: Any = None
        self._lines: list[str] = []
        """Of the loss table, as far as this run has come."""
        self._ahead: list[str] = []
        """Those that stand behind them, from before it was resumed."""

    def open(self, state: Any, settings: Mapping[str, Any], resume: bool) -> tuple[int, list[dict[str, float]], int]:
        """Prepares the folder and, to resume, restores the state; returns steps done, loss rows, bad steps in a row."""
        check_run(self.path, resume)
        make_folder(self.path / "state")
        states, known = kept_states(self.path), self._read_rows()
        done, bad_steps = 0, 0
        if states:
            check_settings(self.path, settings)
            done, bad_steps = self._restore(state, states)
        else:
            if known:
                kept = self._put_aside()
                log.warning(
                    "%s holds the losses of %d steps, but no state to go on from: the training begins anew, and they "
                    "are kept as %s.",
                    self.path,
                    len(known),
                    kept.name,
                )
                known = []
            write_settings(self.path, settings)
        rows = [row for row in known if row["step"] <= done]
        self._lines = [self._line(row) for row in rows]
        self._ahead = [self._line(row) for row in known[len(rows) :]]
        if self._ahead:
            log.warning(
                "%s goes on after step %d; the steps up to %g, which no state was saved of, are done again.",
                self.path,
                done,
                known[-1]["step"],
            )
        self._write_table()
        return done, rows, bad_steps

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row to the loss table, at once on disk."""
        line = self._line(row)
        self._lines.append(line)
        if self._ahead:
            if self._ahead.pop(0) == line:
                return
            log.warning(
                "Step %g came out otherwise than before the run was resumed, as on another machine or with another "
                "number of threads. The losses from before are kept as %s.",
                row["step"],
                self._put_aside().name,
            )
            self._ahead = []
            self._write_table()
            return
        self._table.write(line)
        self._table.flush()

    def save(self, state: Any, done: int, bad_steps: int) -> None:
        """Writes the state after `done` steps and removes all but the newest two."""
        kept = {"format": STATE_FORMAT, "step": done, "bad_steps": bad_steps, "task": state.state_dict()}
        path = self.path / "state" / f"step-{done:08d}.pt"
        write_atomically(path, lambda file: torch.save(kept, file))
        for old in kept_states(self.path)[STATES_KEPT:]:
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
        path, image = self.path / "previews" / f"step-{done:06d}.png", to_pil(picture.permute(1, 2, 0))
        write_atomically(path, lambda file: image.save(file, format="PNG"))

    def close(self) -> None:
        """Closes the loss table."""
        if self._table is not None:
            self._table.close()

    def _restore(self, state: Any, states: list[Path]) -> tuple[int, int]:
        damaged = []
        for path in states:
            try:
                kept = torch.load(path, map_location="cpu", weights_only=True)
                known = kept["format"] == STATE_FORMAT
                if known:
                    state.load_state_dict(kept["task"])
                    done, bad_steps = int(kept["step"]), int(kept["bad_steps"])
            except UNREADABLE as error:
                log.warning("The state %s cannot be read (%s); trying the one before.", path.name, error)
                damaged.append(path)
                continue
            if not known:
                raise CannotResume(
                    f"{path} is of format {kept['format']!r}; this version reads {STATE_FORMAT}. Start again in an "
                    "empty folder."
                )
            # They would be tried first again, and count as kept.
            for newer in damaged:
                newer.replace(self.path / f"damaged-{newer.name}")
            return done, bad_steps
        raise CannotResume(f"No state in {self.path / 'state'} can be read. Start again in an empty folder.")

    def _read_rows(self) -> list[dict[str, float]]:
        """The loss table's rows that are whole: the last one of a killed run may be cut short."""
        rows: list[dict[str, float]] = []
        with contextlib.suppress(csv.Error, OSError):
            text = (self.path / "losses.csv").read_text(encoding="utf-8", errors="replace")
            for row in csv.DictReader(line for line in text.splitlines(keepends=True) if line.endswith("\n")):
                cells = {name: value for name, value in row.items() if name}
                with contextlib.suppress(TypeError, ValueError):
                    if cells.get("step") and None not in cells.values():
                        rows.append({name: float(value) for name, value in cells.items() if value})
        return rows

    def _line(self, row: Mapping[str, float]) -> str:
        return ",".join(str(row.get(column, "")) for column in self._columns) + "\n"

    def _write_table(self) -> None:
        """The whole loss table, open for more rows."""
        self.close()
        path = self.path / "losses.csv"
        text = "".join([",".join(self._columns) + "\n", *self._lines, *self._ahead])
        write_atomically(path, text.encode())
        self._table = path.open("a", encoding="utf-8", newline="")

    def _put_aside(self) -> Path:
        """Copies the loss table to a name of its own."""
        number = 1
        while (aside := self.path / f"losses-{number}.csv").exists():
            number += 1
        return write_atomically(aside, (self.path / "losses.csv").read_bytes())


def write_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Notes what a run is of."""
    write_atomically(run_dir / SETTINGS, _json(settings).encode())


def check_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Raises CannotResume, which names what differs, where a run is of something else."""
    path = run_dir / SETTINGS
    try:
        before = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CannotResume(f"{path} cannot be read. Start again in an empty folder.") from error
    now = json.loads(_json(settings))
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        raise CannotResume(
            f"The run in {run_dir} was started with other settings ({ascii(', '.join(differing))[1:-1]}). Use the "
            "same ones to resume it, or choose an empty folder."
        )


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(dict(settings), indent=2, sort_keys=True)

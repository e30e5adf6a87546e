"""Files that are there whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, write: Callable[[Any], Any]) -> None:
    """Writes a file through `write(open binary file)` so that, killed at any time, the old or the new one is there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb", buffering=0) as raw:
            file = _Patient(raw)
            write(file)
            file.flush()
            if file.refusal is not None:
                raise file.refusal
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Patient(io.BufferedWriter):
    """A file that remembers what the disk refused instead of raising at once.

    torch.save writes through C++, where an exception from Python comes out as another one, or ends the process.
    """

    refusal: OSError | None = None

    def write(self, data: Any) -> int:
        if self.refusal is None:
            try:
                return super().write(data)
            except OSError as error:
                self.refusal = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        if self.refusal is None:
            try:
                super().flush()
            except OSError as error:
                self.refusal = error

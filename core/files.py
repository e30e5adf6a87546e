"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: bytes | bytearray | memoryview | Callable[[Any], Any]) -> Path:
    """Writes `content`, or what `content(open binary file)` writes, so that the old file or the new one is there when
    the process is killed at any time. Makes the folder. A pipe or a device gets it as it comes.

    Raises:
        OSError: it cannot be written.
    """
    as_it_comes = path.exists() and not path.is_file()
    place = contextlib.nullcontext(path) if as_it_comes else replacing(path)
    with place as target, target.open("wb", buffering=0) as raw:
        file = DeferredErrorWriter(raw)
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        if file.refusal is not None:
            raise file.refusal
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and is gone when it does not."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it.

    Raises:
        OSError: it cannot be made; a sentence where a file stands in its place or above it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(_blocked(folder)) from error


def check_writable(*paths: Path | None, folder: bool = False) -> None:
    """Finds out, before the work that is to be written, whether it can be; leaves nothing behind.

    Args:
        paths: files to be written, or None; they and their folders may be missing.
        folder: they are folders.

    Raises:
        ValueError: a file stands where a folder is needed or a folder where the file is to be, or nothing may be
            written there.
    """
    for path in paths:
        if path is None:
            continue
        try:
            if not folder and path.is_dir():
                raise ValueError(f"{path} is a folder. Give the name of a file in it.")
            if not folder and path.exists() and not path.is_file():
                continue  # A pipe or a device.
            place = path if folder else path.parent
            while not os.path.lexists(place):
                place = place.parent
            if not place.is_dir():
                raise ValueError(_blocked(place))
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error.strerror or error}). Choose another place.") from error


def _blocked(folder: Path) -> str:
    """Which file stands where a folder is needed."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place) and not place.is_dir():
            return f"{place} is a file, and a folder is needed in its place. Choose another name, or move the file."
    return f"The folder {folder} cannot be made. Choose another place."


def _umask() -> int:
    # mkstemp makes private files; a saved one gets the permissions that open() would have given it.
    current = os.umask(0)
    os.umask(current)
    return current


class DeferredErrorWriter(io.BufferedWriter):
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

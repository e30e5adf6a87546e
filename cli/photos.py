"""The photos that a command was given, one after the other whatever becomes of one, and the pictures it writes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..pipeline.processes import Shard, current_shard
from .console import Console, require

if TYPE_CHECKING:
    from torch import Tensor

Read = TypeVar("Read")
LARGE = 40_000_000
"""Pixels of a photo, of which two at once could fill the memory."""
log = logging.getLogger(__name__)


class MissingPhotos(RuntimeError):
    """Some photos could not be done, and the others are."""


class Photos:
    """The pictures among a command's arguments, with a name for the results of each.

    A folder stands for the pictures in it, not in its subfolders.

    Args:
        given: files and folders.
        sharded: only this process's shard is done, under a launcher of several.

    Raises:
        ValueError: a folder holds no pictures.
    """

    def __init__(self, given: Sequence[str], console: Console, sharded: bool = True) -> None:
        paths = [path for name in given for path in self._expanded(name, console)]
        self.shard = current_shard() if sharded else Shard()
        self.todo = self.shard.of(list(zip(paths, unique_stems(paths), strict=True)))
        self.missing: list[dict[str, str]] = []
        """What could not be done, and why: `photo` and `reason` of each."""

    @staticmethod
    def _expanded(name: str, console: Console) -> list[str]:
        from ..core.picture_files import find_pictures

        folder = Path(name)
        if not folder.is_dir():
            return [name]
        try:
            inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise ValueError(f"The folder {name} cannot be read ({error.strerror}).") from error
        pictures = find_pictures(folder)
        folders = sum(path.is_dir() for path in inside)
        if not pictures:
            hint = f" It has {folders} subfolders, which are not looked into: give them instead." if folders else ""
            raise ValueError(f"The folder {name} holds no pictures.{hint or ' Give one that does, or picture files.'}")
        others = Counter(path.suffix.lower() or "without an ending" for path in inside if not path.is_dir())
        others.subtract(path.suffix.lower() for path in pictures)
        left = [f"{count} {kind}" for kind, count in sorted(others.items()) if count]
        left += [f"{folders} subfolders"] if folders else []
        console.note(f"{name}: {len(pictures)} pictures" + (f"; left out: {', '.join(left)}" if left else ""))
        return [str(path) for path in pictures]

    def each(self, label: str, read: Callable[[str], Read]) -> Iterator[tuple[str, str, Read]]:
        """`(photo, name for its results, what read gives)` of every photo that can be read, with progress.

        The next photo is read while the loop's body is at work. What `read` refuses is about that photo, and kept in
        `missing`; any other error, also of the loop's body, ends the command.
        """
        import torch

        from ..core.picture_files import size_of
        from ..runtime.progress import ProgressReporter

        def read_next(index: int) -> Future[Read] | None:
            """None at the end, and before a large photo."""
            for photo, _ in self.todo[index : index + 1]:
                if size_of(Path(photo)) < LARGE:
                    # Device and progress are the context's.
                    return reader.submit(copy_context().run, torch.no_grad()(read), photo)
            return None

        def take(photo: str, ahead: Future[Read] | None) -> Read:
            with suppress(MemoryError, torch.OutOfMemoryError):
                if ahead is not None:
                    return ahead.result()
            # Alone it may fit.
            return read(photo)

        with ProgressReporter(len(self.todo), label) as progress, ThreadPoolExecutor(1) as reader:
            ahead = None
            for index, (photo, stem) in enumerate(self.todo):
                try:
                    content = take(photo, ahead)
                except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
                    said = str(error) if isinstance(error, ValueError) else "it is too large for the memory."
                    self.missing.append({"photo": photo, "reason": said.removeprefix(photo).lstrip(": ")})
                    ahead = read_next(index + 1)
                else:
                    ahead = read_next(index + 1)
                    yield photo, stem, content
                    del content
                progress.update(index + 1)

    def as_json(self) -> dict[str, Any]:
        """What a JSON result says of them, beside the results."""
        return {"missing": self.missing, **self.shard.as_json()}

    def check(self) -> None:
        """Raises MissingPhotos, which ends the command with a summary and exit status 1, where any is missing."""
        if not self.missing:
            return
        lines = [_sentence(**one) for one in self.missing]
        if len(self.todo) > 1:
            done = len(self.todo) - len(lines)
            lines.insert(0, f"{done} of {len(self.todo)} photos are done. Missing:")
        raise MissingPhotos("\n".join(lines))


def read_usable(folder: Path, read: Callable[[Path], Read]) -> dict[Path, Read]:
    """What `read` gives of each picture in a folder; those it refuses are named on stderr with the reason.

    Raises:
        UsageError: there is no folder.
        ValueError: none of its pictures can be used.
    """
    from ..core.picture_files import find_pictures

    require(folder.is_dir(), f"there is no folder {folder}")
    files, content, reasons = find_pictures(folder), {}, []
    for path in files:
        try:
            content[path] = read(path)
        except ValueError as error:
            said = str(error).removeprefix(str(path)).lstrip(": ")
            reasons.append(_sentence(path.name, said))
            log.warning("Skipped %s", _sentence(str(path), said))
    if not files:
        raise ValueError(f"The folder {folder} holds no pictures. Give one that does.")
    if not content:
        raise ValueError(f"None of the {len(files)} pictures in {folder} can be used ({' '.join(reasons[:3])}).")
    return content


def _sentence(photo: str, reason: str) -> str:
    if photo in reason:
        return reason
    return f"{photo} {reason}" if reason[:1].islower() else f"{photo}: {reason}"


def unique_stems(paths: Sequence[str | Path]) -> list[str]:
    """A name for each file's results: its own, with a number where another has it, also in other case."""
    own = [Path(path).stem for path in paths]
    taken = {stem.lower() for stem in own}
    seen: set[str] = set()
    stems = []
    for stem in own:
        name, number = stem, 1
        while name.lower() in seen or (number > 1 and name.lower() in taken):
            number += 1
            name = f"{stem}-{number}"
        seen.add(name.lower())
        stems.append(name)
    return stems


def write_pictures(tensors: Tensor, paths: Iterable[Path]) -> list[Path]:
    """Saves `[N, 3, H, W]` in -1..1 as picture files."""
    from ..core.pictures import tensor_to_image, write_picture

    return [write_picture(image, path) for image, path in zip(tensor_to_image(tensors), paths, strict=True)]


def write_frames(image: Tensor, folder: Path, name: str) -> list[Path]:
    """Saves IMAGE as `<name>.png` or, of several frames, as `<name>_0000.png` and so on."""
    from ..core.pictures import write_picture

    frames = [""] if len(image) == 1 else [f"_{frame:04}" for frame in range(len(image))]
    return [write_picture(picture, folder / f"{name}{frame}.png") for picture, frame in zip(image, frames, strict=True)]

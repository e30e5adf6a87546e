"""Reads a file from disk as plain data, whatever it is called: safetensors, PyTorch (zip or legacy), pickle, dlib's
networks, TensorFlow.js' weights.

`unpickler.py` reads the structure as data, `storages.py` the tensors; nothing in a file is ever executed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from . import foreign
from .contents import ACCEPTED, CheckpointError, Contents
from .dlib_stream import MAGIC as DLIB_MAGIC
from .dlib_stream import read_dlib
from .names import InertModule, torch_names
from .numpy_values import NumpyArray
from .safetensors_file import read_safetensors
from .storages import MappedFile
from .tfjs import ENDING, manifest_of, read_tfjs
from .torch_files import read_archive, read_pickle, read_stream
from .unpickler import Budget, CorruptFile, RestrictedUnpickler, TruncatedFile

LEGACY_TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850")
MAX_DEPTH = 100
MAX_NODES = 500_000
TEXT_PER_NODE = 64
Read = TypeVar("Read")


def read_contents(path: Path) -> Contents:
    """The data in `path`; its kind is told by its first bytes, not by its name.

    Raises:
        CheckpointError: it is missing, unreadable, damaged, no container we know, or asks to run code.
    """
    if path.is_dir():
        raise CheckpointError("this is a folder. Choose the checkpoint file inside it.")
    if not path.is_file():
        raise CheckpointError("there is no such file.")
    try:
        if not path.stat().st_size:
            raise CheckpointError("it is empty, as after a download that failed. Download it again.")
        file = MappedFile(path)
    except OSError as error:
        raise CheckpointError(f"it cannot be read ({error.strerror or error}). Check its permissions.") from error
    head = bytes(file.view[:512])
    return _in_words(lambda: _read(path, file, head))


def _in_words(read: Callable[[], Read]) -> Read:
    """What `read` gives; whatever it cannot make sense of becomes a sentence."""
    try:
        return read()
    except TruncatedFile as error:
        raise CheckpointError(
            f"it is cut off, as after an interrupted download ({error}). Download it again."
        ) from error
    except CorruptFile as error:
        raise CheckpointError(
            f"it is damaged or not a checkpoint ({error}). Download it again, or take another copy."
        ) from error
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"it cannot be read ({error.strerror or error}). Check its permissions.") from error
    except (ValueError, TypeError, LookupError, OverflowError, RuntimeError, MemoryError) as error:
        # Data that no check foresaw: a sentence all the same, and nothing was run.
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(
            f"it is damaged or not a checkpoint ({reason}). Download it again, or take another copy."
        ) from error


def read_object_array(data: memoryview) -> Any:
    """The objects in a numpy array of objects (the bytes of a `.npy` file), which is a pickle behind a header.

    Raises:
        CheckpointError: it asks to run code, or is damaged.
    """
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    budget = Budget(len(data))
    return _in_words(
        lambda: _checked(RestrictedUnpickler(data[start:], torch_names(budget), budget, text=True).run()[0])
    )


def _read(path: Path, file: MappedFile, head: bytes) -> Contents:
    data, budget = file.view, Budget(len(file))
    manifest = manifest_of(path)
    if manifest is not None:
        return Contents(path, "tfjs", read_tfjs(manifest))
    if head.startswith(DLIB_MAGIC):
        return Contents(path, "dlib", read_dlib(data))
    if head[:4] == b"PK\x03\x04":
        try:
            value = read_archive(data, budget)
        except CheckpointError as error:
            raise foreign.clarified(error, data) from error
        return Contents(path, "torch", _checked(value), file=file)
    # Asked before the pickles: the header's length may well begin with the byte that every pickle begins with.
    if head[8:9] == b"{" and head[7:8] == b"\0":
        tensors, metadata = read_safetensors(path, data)
        return Contents(path, "safetensors", tensors, metadata, file)
    if head[:1] == b"\x80" and LEGACY_TORCH_MAGIC in head[:32]:
        return Contents(path, "torch", _checked(read_stream(data, budget)), file=file)
    if head[:1] == b"\x80":
        try:
            value = read_pickle(data, budget)
        except CheckpointError as error:
            raise foreign.clarified(error, data) from error
        return Contents(path, "pickle", _checked(value), file=file)
    if path.suffix.lower() == ".bin":
        raise CheckpointError(
            f"this may be weights of TensorFlow.js: put their manifest, {path.stem}{ENDING}, beside it. {ACCEPTED}."
        )
    raise CheckpointError(foreign.what(head, len(file)) or f"this is not a checkpoint. {ACCEPTED}.")


def _checked(value: Any) -> Any:
    """`value`, if walking through all of it comes to an end soon.

    A pickle may refer to the same list twice within a list, and so on: a few bytes then write out to gigabytes. How
    many parts each object would have, written out, is added up from the inside; each object is looked at once.
    """
    sizes: dict[int, int] = {}
    waiting: list[tuple[Any, bool]] = [(value, False)]
    open_now: set[int] = set()
    while waiting:
        item, done = waiting.pop()
        key = id(item)
        if key in sizes:
            continue
        parts = _parts(item)
        if parts is None:
            sizes[key] = 1 + (len(item) // TEXT_PER_NODE if isinstance(item, (str, bytes)) else 0)
        elif done:
            open_now.discard(key)
            sizes[key] = 1 + sum(sizes[id(part)] for part in parts)
            if sizes[key] > MAX_NODES:
                raise _endless()
        elif key in open_now or len(open_now) >= MAX_DEPTH:
            raise _endless()
        else:
            open_now.add(key)
            waiting.append((item, True))
            for part in parts:
                if id(part) in open_now:
                    raise _endless()
                waiting.append((part, False))
    return value


def _endless() -> CheckpointError:
    return CheckpointError(
        "its parts are nested without end, as in a decompression bomb, so it was not loaded. "
        "Take another copy from a source you trust."
    )


def _parts(item: Any) -> list[Any] | None:
    """What lies in a container, None for anything else."""
    if isinstance(item, dict):
        return [part for pair in item.items() for part in pair]
    if isinstance(item, (list, tuple)):
        return list(item)
    if isinstance(item, NumpyArray):
        return item.items
    if isinstance(item, InertModule):
        return [item.state]
    if isinstance(item, argparse.Namespace):
        return [vars(item)]
    return None

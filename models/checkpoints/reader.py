"""Reads a file from disk as plain data, whatever it is called: safetensors, PyTorch (zip or legacy), pickle, dlib's
networks, TensorFlow.js' weights.

`unpickler.py` reads the structure as data, `tensors.py` the tensors; nothing in a file is ever executed.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import other_files
from .allowed_names import InertModule, NumpyArray, allowed_names
from .contents import Contents
from .dlib_stream import MAGIC as DLIB_MAGIC
from .dlib_stream import read_dlib
from .errors import ACCEPTED, CheckpointError, CorruptFile, in_words
from .tensors import MappedFile, contiguous, integers
from .tfjs import ENDING, read_tfjs
from .torch_files import read_archive, read_pickle, read_stream
from .unpickler import Budget, RestrictedUnpickler

LEGACY_TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850")
MAX_DEPTH = 100
MAX_NODES = 500_000
TEXT_PER_NODE = 64
HEADER_LIMIT = 8_000_000
"""The library would read a hundred megabytes; a checkpoint has some hundred bytes of header for each tensor."""
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Tensors of other types, which only other models use, are passed over."""


@in_words()
def read_contents(path: Path) -> Contents:
    """The data in `path`; its kind is told by its first bytes, not by its name.

    Raises:
        CheckpointError: it is missing, unreadable, damaged, no container we know, or asks to run code.
    """
    if path.is_dir():
        raise CheckpointError("this is a folder. Choose the checkpoint file inside it.")
    if not path.is_file():
        raise CheckpointError("there is no such file.")
    if not path.stat().st_size:
        raise CheckpointError("it is empty, as after a download that failed. Download it again.")
    file = MappedFile(path)
    return _read(path, file, bytes(file.view[:512]))


@in_words()
def read_object_array(data: memoryview) -> Any:
    """The objects in a numpy array of objects (the bytes of a `.npy` file), which is a pickle behind a header.

    Raises:
        CheckpointError: it asks to run code, or is damaged.
    """
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    budget = Budget(len(data))
    value, _ = RestrictedUnpickler(data, allowed_names(budget), budget, text=True, start=start).run()
    return _checked(value)


def _read(path: Path, file: MappedFile, head: bytes) -> Contents:
    data = file.view
    manifest = _manifest_of(path)
    if manifest is not None:
        return Contents(path, "tfjs", read_tfjs(manifest))
    if head.startswith(DLIB_MAGIC):
        return Contents(path, "dlib", read_dlib(data))
    if head[:4] == b"PK\x03\x04":
        try:
            value = read_archive(data, Budget(len(data)))
        except CheckpointError as error:
            raise other_files.clarified(error, data) from error
        return Contents(path, "torch", _checked(value), file=file)
    # Asked before the pickles: the header's length may well begin with the byte that every pickle begins with.
    if head[8:9] == b"{" and head[7:8] == b"\0":
        tensors, metadata = read_safetensors(path, data)
        return Contents(path, "safetensors", tensors, metadata, file)
    if head[:1] == b"\x80" and LEGACY_TORCH_MAGIC in head[:32]:
        return Contents(path, "torch", _checked(read_stream(data, Budget(len(data)))), file=file)
    if head[:1] == b"\x80":
        try:
            value = read_pickle(data, Budget(len(data)))
        except CheckpointError as error:
            raise other_files.clarified(error, data) from error
        return Contents(path, "pickle", _checked(value), file=file)
    if path.suffix.lower() == ".bin":
        raise CheckpointError(
            f"this may be weights of TensorFlow.js: put their manifest, {path.stem}{ENDING}, beside it. {ACCEPTED}."
        )
    raise CheckpointError(other_files.describe_bytes(head, len(file)) or f"this is not a checkpoint. {ACCEPTED}.")


def _manifest_of(path: Path) -> Path | None:
    """The manifest (TensorFlow.js) that `path` is, or that lies beside the weights `path`; None where there is none."""
    if path.name.endswith(ENDING):
        return path
    name = re.sub(r"(\.bin|-shard\d+)$", "", path.name)
    beside = path.with_name(name + ENDING)
    return beside if name != path.name and beside.is_file() else None


def read_safetensors(path: Path, data: memoryview) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name as views of `data`, metadata) of the file `path`, which is mapped in `data`.

    Raises:
        CheckpointError: the file is cut off or its header is too large.
        CorruptFile: the header is no header, or says what cannot be.
    """
    # The library would map the file a second time, and keep it in memory beside the network that is filled from it.
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_LIMIT:
        raise CheckpointError(
            f"its header announces {length} bytes of description, which no checkpoint needs, so it was not loaded. "
            "Take another copy from a source you trust."
        )
    try:
        with safe_open(path, framework="numpy"):
            header = json.loads(bytes(data[8 : 8 + length]))
    except SafetensorError as error:
        if any(reason in str(error).lower().replace(" ", "") for reason in ("incomplete", "invalidheaderlength")):
            raise CheckpointError(
                f"it is cut off or damaged: it has {len(data)} bytes, and its header announces another number. "
                "Download it again."
            ) from error
        raise CorruptFile("its header breaks the rules of safetensors") from error
    metadata, body, tensors = header.pop("__metadata__", None) or {}, data[8 + length :], {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        if entry["dtype"] in DTYPES:
            tensors[name] = contiguous(body[begin:end], DTYPES[entry["dtype"]], integers(entry["shape"]))
    return tensors, metadata


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

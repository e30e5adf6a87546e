"""Arrays in files of any project: the shape tells which of a file's entries is meant, the name where several fit.

Nothing in a file is ever executed.

Read are `.npy` and `.npz` of numpy, `.pt` and `.pkl` of PyTorch and pickle, and `.safetensors`; what a file is, its
contents tell.
"""

from __future__ import annotations

import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .allowed_names import NumpyArray
from .errors import ACCEPTED
from .reader import read_contents, read_object_array
from .state_dicts import MEANS, as_tensor

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
BARE = "the array"
"""What the only array of a file is called that gives it no name."""
UNPACKED_LIMIT = 2**30
"""Bytes that the arrays of an `.npz` may unpack to: thirty thousand W+ codes."""
DEPTH = 4
NAMED = 6
"""Entries that an error names."""
PICTURE = re.compile(r"\.(jpe?g|png|webp|bmp|tiff?|heic|avif)$", re.IGNORECASE)

NOT_READ = (
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy and zipfile raise at a damaged file."""

Fits = Callable[[Tensor], bool]


def read_arrays(path: Path) -> tuple[dict[str, Any], Mapping[str, str]]:
    """The entries of a file by name (tensors on the CPU, lists, mappings of the same), and its metadata.

    Numbers keep their type, but for arrays of numpy, which become float32 unless they are bytes.

    Raises:
        ValueError: it is missing, damaged, too large once unpacked, or would have to be executed.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Check the path.")
    try:
        with path.open("rb") as file:
            head = file.read(len(NPY))
        if head == NPY:
            return _entries(_npy(path)), {}
        if head.startswith(ZIP) and _is_npz(path):
            with np.load(path, allow_pickle=False) as archive:
                return {name: _member(archive, name) for name in archive.files}, {}
    except NOT_READ as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        raise ValueError(f"{path} cannot be read as an array ({said}). Save plain numbers with numpy.save.") from error
    try:
        contents = read_contents(path)
    except ValueError as error:
        said = str(error).replace(ACCEPTED, "Accepted are arrays in .npy, .npz, .pt, .pkl and .safetensors files")
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    return _entries(_plain(contents.data)), contents.metadata


def find_arrays(
    path: Path, entries: Mapping[str, Any], names: Sequence[str], tiers: Sequence[Fits], needed: str
) -> list[Tensor]:
    """The arrays that are wanted, out of what `read_arrays` read: usually one, or one for each picture of the file.

    Args:
        path: the file, for the messages.
        entries: what is in it.
        names: what such an entry is called by various projects, in order of preference; it decides where several fit.
        tiers: whether an array has the right shape, the likeliest meaning first.
        needed: the shape, for the message.

    Raises:
        ValueError: none fits, or several do and nothing says which is meant.
    """
    found = _find(path, entries, names, tiers, 0)
    if not found:
        held = _held(entries)
        if _is_network(entries):
            raise ValueError(f"{path}: it holds a network's weights, where {needed} is needed. Choose another file.")
        if not held:
            raise ValueError(f"{path}: no arrays of numbers are in it, where {needed} is needed. Choose another file.")
        raise ValueError(f"{path}: {needed} is needed, and the file holds {_listed(held)}.")
    if sum(part.numel() * 4 for part in found) > UNPACKED_LIMIT:
        raise ValueError(f"{path}: its arrays would take more than {UNPACKED_LIMIT >> 20} MB. Split the file.")
    return found


def _find(
    path: Path, entries: Mapping[str, Any], names: Sequence[str], tiers: Sequence[Fits], depth: int
) -> list[Tensor]:
    if any(name.endswith(".weight") for name in entries):
        return []
    candidates = {name: _parts(value) for name, value in entries.items() if name.lower() not in MEANS}
    candidates = {name: parts for name, parts in candidates.items() if parts}
    by_name = {name.lower(): name for name in candidates}
    for fits in tiers:
        fitting = [name for name, parts in candidates.items() if all(fits(part) for part in parts)]
        named = next((by_name[name] for name in names if by_name.get(name) in fitting), None)
        if named is not None:
            return candidates[named]
        # A list for one picture is its codes after each step (ReStyle), of which the last is the result.
        if fitting and _one_for_each_picture(fitting):
            return [candidates[name][-1] for name in fitting]
        if len(fitting) == 1:
            return candidates[fitting[0]]
        if fitting:
            listed = _listed({name: candidates[name] for name in fitting})
            raise ValueError(
                f"{path}: several of its arrays have a shape that fits: {listed}. Save the one that is meant in a file "
                "of its own, with numpy.save."
            )
    inner = [value for value in entries.values() if isinstance(value, Mapping)] if depth < DEPTH else []
    return [part for value in inner for part in _find(path, value, names, tiers, depth + 1)]


def _one_for_each_picture(names: Sequence[str]) -> bool:
    """Whether entries are called by pictures' files, or several by a number each."""
    numbered = len(names) > 1 and len({re.sub(r"\d+", "#", name) for name in names}) == 1
    return numbered or all(PICTURE.search(name) or "/" in name for name in names)


def _parts(value: Any) -> list[Tensor]:
    """A tensor, or a list of tensors of one shape, as a list of such as hold numbers; empty for anything else."""
    parts = value if isinstance(value, list) else [value]
    numbers = all(isinstance(part, Tensor) and part.dtype != torch.bool and not part.is_complex() for part in parts)
    return parts if numbers and len({part.shape for part in parts}) == 1 else []


def _is_network(entries: Mapping[str, Any]) -> bool:
    """Whether these are the names of a network's tensors, among which some are as long as a code."""
    return any(name.endswith(".weight") for name in entries) or any(
        _is_network(value) for value in entries.values() if isinstance(value, Mapping)
    )


def _held(entries: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    held: dict[str, list[Tensor]] = {}
    for name, value in entries.items():
        if isinstance(value, Mapping):
            held |= {f"{name}/{inner}": parts for inner, parts in _held(value).items()}
        elif parts := _parts(value):
            held[name] = parts
    return held


def _listed(held: Mapping[str, list[Tensor]]) -> str:
    shown = []
    for name, parts in list(held.items())[:NAMED]:
        several = f"{len(parts)} x " if len(parts) > 1 else ""
        called = "an array" if name == BARE else f"`{name[:60].encode('unicode_escape').decode()}`"
        shown.append(f"{called} {several}{list(parts[0].shape)}")
    return ", ".join(shown) + (f" and {len(held) - NAMED} more" if len(held) > NAMED else "")


def _entries(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {BARE: value}


def _plain(value: Any, depth: int = 0) -> Any:
    """Tensors, lists of tensors and dictionaries of them; None for anything else."""
    if isinstance(value, NumpyArray) and value.items is not None:
        return _plain(value.items if value.shape else value.items[0], depth)
    tensor = as_tensor(value)
    if tensor is not None or depth > DEPTH:
        return tensor
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        items = [item for item in (_plain(item, depth + 1) for item in value) if item is not None]
        if any(isinstance(item, dict) for item in items):
            return {f"{index}": item for index, item in enumerate(items)}
        return items
    return None


def _npy(path: Path) -> Any:
    # Mapped, a file whose header promises more than it holds is refused before memory is taken.
    try:
        return _tensor(np.load(path, mmap_mode="r", allow_pickle=False))
    except ValueError as error:
        if "object" not in str(error).lower():
            raise
        return _plain(read_object_array(memoryview(path.read_bytes())))


def _member(archive: Any, name: str) -> Any:
    """An entry of an `.npz`; None for texts and what else is no number, which may lie beside the codes."""
    try:
        array = archive[name]
    except ValueError as error:
        if "object" not in str(error).lower():
            raise
        try:
            return _plain(read_object_array(memoryview(archive.zip.read(f"{name}.npy"))))
        except ValueError:
            return None
    return _tensor(array) if isinstance(array, np.ndarray) and array.dtype.kind in "fiu" else None


def _tensor(array: Any) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype} values, not numbers")
    return torch.from_numpy(np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float32))


def _is_npz(path: Path) -> bool:
    """Whether a zip file is numpy's; refuses one that would fill the memory."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
        return False
    if sum(entry.file_size for entry in entries) > UNPACKED_LIMIT:
        raise ValueError(f"unpacked it would take more than {UNPACKED_LIMIT >> 20} MB")
    return True

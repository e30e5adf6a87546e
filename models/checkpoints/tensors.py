"""Tensors as views of a mapped file: what a pickle says about a tensor, checked against the bytes that are there."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, CorruptFile
from .unpickler import Budget

MAX_DIMENSIONS = 8
SHARED_ELEMENTS = 1 << 20
"""An expanded tensor (one stored value standing for many) may stand for this many values, and no more."""

STORAGE_TYPES: dict[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}


class MappedFile:
    """A file mapped into memory, copy on write: its pages are read when a tensor is, and nothing writes back."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.view = memoryview(self._map)

    def __len__(self) -> int:
        return len(self.view)

    def release(self) -> None:
        """Lets the system take back the pages read so far, which are the file's own and can be read again."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Storage:
    """The values of one or more tensors, in a row."""

    dtype: torch.dtype
    data: memoryview
    """Exactly its bytes."""

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.data) // self.dtype.itemsize


@dataclass(frozen=True)
class StorageType:
    """A name such as `torch.FloatStorage` in a pickle."""

    dtype: torch.dtype


def integers(values: Any) -> list[int]:
    """`values`, a list or tuple of a few numbers that are not negative.

    Raises:
        CorruptFile: it is something else.
    """
    if not isinstance(values, (tuple, list)) or len(values) > MAX_DIMENSIONS:
        raise CorruptFile("a tensor without a proper shape")
    if any(type(value) is not int or value < 0 for value in values):
        raise CorruptFile("a tensor whose shape or strides are not positive numbers")
    return list(values)


def tensor(storage: Any, offset: Any, size: Any, stride: Any, budget: Budget) -> Tensor:
    """The tensor that these values describe, a view of the storage.

    Raises:
        CorruptFile: it would reach beyond its storage, or is described wrongly.
        CheckpointError: it stands for far more data than the file holds.
    """
    if not isinstance(storage, Storage):
        raise CorruptFile("a tensor without its values")
    sizes, strides, (start,) = integers(size), integers(stride), integers([offset])
    if len(sizes) != len(strides):
        raise CorruptFile("a tensor with more sides than strides")
    count = 1
    for length in sizes:
        count *= length
    if count > max(storage.count, SHARED_ELEMENTS):
        raise CheckpointError(
            f"it holds a tensor of shape {sizes} of which only {storage.count} values are stored, as a decompression "
            "bomb does, so it was not loaded. Take another copy from a source you trust."
        )
    budget.spend_tensor(count * storage.dtype.itemsize)
    if not count:
        return torch.empty(sizes, dtype=storage.dtype)
    last = start + sum((length - 1) * step for length, step in zip(sizes, strides, strict=True))
    if last >= storage.count:
        raise CorruptFile(f"a tensor of shape {sizes} reaches beyond its {storage.count} values")
    flat = torch.frombuffer(storage.data, dtype=storage.dtype)
    return flat.as_strided(sizes, strides, start)


def contiguous(view: memoryview, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Exactly the bytes of `view` as a tensor of this shape."""
    if not len(view):
        return torch.empty(list(shape), dtype=dtype)
    return torch.frombuffer(view, dtype=dtype).reshape(list(shape))

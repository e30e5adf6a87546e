"""Safetensors: a header in JSON that says where each tensor lies, and their bytes.

Read here rather than by the library, because the tensors have to stay views of a mapping whose pages can be given back
while a network is filled; the rules are the format's, and a header that breaks one is refused.

Source: the format's definition at https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from .contents import CheckpointError
from .machine import CorruptFile
from .storages import MAX_DIMENSIONS, contiguous

HEADER_LIMIT = 16_000_000
TENSOR_LIMIT = 100_000
CUT_OFF = "it is cut off: its header announces {wanted} bytes, and the file has {size}. Download it again."

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
OTHER_DTYPES = {"F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "U32": 4, "U64": 8}
"""Bytes per value of types that only other models use; their tensors are passed over."""


def read_safetensors(data: memoryview) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, metadata).

    Raises:
        CheckpointError: the file is cut off or its header is too large.
        Damaged: the header is no header, or says what cannot be.
    """
    length = int.from_bytes(data[:8], "little")
    if length > HEADER_LIMIT:
        raise CheckpointError(
            f"its header announces {length} bytes of description, which no checkpoint needs, so it was not loaded. "
            "Take another copy from a source you trust."
        )
    if 8 + length > len(data):
        raise CheckpointError(CUT_OFF.format(wanted=8 + length, size=len(data)))
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
    except (ValueError, RecursionError) as error:
        raise CorruptFile("its header is not JSON") from error
    if not isinstance(header, dict) or len(header) > TENSOR_LIMIT:
        raise CorruptFile("its header is no list of tensors")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CorruptFile("its metadata is not text")
    body = data[8 + length :]
    places = sorted((_place(name, entry, len(body)) for name, entry in header.items()), key=lambda place: place[0])
    expected = 0
    for begin, end, name, _, _ in places:
        if begin != expected:
            raise CorruptFile(f"the bytes of `{name[:60]}` overlap others, or leave a gap")
        expected = end
    if expected != len(body):
        raise CorruptFile(f"{len(body) - expected} bytes belong to no tensor")
    tensors = {name: contiguous(body[begin:end], dtype, shape) for begin, end, name, dtype, shape in places if dtype}
    return tensors, metadata


def _place(name: str, entry: Any, size: int) -> tuple[int, int, str, torch.dtype | None, list[int]]:
    """(begin, end, name, dtype, shape) of one tensor, checked against one another."""
    if len(name) > 1000 or not isinstance(entry, dict):
        raise CorruptFile("a tensor without a description")
    shape, offsets, kind = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or any(type(number) is not int or number < 0 for number in numbers):
            raise CorruptFile(f"`{name[:60]}` without a proper shape and place")
    assert isinstance(shape, list) and isinstance(offsets, list)  # noqa: S101 - for the type checker
    dtype = DTYPES.get(kind) if isinstance(kind, str) else None
    width = dtype.itemsize if dtype else OTHER_DTYPES.get(kind) if isinstance(kind, str) else None
    if width is None:
        raise CorruptFile(f"`{name[:60]}` is of an unknown type")
    if len(offsets) != 2 or len(shape) > MAX_DIMENSIONS or not offsets[0] <= offsets[1]:
        raise CorruptFile(f"`{name[:60]}` without a proper shape and place")
    if offsets[1] > size:
        raise CheckpointError(
            f"it is cut off or damaged: `{name[:60]}` ends at byte {offsets[1]} of {size}. Download it again."
            if offsets[1] < 1 << 63
            else f"it is damaged: `{name[:60]}` lies where no file reaches. Take another copy."
        )
    count = width
    for number in shape:
        count *= number
    if count != offsets[1] - offsets[0]:
        raise CorruptFile(
            f"`{name[:60]}` of shape {str(shape)[:80]} needs {str(count)[:40]} bytes and has {offsets[1] - offsets[0]}"
        )
    return offsets[0], offsets[1], name, dtype, shape

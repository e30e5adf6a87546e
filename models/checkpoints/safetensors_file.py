"""Safetensors: the library judges the header, and the tensors stay views of our mapping, whose pages can be given back
while a network is filled (the library's own mapping would keep the whole file in memory beside it)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .contents import CheckpointError
from .storages import contiguous, integers
from .unpickler import CorruptFile

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


def read_safetensors(path: Path, data: memoryview) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name as views of `data`, metadata) of the file `path`, which is mapped in `data`.

    Raises:
        CheckpointError: the file is cut off or its header is too large.
        CorruptFile: the header is no header, or says what cannot be.
    """
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

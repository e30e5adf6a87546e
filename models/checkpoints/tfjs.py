"""Weights as TensorFlow.js has them: a manifest in JSON that names the tensors, and files of their bytes beside it.

Source of the format: tfjs-core's `io/types.ts` and `io/io_utils.ts` (Apache 2.0).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, CorruptFile, TruncatedFile
from .tensors import integers

ENDING = "-weights_manifest.json"
LARGEST_MANIFEST = 4 << 20
MOST_BYTES = 1 << 30


def read_tfjs(manifest: Path) -> dict[str, Tensor]:
    """The tensors by name, float32; of 8-bit ones the values that they stand for.

    Raises:
        CheckpointError: a file that the manifest names is not beside it.
        TruncatedFile, CorruptFile: the bytes are fewer or more than it says, or it is no manifest.
        OSError: a file cannot be read.
    """
    if manifest.stat().st_size > LARGEST_MANIFEST:
        raise CorruptFile("a manifest larger than any network's")
    groups = json.loads(manifest.read_bytes())
    if not isinstance(groups, list):
        raise CorruptFile("a manifest that is no list")
    tensors: dict[str, Tensor] = {}
    for group in groups:
        entries = [_Entry(entry) for entry in group["weights"]]
        data = _bytes_of(manifest, group["paths"], sum(entry.bytes for entry in entries))
        place = 0
        for entry in entries:
            tensors[entry.name] = entry.tensor(data[place : place + entry.bytes])
            place += entry.bytes
    return tensors


class _Entry:
    """What the manifest says of one tensor."""

    def __init__(self, entry: Any) -> None:
        self.name = str(entry["name"])
        self.shape = integers(entry["shape"])
        self.count = math.prod(self.shape)
        packed = entry.get("quantization")
        kind = entry["dtype"] if packed is None else packed["dtype"]
        if kind not in ("float32", "uint8") or entry["dtype"] != "float32" or (packed is None) != (kind == "float32"):
            raise CorruptFile(f"`{self.name[:60]}` is stored as {str(kind)[:20]}, where float32 or uint8 is read")
        self.bytes = self.count * (4 if packed is None else 1)
        self.scale, self.least = (1.0, 0.0) if packed is None else (float(packed["scale"]), float(packed["min"]))

    def tensor(self, data: memoryview) -> Tensor:
        # A copy, because the values begin at any byte.
        values = bytearray(data)
        if not values:
            return torch.empty(self.shape)
        if len(values) == self.count * 4:
            return torch.frombuffer(values, dtype=torch.float32).reshape(self.shape)
        return (torch.frombuffer(values, dtype=torch.uint8).float() * self.scale + self.least).reshape(self.shape)


def _bytes_of(manifest: Path, names: Any, wanted: int) -> memoryview:
    """The `wanted` bytes of the files with these names, in a row."""
    if wanted > MOST_BYTES:
        raise CorruptFile(f"{wanted} bytes of weights")
    files = [manifest.with_name(str(name)) for name in names]  # refuses a name that leads to another folder
    for file in files:
        if not file.is_file():
            raise CheckpointError(
                f"its weights `{file.name[:80]}` are not beside it. Put both files into the same folder."
            )
    found = sum(file.stat().st_size for file in files)
    if found != wanted:
        raise (TruncatedFile if found < wanted else CorruptFile)(
            f"its manifest announces {wanted} bytes, and there are {found}"
        )
    return memoryview(b"".join(file.read_bytes() for file in files))

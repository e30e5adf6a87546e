"""dlib's serialisation of a network, as far as its face recognition network goes: a list of layers with their values.

A network is nested layer in layer, each beginning with its version: so all versions come first, then the input, then
what each layer is, from the input to the output. An integer is one byte (how many bytes follow, and the sign in its
highest bit) and its magnitude, a float two integers, a text its length and its bytes, a tensor its version, four
lengths and 32-bit floats. Every length is checked against the bytes that are left.

Source of the format: dlib's serialize.h, dnn/core.h, dnn/layers.h and cuda/tensor.h (Boost Software License).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import CorruptFile, TruncatedFile

MAGIC = b"\x01\x01\x01\x0dloss_metric_2"
MOST_LAYERS = 1000
LONGEST_NAME = 64
LAYERS = {
    # What is written of a layer: i integer, f float, t tensor, a the place of a part of the tensor (five integers).
    "con_4": "tiiiiiiiaaffff",
    "affine_": "taai",
    "fc_2": "iitaaiffff",
    "relu_": "",
    "add_prev_": "",
    "max_pool_2": "iiiiii",
    "avg_pool_2": "iiiiii",
}


@dataclass(frozen=True)
class Layer:
    """One layer."""

    kind: str
    """A key of LAYERS."""
    numbers: tuple[int, ...]
    """Its integers in their order, without those of places: what they mean depends on the kind."""
    values: Tensor
    """All its learned values in a row, float32; empty where it has none."""


def read_dlib(data: memoryview) -> list[Layer]:
    """The layers, from the input to the output.

    Raises:
        TruncatedFile: the bytes end before the network does.
        CorruptFile: they are of another network, or say what cannot be.
    """
    stream = _Stream(data, len(MAGIC))
    stream.skip("ff")
    versions = [stream.integer()]
    while versions[-1] in (1, 2, 3) and len(versions) < MOST_LAYERS:
        versions.append(stream.integer())
    # The first number that is no version is the length of the input's name.
    name = stream.text(versions.pop())
    if name != "input_rgb_image_sized" or not versions:
        raise CorruptFile(f"its input is {name!r}")
    stream.skip("fffii")
    layers: list[Layer] = []
    while stream.place < len(data):
        if len(layers) == len(versions):
            raise CorruptFile("more layers than it announced")
        layers.append(_layer(stream, first_version=None if layers else versions[-1]))
    return layers


def _layer(stream: _Stream, first_version: int | None) -> Layer:
    kind = stream.text()
    if kind not in LAYERS:
        raise CorruptFile(f"a layer of the unknown kind {kind!r}")
    numbers: list[int] = []
    values = torch.empty(0)
    for part in LAYERS[kind]:
        if part == "i":
            numbers.append(stream.integer())
        elif part == "t":
            values = stream.tensor()
        else:
            stream.skip(part)
    # Three switches as digits, then what training had in memory, then how many pictures one input becomes.
    stream.bytes(3)
    stream.skip("ttt")
    if first_version == 3:
        stream.skip("i")
    return Layer(kind, tuple(numbers), values)


class _Stream:
    """Reads values one after another, never beyond the end."""

    def __init__(self, data: memoryview, place: int) -> None:
        self.data, self.place = data, place

    def bytes(self, count: int) -> memoryview:
        if not 0 <= count <= len(self.data) - self.place:
            raise TruncatedFile(f"{count} bytes are announced and {len(self.data) - self.place} are left")
        self.place += count
        return self.data[self.place - count : self.place]

    def integer(self) -> int:
        control = self.bytes(1)[0]
        count = control & 0x0F
        if not 1 <= count <= 8 or control & 0x70:
            raise CorruptFile(f"an integer of {count} bytes")
        magnitude = int.from_bytes(self.bytes(count), "little")
        return -magnitude if control & 0x80 else magnitude

    def text(self, length: int | None = None) -> str:
        length = self.integer() if length is None else length
        if not 0 <= length <= LONGEST_NAME:
            raise CorruptFile(f"a name of {length} letters")
        return bytes(self.bytes(length)).decode("ascii", "replace")

    def tensor(self) -> Tensor:
        version, *lengths = (self.integer() for _ in range(5))
        if version != 2 or any(length < 0 for length in lengths):
            raise CorruptFile("a tensor without a proper shape")
        # A copy, because the values begin at any byte.
        view = bytearray(self.bytes(4 * math.prod(lengths)))
        return torch.frombuffer(view, dtype=torch.float32) if view else torch.empty(0)

    def skip(self, parts: str) -> None:
        for part in parts:
            if part == "t":
                self.tensor()
            else:
                for _ in range({"i": 1, "f": 2, "a": 5}[part]):
                    self.integer()

"""Numbers and arrays of numpy as a pickle describes them: read as data, without numpy's own functions being called."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .storages import integers
from .unpickler import Budget, Builder, CorruptFile, SafeCall

NUMBER = re.compile(r"[biuf][1248]")
OBJECTS = ("O", "O4", "O8")
ARRAY_CLASS = "numpy.ndarray"
"""What the name of the class stands for."""


@dataclass
class NumpyType(Builder):
    """`numpy.dtype` of a number, told by a code such as "f4", or of whatever else a pickle may hold ("O8")."""

    code: str
    order: str = "<"

    def build(self, state: Any) -> None:
        # (version, byte order, ...): numpy's own state of a dtype.
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """As numpy has it."""
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass
class NumpyArray(Builder):
    """`numpy.ndarray` of numbers: a tensor once the pickle has said what is in it, None before.

    An array of objects has `items` in their order instead, and its shape.
    """

    budget: Budget
    tensor: Tensor | None = None
    items: list[Any] | None = None
    shape: tuple[int, ...] = ()

    def build(self, state: Any) -> None:
        # (version, shape, dtype, whether columns come first, the bytes): numpy's own state of an array.
        if not isinstance(state, tuple) or len(state) != 5:
            raise CorruptFile("an array without its contents")
        _, shape, kind, by_columns, data = state
        if isinstance(kind, NumpyType) and kind.code in OBJECTS and isinstance(data, list):
            self.shape, self.items = tuple(integers(shape)), data
            if math.prod(self.shape) != len(data) or not data:
                raise CorruptFile(f"an array of shape {list(self.shape)} with {len(data)} objects")
            return
        self.tensor = _array(data, kind, shape, "F" if by_columns else "C", self.budget)


def numpy_type(code: Any, *_: Any) -> NumpyType:
    """What stands for `numpy.dtype(code, ...)`."""
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    text = text.lstrip("<>|=") if isinstance(text, str) else ""
    if not NUMBER.fullmatch(text) and text not in OBJECTS:
        raise CorruptFile("a numpy type that is no number")
    return NumpyType(text)


def numpy_number(kind: Any, data: Any) -> float | int | bool:
    """What stands for numpy's `scalar(dtype, bytes)`."""
    if isinstance(data, str):
        # Python 2 wrote bytes as it wrote text.
        data = data.encode("utf-8")
    number_type = isinstance(kind, NumpyType) and kind.code not in OBJECTS
    if not number_type or not isinstance(data, bytes) or len(data) != int(kind.code[1]):
        raise CorruptFile("a numpy number that is none")
    number: float | int | bool = np.frombuffer(data, kind.dtype())[0].item()
    return number


def numpy_names(budget: Budget) -> dict[tuple[str, str], Any]:
    """The names by which a pickle describes an array, from before and after numpy 2."""
    names: dict[tuple[str, str], Any] = {("numpy", "ndarray"): ARRAY_CLASS}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = SafeCall(lambda *arguments: _empty(budget, *arguments))
        names[f"{core}.numeric", "_frombuffer"] = SafeCall(lambda *arguments: _whole(budget, *arguments))
    return names


def _empty(budget: Budget, kind: Any, *_: Any) -> NumpyArray:
    if kind != ARRAY_CLASS:
        raise CorruptFile("an array of another class")
    return NumpyArray(budget)


def _whole(budget: Budget, data: Any, kind: Any, shape: Any, order: Any = "C") -> NumpyArray:
    return NumpyArray(budget, _array(data, kind, shape, order, budget))


def _array(data: Any, kind: Any, shape: Any, order: Any, budget: Budget) -> Tensor:
    """A copy, float32 or float64 as it was, whole numbers as int64."""
    number_type = isinstance(kind, NumpyType) and kind.code not in OBJECTS
    if not number_type or not isinstance(data, (bytes, memoryview)) or order not in ("C", "F"):
        raise CorruptFile("an array of something else than numbers")
    sizes, dtype = integers(shape), kind.dtype()
    if math.prod(sizes) * dtype.itemsize != len(data):
        raise CorruptFile(f"an array of shape {sizes} in {len(data)} bytes")
    wanted = np.int64 if dtype.kind != "f" else np.float64 if dtype.itemsize == 8 else np.float32
    budget.spend_copy(math.prod(sizes) * np.dtype(wanted).itemsize)
    values = np.frombuffer(data, dtype).astype(wanted)
    return torch.from_numpy(values.reshape(sizes, order=order))

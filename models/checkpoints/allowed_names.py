"""The names that a pickle may mention, and what stands for each: inert records, never the thing that is named."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, CorruptFile
from .tensors import STORAGE_TYPES, StorageType, integers
from .tensors import tensor as build_tensor
from .unpickler import Budget, Builder, Find, Record, SafeCall, as_mapping, plain_key

MAX_DEPTH = 32
MAX_MODULES = 20_000

TENSORFLOW = (
    "this is a TensorFlow-era StyleGAN pickle (StyleGAN 1 or 2), which only TensorFlow can read. Convert a StyleGAN2 "
    "file first, with `legacy.py` of NVIDIA's stylegan2-ada-pytorch or `convert_weight.py` of rosinality's "
    "stylegan2-pytorch; StyleGAN 1 networks do not work here."
)
WHOLE_MODULE = (
    "it holds a whole network with its Python class (`{name}`), as `torch.save(network)` writes it, and loading "
    "that would run code, so it was not loaded. Open it where it was made, save only the weights "
    '(`torch.save({{"g_ema": network.state_dict()}}, "weights.pt")`), and load that file.'
)
RUNS_CODE = (
    "it asks for the Python object `{name}`, which a checkpoint does not need and which could run code, so it was not "
    "loaded. Take it from a source you trust, saved as a state dict alone or as .safetensors."
)
NETWORK_MODULES = ("torch.nn", "torch_utils.persistence", "models.", "model", "networks.", "training.networks", "op.")
NUMBER = re.compile(r"[biuf][1248]")
OBJECTS = ("O", "O4", "O8")
ARRAY_CLASS = "numpy.ndarray"
"""What the name of the class stands for."""
SAME = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "pathlib._local": "pathlib",
    "torch.cuda": "torch",
}
"""What modules were called before: by Python 2, by numpy 1."""
THEMSELVES = (
    *(f"torch.{kind}" for kind in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
    *(f"builtins.{kind}" for kind in ("list", "dict", "int", "float")),  # what a defaultdict would make
    *(ARRAY_CLASS, "torch.Tensor", "torch.nn.parameter.Parameter"),
)
"""Names that stand for nothing but themselves."""
INERT: dict[str, Any] = {name: name for name in THEMSELVES} | {
    f"{module}.{name}": StorageType(dtype)
    for module in ("torch", "torch.storage")
    for name, dtype in STORAGE_TYPES.items()
}


@dataclass(frozen=True)
class InertModule:
    """A pickled network: its class name and attributes, with no behaviour."""

    class_name: str
    state: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.state.get(name, default)

    def child(self, *path: str) -> InertModule | None:
        """A sub-module by its path, None where there is none."""
        module: Any = self
        for name in path:
            modules = module.state.get("_modules")
            module = modules.get(name) if isinstance(modules, dict) else None
            if not isinstance(module, InertModule):
                return None
        return module

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by their dotted names.

        Raises:
            CheckpointError: modules are nested or repeated beyond what a network is.
        """
        found: dict[str, Tensor] = {}
        waiting, seen = [("", self, 0)], 0
        while waiting:
            prefix, module, depth = waiting.pop()
            seen += 1
            if depth > MAX_DEPTH or seen > MAX_MODULES or len(prefix) > 1000:
                raise CheckpointError("its modules are nested without end. Take another copy from a source you trust.")
            for group in ("_parameters", "_buffers"):
                for name, tensor in as_mapping(module.state.get(group) or {}).items():
                    if isinstance(tensor, Tensor):
                        found[f"{prefix}{name}"] = tensor
            for name, child in as_mapping(module.state.get("_modules") or {}).items():
                if isinstance(child, InertModule):
                    waiting.append((f"{prefix}{name}.", child, depth + 1))
        return found


class Namespace(argparse.Namespace, Builder):
    """The command line that a training file keeps: a bag of attributes."""

    __slots__ = ("_budget",)

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def build(self, state: Any) -> None:
        self._budget.spend_operation(len(as_mapping(state)))
        for name, value in as_mapping(state).items():
            # Set where vars() finds it; a name such as __class__ stays an entry like any other.
            vars(self)[str(plain_key(name))] = value


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
        self.tensor = _numpy_array(data, kind, shape, "F" if by_columns else "C", self.budget)


def _numpy_type(code: Any, *_: Any) -> NumpyType:
    """What stands for `numpy.dtype(code, ...)`."""
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    text = text.lstrip("<>|=") if isinstance(text, str) else ""
    if not NUMBER.fullmatch(text) and text not in OBJECTS:
        raise CorruptFile("a numpy type that is no number")
    return NumpyType(text)


def _numpy_number(kind: Any, data: Any) -> float | int | bool:
    """What stands for numpy's `scalar(dtype, bytes)`."""
    if isinstance(data, str):
        # Python 2 wrote bytes as it wrote text.
        data = data.encode("utf-8")
    number_type = isinstance(kind, NumpyType) and kind.code not in OBJECTS
    if not number_type or not isinstance(data, bytes) or len(data) != int(kind.code[1]):
        raise CorruptFile("a numpy number that is none")
    number: float | int | bool = np.frombuffer(data, kind.dtype())[0].item()
    return number


def allowed_names(budget: Budget, load_storage: Callable[[Any], Any] | None = None) -> Find:
    """The table for one file: state dicts, optimisers and the command line of a training, arrays of numpy, and NVIDIA's
    networks, in their own pickles and in what `torch.save(network)` made of them (PTI).

    Args:
        budget: what the file may ask for.
        load_storage: reads a tensor that lies as bytes within a plain pickle; None refuses such.
    """

    def dictionary(items: Any = ()) -> Record:
        if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 for pair in listed(items)):
            raise CorruptFile("a dictionary without names")
        return Record((plain_key(name), value) for name, value in items)

    def listed(items: Any) -> list[Any] | tuple[Any, ...]:
        if not isinstance(items, (list, tuple)):
            raise CorruptFile("a dictionary or set of something else")
        budget.spend_operation(len(items))
        return items

    def encoded(text: Any, encoding: Any = "latin1") -> bytes:
        # Protocol 2 has no bytes: Python writes them as text with this call.
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise CorruptFile("bytes that are written in another way")
        budget.spend_copy(len(text))
        return text.encode("latin-1")

    def empty_array(kind: Any, *_: Any) -> NumpyArray:
        if kind != ARRAY_CLASS:
            raise CorruptFile("an array of another class")
        return NumpyArray(budget)

    def array(data: Any, kind: Any, shape: Any, order: Any = "C") -> NumpyArray:
        return NumpyArray(budget, _numpy_array(data, kind, shape, order, budget))

    def tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        return build_tensor(storage, offset, size, stride, budget)

    calls: dict[str, Callable[..., Any]] = {
        "collections.OrderedDict": dictionary,
        "collections.defaultdict": lambda *_: dictionary(),
        "dnnlib.util.EasyDict": dictionary,
        "builtins.set": lambda items=(): {plain_key(item) for item in listed(items)},
        "_codecs.encode": encoded,
        "argparse.Namespace": lambda: Namespace(budget),
        "numpy.dtype": _numpy_type,
        "numpy._core.multiarray.scalar": _numpy_number,
        "numpy._core.multiarray._reconstruct": empty_array,
        "numpy._core.numeric._frombuffer": array,
        "torch.Size": lambda items=(): tuple(integers(items)),
        "torch.device": lambda *parts: ":".join(str(part) for part in parts if isinstance(part, (str, int))),
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._tensor._rebuild_from_type_v2": _with_attributes,
        "torch_utils.persistence._reconstruct_persistent_obj": _inert_module,
        **{f"pathlib.{kind}": _path for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
    }
    if load_storage is not None:
        calls["torch.storage._load_from_bytes"] = load_storage
    table: dict[str, Any] = {name: SafeCall(call) for name, call in calls.items()} | INERT

    def find(module: str, name: str) -> Any:
        """What stands for `module.name`.

        Raises:
            CheckpointError: it is not on the list.
        """
        found = table.get(f"{SAME.get(module, module)}.{name}")
        if found is not None:
            return found
        if module.startswith(("dnnlib.tflib", "tfutils")):
            raise CheckpointError(TENSORFLOW)
        full = f"{module}.{name}"[:120]
        if full.isprintable() and module.startswith(NETWORK_MODULES) and not module.startswith("models.__"):
            raise CheckpointError(WHOLE_MODULE.format(name=full))
        raise CheckpointError(RUNS_CODE.format(name=full.encode("unicode_escape").decode()))

    return find


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise CorruptFile("a parameter that is no tensor")
    return data


def _path(*parts: Any) -> str:
    return "/".join(str(part) for part in parts[:64] if isinstance(part, str))


def _with_attributes(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor that had attributes beside its values: the tensor."""
    if not isinstance(function, SafeCall) or not isinstance(arguments, tuple):
        raise CorruptFile("a tensor made by something that is no function")
    return function.call(*arguments)


def _inert_module(meta: Any, *_: Any) -> InertModule:
    name, state = as_mapping(meta).get("class_name", ""), as_mapping(as_mapping(meta).get("state") or {})
    return InertModule(name[:100] if isinstance(name, str) else "", state)


def _numpy_array(data: Any, kind: Any, shape: Any, order: Any, budget: Budget) -> Tensor:
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

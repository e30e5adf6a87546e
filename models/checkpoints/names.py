"""The names that a pickle may mention, and what stands for each: inert records, never the thing that is named."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .contents import CheckpointError
from .numpy_values import numpy_names, numpy_number, numpy_type
from .storages import STORAGE_TYPES, StorageType, integers
from .storages import tensor as build_tensor
from .unpickler import Budget, Builder, CorruptFile, Find, Record, SafeCall, as_mapping, plain_key

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
class Names:
    """The table for one file. `find` is what a Machine asks."""

    budget: Budget
    extra: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    def find(self, module: str, name: str) -> Any:
        """What stands for `module.name`.

        Raises:
            CheckpointError: it is not on the list.
        """
        found = self.extra.get((module, name), self._table().get((module, name)))
        if found is not None:
            return found
        if module.startswith(("dnnlib.tflib", "tfutils")):
            raise CheckpointError(TENSORFLOW)
        full = f"{module}.{name}"[:120]
        if full.isprintable() and module.startswith(NETWORK_MODULES) and not module.startswith("models.__"):
            raise CheckpointError(WHOLE_MODULE.format(name=full))
        raise CheckpointError(RUNS_CODE.format(name=full.encode("unicode_escape").decode()))

    def _table(self) -> Mapping[tuple[str, str], Any]:
        if not hasattr(self, "_names"):
            table: dict[tuple[str, str], Any] = {
                ("collections", "OrderedDict"): SafeCall(self._dictionary),
                ("numpy", "dtype"): SafeCall(numpy_type),
                ("numpy.core.multiarray", "scalar"): SafeCall(numpy_number),
                ("numpy._core.multiarray", "scalar"): SafeCall(numpy_number),
                ("torch._utils", "_rebuild_parameter"): SafeCall(_parameter),
                ("torch._utils", "_rebuild_tensor_v2"): SafeCall(self._tensor),
                ("builtins", "set"): SafeCall(self._set),
                ("__builtin__", "set"): SafeCall(self._set),
                ("_codecs", "encode"): SafeCall(self._encode),
            }
            self._names = table
        return self._names

    def _dictionary(self, items: Any = ()) -> Record:
        made = Record()
        if not isinstance(items, (list, tuple)):
            raise CorruptFile("a dictionary of something else")
        self.budget.spend_operation(len(items))
        for pair in items:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise CorruptFile("a dictionary without names")
            made[plain_key(pair[0])] = pair[1]
        return made

    def _set(self, items: Any = ()) -> set[Any]:
        if not isinstance(items, (list, tuple)):
            raise CorruptFile("a set of something else")
        self.budget.spend_operation(len(items))
        return {plain_key(item) for item in items}

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes | memoryview:
        # Protocol 2 has no bytes: Python writes them as text with this call.
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise CorruptFile("bytes that are written in another way")
        self.budget.spend_copy(len(text))
        return text.encode("latin-1")

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
        return build_tensor(storage, offset, size, stride, self.budget)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise CorruptFile("a parameter that is no tensor")
    return data


def _path(*parts: Any) -> str:
    return "/".join(str(part) for part in parts[:64] if isinstance(part, str))


def torch_names(budget: Budget) -> Find:
    """The table for PyTorch's own files: state dicts, optimisers, the command line of a training."""
    return Names(budget, _torch_table(budget)).find


def _torch_table(budget: Budget) -> dict[tuple[str, str], Any]:
    extra: dict[tuple[str, str], Any] = {
        ("argparse", "Namespace"): SafeCall(lambda: Namespace(budget)),
        ("torch._utils", "_rebuild_parameter_with_state"): SafeCall(_parameter),
        ("torch", "Size"): SafeCall(lambda items=(): tuple(integers(items))),
        ("torch", "device"): SafeCall(lambda *parts: ":".join(str(p) for p in parts if isinstance(p, (str, int)))),
    }
    for name, dtype in STORAGE_TYPES.items():
        extra["torch", name] = extra["torch.cuda", name] = extra["torch.storage", name] = StorageType(dtype)
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"):
        extra["torch", name] = f"torch.{name}"
    for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"):
        extra["pathlib", kind] = extra["pathlib._local", kind] = SafeCall(_path)
    for kind in ("list", "dict", "int", "float"):
        # What a defaultdict makes of a missing entry; here nothing is ever missing.
        extra["builtins", kind] = extra["__builtin__", kind] = f"builtins.{kind}"
    names = Names(budget)
    return {
        **extra,
        **numpy_names(budget),
        **_networks(names),
        ("torch._utils", "_rebuild_tensor"): SafeCall(names._tensor),
        ("torch._tensor", "_rebuild_from_type_v2"): SafeCall(_with_attributes),
        ("torch", "Tensor"): "torch.Tensor",
        ("torch.nn.parameter", "Parameter"): "torch.nn.Parameter",
        ("collections", "defaultdict"): SafeCall(lambda *_: names._dictionary()),
    }


def network_names(budget: Budget, load_storage: Callable[[Any], Any]) -> Find:
    """The table for plain pickles, NVIDIA's among them: what PyTorch's files may hold, and tensors as bytes within."""
    extra = {**_torch_table(budget), ("torch.storage", "_load_from_bytes"): SafeCall(load_storage)}
    return Names(budget, extra).find


def _networks(names: Names) -> dict[tuple[str, str], Any]:
    """NVIDIA's networks, in their own pickles and in what `torch.save(network)` made of them (PTI)."""
    return {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): SafeCall(_inert_module),
        ("dnnlib.util", "EasyDict"): SafeCall(names._dictionary),
    }


def _with_attributes(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor that had attributes beside its values: the tensor."""
    if not isinstance(function, SafeCall) or not isinstance(arguments, tuple):
        raise CorruptFile("a tensor made by something that is no function")
    return function.call(*arguments)


def _inert_module(meta: Any, *_: Any) -> InertModule:
    name, state = as_mapping(meta).get("class_name", ""), as_mapping(as_mapping(meta).get("state") or {})
    return InertModule(name[:100] if isinstance(name, str) else "", state)


def plain_text(value: Any, limit: int = 200) -> str:
    """A short text for a value of a file; a nested one is named by its kind, since writing it out might never end."""
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 200 else "a huge number"
    if isinstance(value, str):
        return value if len(value) <= limit else value[:limit] + "..."
    if isinstance(value, (list, tuple)) and len(value) <= 32 and all(_is_short(item) for item in value):
        return str(list(value))
    return f"({type(value).__name__})"


def number(value: Any) -> float | None:
    """A finite number of a file, None for anything else."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
    return float(value) if plain else None


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) < 100
    return value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 1 << 64)

"""Unpickling without running anything: a fixed list of names, every other one refused.

NVIDIA's pickles carry the source text of their networks and the official loader executes it. Here a network becomes an
inert record of its attributes, and the text stays text.
"""

from __future__ import annotations

import collections
import io
import pickle  # noqa: S403 - only ever with find_class restricted below
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .contents import CheckpointError

DAMAGE = (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
"""What a damaged pickle can raise."""


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
            module = (module.state.get("_modules") or {}).get(name)
            if not isinstance(module, InertModule):
                return None
        return module

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers with their dotted names."""
        for group in ("_parameters", "_buffers"):
            for name, tensor in (self.state.get(group) or {}).items():
                if isinstance(tensor, Tensor):
                    yield prefix + name, tensor.detach()
        for name, module in (self.state.get("_modules") or {}).items():
            if isinstance(module, InertModule):
                yield from module.tensors(f"{prefix}{name}.")


class InertDict(dict[str, Any]):
    """Stands for `dnnlib.util.EasyDict`."""


def _inert_module(meta: dict[str, Any], *_: Any) -> InertModule:
    return InertModule(str(meta.get("class_name", "")), dict(meta.get("state") or {}))


def _storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _numpy_scalar() -> Callable[..., Any]:
    try:
        from numpy._core.multiarray import scalar
    except ImportError:  # numpy 1
        from numpy.core.multiarray import scalar  # type: ignore[no-redef]
    function: Callable[..., Any] = scalar
    return function


def _allowed() -> dict[tuple[str, str], Any]:
    import _codecs

    import numpy

    return {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _inert_module,
        ("dnnlib.util", "EasyDict"): InertDict,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("numpy", "dtype"): numpy.dtype,
        ("numpy.core.multiarray", "scalar"): _numpy_scalar(),
        ("numpy._core.multiarray", "scalar"): _numpy_scalar(),
        ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("builtins", "set"): set,
        ("__builtin__", "set"): set,
        ("_codecs", "encode"): _codecs.encode,
    }


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._names = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._names:
            return self._names[module, name]
        if module.startswith("dnnlib.tflib"):
            raise CheckpointError(
                "this is a TensorFlow-era StyleGAN pickle. Convert it first, with `legacy.py` of NVIDIA's "
                "stylegan2-ada-pytorch or `convert_weight.py` of rosinality's stylegan2-pytorch."
            )
        raise CheckpointError(
            f"it asks for the Python object `{module}.{name}`, which a checkpoint does not need and which could run "
            "code, so it was not loaded. Save the state dict alone, or as .safetensors."
        )

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("it refers to data outside the file, which is not supported.")


def load_restricted(file: BinaryIO) -> Any:
    """The object pickled in `file`, networks being `InertModule` records.

    Raises:
        CheckpointError: the pickle asks for a name that is not on the list, or is damaged.
    """
    try:
        return _RestrictedUnpickler(file).load()
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(f"it is damaged or not a checkpoint ({type(error).__name__}: {error}).") from error

"""Apple's MPS pretended on any machine, as strict as the real one: tensors that say they lie there and compute on the
CPU, and a refusal of what MPS refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

MPS, CPU, LAZY = torch.device("mps"), torch.device("cpu"), torch.device("lazy")
aten = torch.ops.aten
TAKES_BOTH = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""Operations that may be given tensors of the CPU beside those of the device: copies, and indices."""
MISSING = ("_linalg_eigh", "linalg_eig", "_linalg_eigvals", "linalg_lstsq", "_linalg_svd", "linalg_qr", "geqrf")
"""What MPS has not, had only lately, or does on the CPU with a warning."""


class OnMps(Tensor):
    """A tensor that says it lies on MPS; its numbers are in `inner`, on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnMps:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=LAZY,
            requires_grad=inner.requires_grad,
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Underneath it is one that torch's own code does not ask for a driver."""
        return MPS

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> OnMps:
        return OnMps(inner["inner"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Takes the tensors that are made on MPS from nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    there = any(isinstance(leaf, OnMps) for leaf in leaves)
    asked = kwargs.get("device")
    to_mps = asked is not None and torch.device(asked) == LAZY
    if not there and not to_mps:
        return func(*args, **kwargs)
    if there and func not in TAKES_BOTH:
        here = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, OnMps) and x.ndim]
        assert not here, f"{func} is given tensors of the CPU and of MPS"
    assert func._overloadpacket.__name__ not in MISSING, f"{func} on MPS"
    random = kwargs.get("generator")
    assert random is None or random.device.type == "mps", f"{func} on MPS is given a generator of the CPU"
    inner_args, inner = tree_map(lambda x: x.inner if isinstance(x, OnMps) else x, (args, kwargs))
    if to_mps:
        inner["device"] = CPU
    result = func(*inner_args, **inner)
    if func is aten._to_copy.default and asked is not None and not to_mps:
        return result
    if func is aten.copy_.default and not isinstance(args[0], OnMps):
        return args[0]
    return return_and_correct_aliasing(func, args, kwargs, tree_map(_wrap, result))


def _wrap(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, OnMps):
        return value
    if value.dtype in (torch.float64, torch.complex128):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")
    return OnMps(value)


class _Names(TorchFunctionMode):
    """Has torch's own code look for the stand-in where it would look for MPS's driver."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def stand_in(value: Any) -> Any:
            return LAZY if isinstance(value, str | torch.device) and str(value).startswith("mps") else value

        args, kwargs = list(map(stand_in, args)), {name: stand_in(value) for name, value in (kwargs or {}).items()}
        if func in (Tensor.__getitem__, Tensor.__setitem__):  # so do lists among the indices
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            args[1] = tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
        if func is torch.tensor:  # makes its tensor unseen
            device = kwargs.pop("device", None)
            return func(*args, **kwargs).to(device or CPU)
        if func is Tensor.new_tensor and isinstance(args[0], OnMps):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(LAZY)
        if func is Tensor.backward:
            with self:
                return torch.autograd.backward(args[0])
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextmanager
def pretend_mps() -> Iterator[None]:
    """Until the block ends, `device="mps"` works and has no float64."""
    # What a backward pass makes has to be seen too: it stays in this thread, and no override comes before it.
    seen = patch.object(torch.autograd, "has_torch_function", lambda *_: False)
    with seen, torch.autograd.set_multithreading_enabled(False), _Names(), _Mode():
        yield

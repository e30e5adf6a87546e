"""Where networks run: ComfyUI's own memory management when it is there, plain torch when it is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

DEVICES = ("auto", "cpu", "cuda", "mps")

_chosen: ContextVar[str] = ContextVar("facestylist_device", default="auto")


def in_comfyui() -> bool:
    """True when a ComfyUI process has loaded us.

    Asks what is already imported instead of importing: a machine may have ComfyUI's modules on its path while a plain
    script runs, and importing `comfy.model_management` there would initialise devices and parse the command line.
    """
    return "folder_paths" in sys.modules and "comfy.model_management" in sys.modules


@contextmanager
def use_device(name: str) -> Iterator[None]:
    """What `auto` means until the block ends: the command line's `--device`."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def pick_device(name: str = "auto") -> torch.device:
    """The device for `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    `auto` is ComfyUI's device inside ComfyUI; elsewhere the one given to `use_device`, else the first of CUDA, MPS, CPU
    that is there.

    Raises:
        ValueError: the name is unknown, or this machine has no such device.
    """
    import torch

    if name == "auto":
        name = _chosen.get()
    if name == "auto" and in_comfyui():
        import comfy.model_management

        return comfy.model_management.get_torch_device()
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind = name.split(":")[0]
    if kind not in DEVICES:
        raise ValueError(f"{name!r} is not a device. Choose one of {', '.join(DEVICES)}.")
    if (kind == "cuda" and not cuda) or (kind == "mps" and not mps):
        raise ValueError(f"This machine has no {kind} device that torch can use. Choose auto or cpu.")
    return torch.device(name)


@contextmanager
def on_device(*networks: nn.Module) -> Iterator[torch.device]:
    """Brings networks to the device they run on, and says which it is.

    Inside ComfyUI they go through its ModelPatcher, so that they are offloaded with everyone else's models when memory
    runs short. Elsewhere they move there and stay.
    """
    device = pick_device()
    if in_comfyui():
        import comfy.model_management

        comfy.model_management.load_models_gpu([_patcher(network) for network in networks])
    else:
        for network in networks:
            network.to(device)
    yield device


@contextmanager
def memory_for_training() -> Iterator[torch.device]:
    """The device to train on. Inside ComfyUI the loaded models leave it first, and memory is given back after."""
    device = pick_device()
    if not in_comfyui():
        yield device
        return
    import comfy.model_management

    comfy.model_management.unload_all_models()
    try:
        yield device
    finally:
        comfy.model_management.soft_empty_cache()


class _Holder:
    """What a network carries its ModelPatcher in; a copy of the network starts without one."""

    def __init__(self, patcher: Any = None) -> None:
        self.patcher = patcher

    def __deepcopy__(self, memo: Any) -> _Holder:
        return _Holder()


def _patcher(network: nn.Module) -> Any:
    """The network's ModelPatcher, made once: ComfyUI recognises a loaded model by it.

    The network itself keeps it. A table of all of them would keep every network alive, for each patcher holds its own.
    """
    import comfy.model_management
    import comfy.model_patcher

    holder = network.__dict__.setdefault("_comfyui_patcher", _Holder())
    if holder.patcher is None:
        holder.patcher = comfy.model_patcher.ModelPatcher(
            network,
            load_device=comfy.model_management.get_torch_device(),
            offload_device=comfy.model_management.unet_offload_device(),
        )
    return holder.patcher

"""Networks filled with the tensors of a file: first is seen whether they fit, and only then is memory taken."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .contents import State
from .errors import CheckpointError
from .tensors import MappedFile

Network = TypeVar("Network", bound=nn.Module)

LARGEST = 1 << 16
"""Of any number in a configuration: widths, lengths, resolutions."""
HIGHEST = 4096
MOST_LAYERS = 64
RELEASE_EVERY = 32 << 20
"""Bytes copied before the file's pages are given back."""
RANDOM_FILLS = (
    nn.init.kaiming_uniform_,
    nn.init.uniform_,
    nn.init.normal_,
    Tensor.uniform_,
    Tensor.normal_,
)
OPTIONAL = ("noise_const", "mean_latent", "num_batches_tracked")


class _Uninitialised(TorchFunctionMode):
    """Random first weights are left unset: they are overwritten, and drawing them costs longer than reading a file."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in RANDOM_FILLS:
            return args[0] if args else kwargs["tensor"]
        if func is Tensor.div and args[0].is_meta and isinstance(args[1], (int, float)):
            # Of the same shape, and computing it would import torch's compiler, which takes two seconds.
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **kwargs)


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Builds networks as if nothing surrounded it.

    Tensors made in ComfyUI's inference mode could not be trained or differentiated through later, and what is left of
    random first weights must not move the caller's random numbers on.
    """
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=()):
        yield


def check_config(config: Any) -> None:
    """Refuses a configuration that no network has; building it could take all memory there is.

    Raises:
        CheckpointError: a number in it is beyond any network's.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_config(value)
            continue
        limit = {"resolution": HIGHEST, "mapping_layers": MOST_LAYERS, "blocks": MOST_LAYERS}.get(field.name, LARGEST)
        parts = value if isinstance(value, (tuple, list)) else (value,)
        if any(isinstance(part, str) for part in parts) and "str" not in str(field.type):
            raise CheckpointError(f"its `{field.name}` is a text, where numbers belong. Take another copy.")
        numbers = [part for part in parts if isinstance(part, (int, float)) and not isinstance(part, bool)]
        fits = len(parts) <= MOST_LAYERS and all(0 <= number <= limit for number in numbers)
        if not fits or any(isinstance(part, (dict, list, tuple)) for part in parts):
            shown = ", ".join(f"{number:.6g}" if abs(number) < 1 << 1000 else "huge" for number in numbers[:8])
            raise CheckpointError(
                f"its `{field.name}` would be {shown}, which no network of this kind has. Take another copy."
            )


def absent_tensors(make: Callable[[], nn.Module], state: State) -> list[str]:
    """Names of the tensors that the network needs and `state` has not."""
    return [name for name in _shell(make) if name not in state and not name.endswith(OPTIONAL)]


def build_network(make: Callable[[], Network], state: State, file: Path, mapped: MappedFile | None = None) -> Network:
    """The network that `make` makes, filled with `state`, each tensor reshaped to its place; in eval mode.

    Args:
        make: builds the network; it is called twice, first on the meta device.
        state: tensors by the network's own names; only sides of length one may differ.
        file: for the messages.
        mapped: the file's mapping, whose pages are given back on the way.

    Raises:
        CheckpointError: a tensor is missing or of another size (no memory was taken then), or not finite.
    """
    for name, shape in _shell(make).items():
        tensor = state.get(name)
        if tensor is None:
            if name.endswith(OPTIONAL):
                continue
            raise CheckpointError(f"{file}: it is incomplete: `{name}` is missing. Take another copy of the file.")
        if _sides(tensor.shape) != _sides(shape):
            raise CheckpointError(
                f"{file}: `{name}` has shape {list(tensor.shape)}, where {list(shape)} belongs. "
                "Its architecture is another one."
            )
    with _Uninitialised():
        network = make()
    copied = 0
    for name, place in network.state_dict().items():
        tensor = state.get(name)
        if tensor is None and name.endswith("noise_const"):
            tensor = _arbitrary_noise(name, place)
        if tensor is None:
            continue
        place.copy_(tensor.reshape(place.shape))
        # The sum is a cheap first look: it is finite wherever all of its parts are, but for absurd sizes.
        if place.is_floating_point() and not torch.isfinite(place.sum()) and not torch.isfinite(place).all():
            raise CheckpointError(
                f"{file}: `{name}` holds values that are not finite numbers, as after a training that diverged. "
                "Take an earlier or another copy."
            )
        copied += place.nbytes
        if mapped is not None and copied > RELEASE_EVERY:
            copied = 0
            mapped.release()
    return network.eval()


def _shell(make: Callable[[], nn.Module]) -> dict[str, torch.Size]:
    """Names and shapes of the tensors that a network would have."""
    with torch.device("meta"), _Uninitialised():
        return {name: place.shape for name, place in make().state_dict().items()}


def _sides(shape: torch.Size) -> list[int]:
    return [length for length in shape if length != 1]


def _arbitrary_noise(name: str, place: Tensor) -> Tensor:
    # Some public files leave the buffers out. They are arbitrary, but must not differ from load to load.
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return torch.randn(place.shape, generator=torch.Generator().manual_seed(seed))

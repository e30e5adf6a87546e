"""Where in a file a network lies: under one of the usual entries, in the file itself, or a level or two deeper; and
under which prefix. People wrap state dicts in many ways, and the names inside tell what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from .allowed_names import NumpyArray

DEPTH = 2
"""How far below the usual entries is looked."""
AVERAGED = ("ema", "smooth", "average", "trainable")
"""Words in the name of the network that makes the pictures: the averaged one, or the one that was fine-tuned."""
OTHERS = ("frozen", "source", "teacher", "optim", "disc")
"""Words in the names of those beside it, or of what is no network."""
WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")
MEANS = ("latent_avg", "mean_latent", "w_avg", "mean_w", "w_mean", "dlatent_avg", "truncation_latent")


def mappings(data: Any, entries: tuple[str, ...], depth: int = DEPTH) -> Iterator[Mapping[Any, Any]]:
    """The mappings that may be a state dict, likeliest first: the entries in their order, the file itself, the rest.

    Each is given once, however often a file refers to it: else a small one could be walked through for minutes.
    """
    seen: set[int] = set()
    for mapping in _walk(data, entries, depth):
        if id(mapping) not in seen:
            seen.add(id(mapping))
            yield mapping


def _walk(data: Any, entries: tuple[str, ...], depth: int) -> Iterator[Mapping[Any, Any]]:
    if isinstance(data, list | tuple):
        # In the order in which somebody saved several networks.
        for item in data if depth else ():
            yield from _walk(item, entries, depth - 1)
    if not isinstance(data, Mapping):
        return
    names = [name for name in data if isinstance(data[name], Mapping | list | tuple)]
    # By whether it is averaged, then the usual entries in their order, then by name.
    order = {entry: place for place, entry in enumerate(entries)}
    names.sort(key=lambda name: (rank(str(name)), order.get(name, len(order)), str(name)))
    likely = [data[name] for name in names if name in order or rank(str(name)) == 0]
    yield from (mapping for mapping in likely if isinstance(mapping, Mapping))
    yield data
    if depth:
        known: set[int] = set()
        for name in names:
            if id(data[name]) not in known:
                known.add(id(data[name]))
                yield from _walk(data[name], entries, depth - 1)


def rank(name: str) -> int:
    """0 for the name of an averaged or fine-tuned network, 2 for that of what stands beside it, 1 for any other."""
    lower = name.lower()
    if any(word in lower for word in OTHERS):
        return 2
    return 0 if any(word in lower for word in AVERAGED) else 1


def tensors_of(mapping: Any) -> dict[str, Tensor]:
    """The tensors and arrays of a mapping by name, without what DataParallel and torch.compile put into names."""
    if not isinstance(mapping, Mapping):
        return {}
    return {
        WRAPPERS.sub("", str(name)): tensor
        for name, value in mapping.items()
        if (tensor := as_tensor(value)) is not None
    }


def find_state(data: Any, marks: tuple[str, ...], entries: tuple[str, ...]) -> dict[str, Tensor] | None:
    """The first state dict that has all `marks` behind one prefix, which is cut off; None where there is none."""
    for mapping in mappings(data, entries):
        state = tensors_of(mapping)
        prefixes = {
            name.removesuffix(marks[0])
            for name in state
            if name.endswith(marks[0]) and (name == marks[0] or name.endswith(f".{marks[0]}"))
        }
        whole = [prefix for prefix in prefixes if all(prefix + mark in state for mark in marks)]
        if whole:
            prefix = min(whole, key=lambda prefix: (rank(prefix), len(prefix), prefix))
            return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return None


def extra_options(data: Any, kind: str) -> Mapping[Any, Any]:
    """What our own exports say of the generator ("G") or the discriminator ("D") that its state dict cannot."""
    both = data.get("init_kwargs") if isinstance(data, Mapping) else None
    options = both.get(kind) if isinstance(both, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def find_mean(data: Any, beside: Mapping[str, Tensor] | None = None) -> Tensor | None:
    """The mean latent that a file has, of whatever shape: in itself, among the network's tensors, or a level deeper."""
    places = mappings(data, (), 1)
    for place in (next(places, {}), beside or {}, *places):
        for name in MEANS:
            value = as_tensor(place.get(name))
            if value is not None and value.numel():
                return value
    return None


def as_tensor(value: Any) -> Tensor | None:
    """A tensor, or an array or a list of numbers (nested or not) as one; None for anything else."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, NumpyArray):
        return value.tensor
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    if isinstance(value, list) and isinstance(first, (int, float)):
        with suppress(ValueError, TypeError, RuntimeError, OverflowError):
            return torch.tensor(value, dtype=torch.float32)
    return None


def plain_text(value: Any) -> str:
    """A short text for a value of a file; a nested one is named by its kind, since writing it out might never end."""
    if value is None or isinstance(value, (bool, float)):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 1 << 200 else "a huge number"
    if isinstance(value, str):
        return value if len(value) <= 200 else value[:200] + "..."
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

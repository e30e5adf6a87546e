"""What a run is of: its settings, and fingerprints of everything else that its losses depend on.

A run is resumed only with the same (`loop.train` compares and names what differs), and nodes name its folder by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...core.settings import to_mapping
from ...models.types import FaceGenerator

FREE_TO_CHANGE = ("preview_interval", "snapshot_interval")
"""Settings that decide nothing about the result."""


def settings_of(config: Any, but: Iterable[str] = FREE_TO_CHANGE) -> dict[str, Any]:
    """The settings of a training as plain values, without those that may change while a run lasts."""
    return {name: value for name, value in to_mapping(config).items() if name not in but}


def fingerprint(*parts: Any) -> str:
    """A short hash of tensors, networks, plain values and of lists of them: other bits, another hash."""
    total = hashlib.sha256()
    _take(total, parts)
    return total.hexdigest()[:16]


def generator_fingerprint(generator: FaceGenerator, discriminator: bool = True) -> str:
    """Of all weights of a generator, its mean latent and, where that learns or judges, its discriminator."""
    return fingerprint(generator.generator, generator.discriminator if discriminator else None)


def _take(total: Any, part: Any) -> None:
    if isinstance(part, Tensor):
        total.update(f"{part.dtype} {list(part.shape)}".encode())
        total.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(part, nn.Module):
        _take(total, [getattr(part, "config", None), part.state_dict()])
    elif isinstance(part, Mapping):
        _take(total, [[str(name), value] for name, value in part.items()])
    elif isinstance(part, list | tuple):
        total.update(f"{len(part)}:".encode())
        for one in part:
            _take(total, one)
    else:
        total.update(f"{part!r};".encode())

"""Rendered faces on disk: shards of pictures and label maps, remade from their seed alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...procedural import Renderer, parameters_from_z, sample_z

SHARD_SIZE = 2000
HELD_OUT_SEED = 1000
"""The shard nothing is trained on."""


def shard_z(seed: int, count: int = SHARD_SIZE) -> Tensor:
    """`[count, Z_DIM]`: the people of a shard."""
    return sample_z(count, torch.Generator().manual_seed(seed))


def _save(path: Path, array: np.ndarray) -> None:
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as stream:
        np.save(stream, array)
    os.replace(temporary, path)


def render_shard(
    folder: Path,
    seed: int,
    size: int,
    count: int = SHARD_SIZE,
    renderer: Renderer | None = None,
) -> None:
    """Writes `photo-<size>-<seed>-{images,labels}.npy` (uint8 `[count, S, S, 3]` and `[count, S, S]`) unless there."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"photo-{size}-{seed:05d}"
    if (folder / f"{stem}-labels.npy").exists():
        return
    renderer = renderer or Renderer()
    z = shard_z(seed, SHARD_SIZE)[:count]
    images, labels = [], []
    for start in range(0, count, 40):
        part = renderer.render(parameters_from_z(z[start : start + 40]), size, "photo", fast=True)
        images.append(((part.image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())
        labels.append(part.labels.numpy())
    _save(folder / f"{stem}-images.npy", np.concatenate(images))
    _save(folder / f"{stem}-labels.npy", np.concatenate(labels))  # last: its presence says the shard is whole


@dataclass(frozen=True, eq=False)
class FaceData:
    """Rendered faces in memory.

    Attributes:
        images: uint8 `[N, 3, S, S]`.
        labels: uint8 `[N, S, S]`.
        z: `[N, Z_DIM]` the people they show.
        seeds: the shards they came from.
    """

    images: Tensor
    labels: Tensor
    z: Tensor
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.images)


def available_seeds(folder: Path, size: int) -> list[int]:
    """Seeds of the whole shards in `folder`, held-out one left out."""
    seeds = sorted(int(p.name.split("-")[-2]) for p in folder.glob(f"photo-{size}-*-labels.npy"))
    return [seed for seed in seeds if seed != HELD_OUT_SEED]


def load_shards(folder: Path, size: int, seeds: list[int], render_size: int = 128) -> FaceData:
    """Shards rendered at `render_size`, averaged down to `size`.

    Raises:
        FileNotFoundError: a shard is not there.
    """
    images, labels, z = [], [], []
    factor = render_size // size
    for seed in seeds:
        stem = f"photo-{render_size}-{seed:05d}"
        pictures = torch.from_numpy(np.load(folder / f"{stem}-images.npy")).permute(0, 3, 1, 2)
        maps = torch.from_numpy(np.load(folder / f"{stem}-labels.npy"))
        if factor > 1:
            parts = [
                torch.nn.functional.avg_pool2d(chunk.float(), factor).round().to(torch.uint8)
                for chunk in pictures.split(200)
            ]
            pictures, maps = torch.cat(parts), maps[:, factor // 2 :: factor, factor // 2 :: factor]
        images.append(pictures.contiguous())
        labels.append(maps.contiguous())
        z.append(shard_z(seed)[: len(pictures)])
    return FaceData(torch.cat(images), torch.cat(labels), torch.cat(z), tuple(seeds))

"""Several processes that train one model: who does which part of a batch, and how their numbers become one.

Devices, launching and communication are Lightning Fabric's (`pip install lightning-fabric`); one process needs none.
Every process draws the same random numbers for the whole batch and works on its own share, so the course of a training,
and the state it saves, do not depend on how many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Processes:
    """One process alone: the base of `FabricProcesses`, and what every training uses unless told otherwise."""

    rank = 0
    """Number of this process; 0 writes the files and talks to people."""
    count = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each tensor over all processes, in one exchange; the same bits everywhere."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """`[n, ...]` of every process as `[count * n, ...]`, in the order of the ranks."""
        return tensor

    def broadcast(self, value: Any) -> Any:
        """What process 0 has, everywhere. The others' `value` is ignored."""
        return value


ALONE = Processes()


class FabricProcesses(Processes):
    """The processes of a launched Lightning Fabric."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank: int = fabric.global_rank
        self.count: int = fabric.world_size

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        device: torch.device = self._fabric.device
        return device

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        if not tensors:
            return []
        flat = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
        flat = self._fabric.all_reduce(flat, reduce_op="mean")
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]

    def gather(self, tensor: Tensor) -> Tensor:
        gathered: Tensor = self._fabric.all_gather(tensor.detach())
        return gathered.flatten(0, 1)

    def broadcast(self, value: Any) -> Any:
        return self._fabric.broadcast(value, src=0)


def share_of(batch: Tensor, index: int, shares: int) -> Tensor:
    """Every `shares`-th row from `index` on.

    Strided, because the discriminator puts picture i into group i % (N / group) of its minibatch standard deviation: so
    each share holds whole groups wherever its size is a multiple of the group.
    """
    return batch if shares == 1 else batch[index::shares]


def launch(device: str = "auto") -> Processes:
    """The processes that this one was started among, by torchrun or a cluster's launcher; one alone without them.

    device  `auto`, `cpu`, `cuda` or `mps`: what kind each process computes on.
    Raises RuntimeError with a sentence when there are several and Lightning Fabric is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return ALONE
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise RuntimeError(
            f"{os.environ['WORLD_SIZE']} processes were started, and training with several needs Lightning Fabric: "
            "pip install lightning-fabric. Without it, start one process."
        ) from error
    fabric = Fabric(
        accelerator=device.split(":")[0],
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        strategy="ddp",
    )
    fabric.launch()
    return FabricProcesses(fabric)


def check_batch(batch_size: int, shares: int, what: str) -> None:
    """Raises ValueError with a sentence when a batch cannot be divided evenly."""
    if batch_size % shares:
        raise ValueError(
            f"`batch_size` is {batch_size}, which cannot be divided evenly over {what}. It counts the pictures of all "
            f"of them together: choose a multiple of {shares}."
        )

"""Several processes that train one model: who does which part of a batch, and how their numbers become one.

Devices, launching and communication are Lightning Fabric's (`pip install lightning-fabric`); one process needs none.
Every process draws the same random numbers for the whole batch and works on its own shard, so the course of a training,
and the state it saves, do not depend on how many processes there are. Numbers and gradients are averaged before
anything is decided or changed, so all processes keep the same weights, bit for bit.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import Tensor

Batch = TypeVar("Batch")
"""A dataclass of tensors `[N, ...]` with a row for each picture, and of what all pictures share."""


class Processes:
    """One process alone: the base of `FabricProcesses`, and what every training uses unless told otherwise."""

    rank = 0
    """Number of this process; 0 writes the files and talks to people."""
    count = 1
    device: torch.device | None = None
    """Where this process computes, where the launcher decided it."""

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each tensor over all processes, in one exchange; the same bits everywhere."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """`[n, ...]` of every process as `[count * n, ...]`, in the order of the ranks."""
        return tensor

    def broadcast(self, value: Any) -> Any:
        """What process 0 has, everywhere. The others' `value` is ignored."""
        return value

    def once(self, make: Callable[[], Any]) -> Any:
        """What process 0 makes, everywhere."""
        return self.broadcast(make() if self.is_main else None)

    def unshard(self, part: Tensor) -> Tensor:
        """The batch again, in its own order, of which every process has computed its `shard`."""
        if self.count == 1:
            return part
        return rearrange(self.gather(part), "(rank row) ... -> (row rank) ...", rank=self.count)

    def reduce_losses(self, terms: Mapping[str, Tensor], names: Sequence[str] = ()) -> dict[str, Tensor]:
        """Each term's mean over all its entries in all processes, in one exchange.

        terms  one number each, or one for every picture of the shard that the term applies to.
        names  of all terms there may be, where one that applies to no picture of a shard is missing there; else all
               processes have the same. What none has is left out.
        """
        if self.count == 1:
            return {name: term.mean() for name, term in terms.items()}
        names = names or list(terms)
        nothing = next(iter(terms.values())).new_zeros(0) if terms else torch.zeros(0)
        entries = [terms.get(name, nothing).detach().float() for name in names]
        sums = torch.stack([entry.sum() for entry in entries])
        counts = sums.new_tensor([entry.numel() for entry in entries])
        sums, counts = self.all_reduce_mean([sums, counts])
        return {name: sums[i] / counts[i] for i, name in enumerate(names) if counts[i] > 0}

    def mean_of_gradients(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """`all_reduce_mean` of those that are there, in all processes the same."""
        means = iter(self.all_reduce_mean([gradient for gradient in gradients if gradient is not None]))
        return [None if gradient is None else next(means) for gradient in gradients]

    @contextmanager
    def main_process_first(self) -> Iterator[None]:
        """Process 0 runs the block before the others: what it keeps on disk, they find there."""
        if not self.is_main:
            self.broadcast(None)
        yield
        if self.is_main:
            self.broadcast(None)


SINGLE_PROCESS = Processes()


class FabricProcesses(Processes):
    """The processes of a launched Lightning Fabric."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank: int = fabric.global_rank
        self.count: int = fabric.world_size
        self.device: torch.device = fabric.device

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
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


def shard_rows(batch: Tensor, index: int, shards: int) -> Tensor:
    """Every `shards`-th row from `index` on.

    Strided, because the discriminator puts picture i into group i % (N / group) of its minibatch standard deviation: so
    each shard holds whole groups wherever its size is a multiple of the group.
    """
    return batch if shards == 1 else batch[index::shards]


def shard_batch(batch: Batch, index: int, shards: int) -> Batch:
    """A dataclass with this shard of every tensor in it, the rest as it is."""
    if shards == 1:
        return batch
    values = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}  # type: ignore[arg-type]
    parts = {name: shard_rows(v, index, shards) if isinstance(v, Tensor) else v for name, v in values.items()}
    return type(batch)(**parts)


def round_robin_batches(make: Callable[[int], Batch], processes: Processes) -> Callable[[int], Batch]:
    """Batch number n (from 1) of `make`, a dataclass of tensors: this process's shard of it.

    Where a batch can only be drawn as a whole, and drawing is the work, each process draws every `count`-th batch and
    they exchange them. All ask for the same numbers.
    """
    if processes.count == 1:
        return make
    shards: dict[int, Batch] = {}

    def shard(number: int) -> Batch:
        if number not in shards:
            first = number - (number - 1) % processes.count
            own = make(first + processes.rank)
            names = [field.name for field in dataclasses.fields(own)]  # type: ignore[arg-type]
            every = {name: processes.gather(getattr(own, name)).chunk(processes.count) for name in names}
            shards.clear()
            for turn in range(processes.count):
                whole = type(own)(**{name: batches[turn] for name, batches in every.items()})
                shards[first + turn] = shard_batch(whole, processes.rank, processes.count)
        return shards[number]

    return shard


def launch(device: str = "auto") -> Processes:
    """The processes that this one was started among, by torchrun or a cluster's launcher; one alone without them.

    device  `auto`, `cpu`, `cuda` or `mps`: what kind each process computes on.
    Raises RuntimeError with a sentence when there are several and Lightning Fabric is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return SINGLE_PROCESS
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


def check_batch(batch_size: int, shards: int, what: str, name: str = "batch_size") -> None:
    """Raises ValueError with a sentence when a batch cannot be divided evenly."""
    if batch_size % shards:
        raise ValueError(
            f"`{name}` is {batch_size}, which cannot be divided evenly over {what}. It counts the pictures of all "
            f"of them together: choose a multiple of {shards}."
        )

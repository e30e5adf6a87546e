"""One step of a training, as the loop hands it to a task: its number, this process's shard, and what is applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from .distributed import SINGLE_PROCESS, Processes, shard_rows


class NonFiniteLoss(ArithmeticError):
    """A step came out as NaN or infinite and was not applied; `term` says where."""

    def __init__(self, term: str) -> None:
        super().__init__(f"The term `{term}` is not a finite number.")
        self.term = term


def require_finite(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """The terms as numbers; `NonFiniteLoss` names the first that is not finite. One synchronisation."""
    if not terms:
        return {}
    values = torch.stack([term.detach().float().reshape(()) for term in terms.values()]).tolist()
    numbers = dict(zip(terms, values, strict=True))
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise NonFiniteLoss(name)
    return numbers


def laid_out_like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the parameter's memory format; itself where it has it.

    Fused Adam on the CPU walks both by their place in memory, and a matrix view of a weight has its columns in the
    order of the memory, while convolutions give gradients with channels last. `backward` sees to this;
    `autograd.grad` does not.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


@dataclass(frozen=True, eq=False)
class Update:
    """One step of an optimiser, or of several that share the work."""

    name: str
    """Of what is trained: a `gradient of the NAME` that is not finite is named so."""
    optimiser: Any
    """One or a tuple: PyTorch's, or `MuonAndAdam`."""
    parameters: Sequence[Tensor]
    source: Tensor | Sequence[Tensor | None]
    """The loss, or a gradient for each parameter, None where it has none."""
    lr: float | None = None
    """Learning rate of every group, times the group's `lr_factor` where it has one. None leaves it as it is."""
    clip: float | None = None
    """The largest norm of the gradient."""

    def gradients(self) -> list[Tensor | None]:
        """One for each parameter."""
        if isinstance(self.source, Tensor):
            return list(torch.autograd.grad(self.source, self.parameters, allow_unused=True))
        return list(self.source)

    def laid_out(self, gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients in the memory format of their parameters."""
        pairs = zip(gradients, self.parameters, strict=True)
        return [None if g is None else laid_out_like(g, p.detach()) for g, p in pairs]

    def apply(self, gradients: Sequence[Tensor | None], norm: Tensor) -> None:
        """Moves the parameters by gradients, of which `norm` is the total norm."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip is not None:
            clip_grads_with_norm_(self.parameters, self.clip, norm)
        for optimiser in self.optimiser if isinstance(self.optimiser, tuple) else (self.optimiser,):
            if self.lr is not None:
                for group in optimiser.param_groups:
                    group["lr"] = self.lr * group.get("lr_factor", 1.0)
            optimiser.step()
        for parameter in self.parameters:
            parameter.grad = None


@dataclass(frozen=True)
class Step:
    """What a task is told of a step."""

    number: int
    """Counted from 1."""
    total: int
    """How many there will be."""
    processes: Processes = SINGLE_PROCESS
    columns: tuple[str, ...] = ()
    """All terms that any process may report."""

    @property
    def shards(self) -> int:
        """Into how many a batch is divided, one for each process."""
        return self.processes.count

    @property
    def rank(self) -> int:
        """Which of the shards is this process's."""
        return self.processes.rank

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each tensor over all processes."""
        return self.processes.all_reduce_mean(tensors)

    def once(self, make: Callable[[], Any]) -> Any:
        """What one process makes, in all."""
        return self.processes.once(make)

    def gather(self, part: Tensor) -> Tensor:
        """`[n, ...]` of every process as `[shards * n, ...]`."""
        return self.processes.gather(part)

    def shard(self, batch: Tensor, after: int = 0) -> Tensor:
        """This process's rows of a batch, or of the part of one that stands after so many rows."""
        return shard_rows(batch, (self.processes.rank - after) % self.shards, self.shards)

    def unshard(self, part: Tensor) -> Tensor:
        """The batch again, in its own order, of which every process has computed its shard."""
        return self.processes.unshard(part)

    def apply(self, terms: Mapping[str, Tensor], *updates: Update) -> dict[str, float]:
        """Makes all updates, in order, or none of them; the terms as numbers, their means over all processes.

        Raises NonFiniteLoss, in every process alike, before anything has changed.
        """
        # Averaged, so that every process sees the same numbers and comes to the same decision.
        gradients = [update.laid_out(self.processes.mean_of_gradients(update.gradients())) for update in updates]
        norms = {
            f"gradient of the {update.name}": get_total_norm([g for g in found if g is not None])
            for update, found in zip(updates, gradients, strict=True)
        }
        names = (*self.columns, *(name for name in terms if name not in self.columns))
        means = self.processes.reduce_losses(terms, names)
        numbers = require_finite(means | norms)
        for update, found, norm in zip(updates, gradients, norms.values(), strict=True):
            update.apply(found, norm)
        return {name: numbers[name] for name in means}

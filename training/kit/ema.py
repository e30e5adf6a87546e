"""Running average of a network's weights, with a warm-up so that a run of a few hundred steps is averaged too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ExponentialMovingAverage:
    """Keeps `average` near the running mean of `live`, two modules of the same structure.

    The decay of update n is `min(decay, (1 + n) / (10 + n))`: the average spans about the last ninth of a short run
    and becomes the plain one of half-life ln 2 / (1 - decay) once the run is long enough.
    Parameters that require no gradient in `live` (a frozen mapping) are left alone; buffers are copied.
    """

    def __init__(self, live: nn.Module, average: nn.Module, decay: float) -> None:
        moving = [(a, b) for a, b in zip(average.parameters(), live.parameters(), strict=True) if b.requires_grad]
        self._network = average
        self._average: list[Tensor] = [a for a, _ in moving]
        self._live: list[Tensor] = [b for _, b in moving]
        self._buffers = list(zip(average.buffers(), live.buffers(), strict=True))
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average one step towards the live weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(self._average, self._live, 1.0 - decay)
        for target, source in self._buffers:
            target.copy_(source)

    def state_dict(self) -> dict[str, Any]:
        """The average's weights and how often it has moved."""
        return {"network": self._network.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self._network.load_state_dict(state["network"])
        self.updates = state["updates"]

"""How the outside follows and stops something long."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Callbacks:
    """How the outside follows and stops a training; every one is optional and may raise to interrupt it."""

    on_progress: Callable[[int, int, dict[str, float]], None] | None = None
    """`(step, total, losses)` after each step, step counted from 1."""
    on_preview: Callable[[int, Tensor], None] | None = None
    """`(step, picture [3, H, W] in 0..1)`."""
    should_stop: Callable[[], bool] | None = None
    """Asked after each step; true ends the training in good order, with its result."""

    def after(self, step: int, total: int, losses: Mapping[str, float] | None = None) -> bool:
        """Tells that a step is done, and asks whether it was the last."""
        if self.on_progress is not None:
            self.on_progress(step, total, dict(losses or {}))
        return self.should_stop is not None and self.should_stop()


def batched(count: int, size: int, callbacks: Callbacks | None = None) -> Iterator[slice]:
    """Works through `count` items, `size` at a time: yields their rows, and after each part tells how many are done.

    Where the outside then asks for an end, the rest is left out.
    """
    for first in range(0, count, size):
        rows = slice(first, min(first + size, count))
        yield rows
        if callbacks is not None and callbacks.after(rows.stop, count):
            return

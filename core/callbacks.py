"""How the outside follows and stops something long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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

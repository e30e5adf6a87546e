"""How a learning rate changes over a training: a linear rise, a plateau and a cosine fall."""

from __future__ import annotations

import math


def warm_up_cosine(
    number: float, total: float, warm_up: float, hold: float = 0.0, floor: float = 0.0, start: float = 0.0
) -> float:
    """Multiplier of the learning rate at update `number` of `total`.

    Args:
        number, total: beyond `total` it stays as it is there.
        warm_up: updates in which it rises to 1.
        hold, floor: see `cosine_fall`.
        start: what the rise begins with.
    """
    return min(number / warm_up + start, 1.0) * cosine_fall(number / total, hold, floor)


def cosine_fall(progress: float, hold: float = 0.0, floor: float = 0.0) -> float:
    """1 up to the share `hold` of a run (`progress` 0..1), then a half cosine down to `floor`."""
    fallen = min(max(progress - hold, 0.0) / (1.0 - hold), 1.0)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * fallen))

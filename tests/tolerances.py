"""How far numbers may be apart that would be equal without rounding."""

from __future__ import annotations

import torch


def rounding(operations: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """The largest difference of two computations of the same number, of about `size`, after so many roundings in a row.

    Each is off by half a unit in the last place at most, `eps / 2 * size`, in both computations. A sum counts as many
    as it has terms (in whatever order it is taken), a network as many as its longest sums together.
    """
    return operations * torch.finfo(dtype).eps * size

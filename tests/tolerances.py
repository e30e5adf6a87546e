"""How far numbers may be apart that would be equal without rounding."""

from __future__ import annotations

import math
from typing import Any

import torch

GREY_LEVEL = 1 / 255
"""From one value of a picture of 8 bits to the next, in 0..1. What is rounded to the nearest is off by half of it."""


def rounding(operations: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """The largest difference of two computations of the same number, of about `size`, after so many roundings in a row.

    Each is off by half a unit in the last place at most, `eps / 2 * size`, in both computations. A sum counts as many
    as it has terms (in whatever order it is taken), a network as many as its longest sums together.
    """
    return operations * torch.finfo(dtype).eps * size


def roundings(network: torch.nn.Module) -> int:
    """In a row, from the input of a network to its output: the terms of each layer's sums, and one for every bias."""
    return sum(math.prod(parameter.shape[1:]) for parameter in network.parameters())


def layers(network: torch.nn.Module) -> int:
    """Of a network, counted: a lower precision rounds the weights of each, or what each gives to the next."""
    return sum(parameter.dim() > 1 for parameter in network.parameters())


def assert_same_errors(ours: Any, expected: torch.Tensor, network: torch.nn.Module) -> None:
    """Mean squared errors of pictures in -1..1 that a network drew twice: off by twice their root times a pixel's."""
    __tracebackhide__ = True
    assert_close(ours, expected, roundings(network), 2 * float(expected.max()) ** 0.5)


def assert_close(ours: Any, expected: Any, operations: int, size: float | None = None, why: str = "") -> None:
    """Equal but for so many roundings in a row of numbers as large as `size`, the largest that is expected by default.

    Tensors, arrays or lists of one shape; the less precise of two dtypes decides.
    """
    __tracebackhide__ = True
    ours, expected = (torch.as_tensor(values).detach() for values in (ours, expected))
    dtype = max((x.dtype for x in (ours, expected) if x.is_floating_point()), key=lambda kind: torch.finfo(kind).eps)
    allowed = rounding(operations, float(expected.abs().max()) if size is None else size, dtype)
    torch.testing.assert_close(
        ours, expected, rtol=0, atol=allowed, check_dtype=False, msg=lambda found: f"{found}\n{why}"
    )

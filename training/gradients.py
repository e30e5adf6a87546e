"""Gradients that are handed to an optimiser by hand, and not by `backward`."""

from __future__ import annotations

import torch
from torch import Tensor


def laid_out_like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the parameter's memory format; itself where it has it.

    Fused Adam on the CPU walks both by their place in memory, and a matrix view of a weight has its columns in the
    order of the memory, while convolutions give gradients with channels last. `backward` sees to this;
    `autograd.grad` does not.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)

"""Adam as StyleGAN2 uses it, and gradients that are handed to an optimiser by hand and not by `backward`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def laid_out_like(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient in the parameter's memory format; itself where it has it.

    Fused Adam on the CPU walks both by their place in memory, and a matrix view of a weight has its columns in the
    order of the memory, while convolutions give gradients with channels last. `backward` sees to this;
    `autograd.grad` does not.
    """
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def lazy_adam(parameters: list[nn.Parameter], rate: float, interval: int, lazy: bool) -> torch.optim.Adam:
    """Adam with betas (0, 0.99), corrected for an extra regularisation update every `interval` steps (StyleGAN2, B)."""
    ratio = interval / (interval + 1) if lazy else 1.0
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=rate * ratio, betas=(0.0, 0.99**ratio), eps=1e-8, fused=fused)


def apply_gradients(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], gradients: Iterable[Tensor] | None
) -> None:
    """One update of `parameters` with these gradients; none without any."""
    if gradients is None:
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = laid_out_like(gradient, parameter)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)

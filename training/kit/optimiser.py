"""Adam as StyleGAN2 uses it; and Muon for the weights that are matrices, Adam for everything else, as one optimiser.

A regression of pictures on face parameters goes through long, narrow valleys, where Adam crawls. Muon (Jordan et al.
2024) makes every direction of a weight matrix move equally far. PyTorch's takes plain matrices; convolution weights are
handed to it as views `[out, in * k * k]` of the same memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST_SIDE, LARGEST_SIDE = 16, 4096
"""A weight with fewer rows or columns than the first (a projection to RGB, a bias) has no spectrum worth balancing; one
with more than the second (the readout of whole maps) costs too much to balance."""


def lazy_adam(parameters: list[nn.Parameter], rate: float, interval: int, lazy: bool) -> torch.optim.Adam:
    """Adam with betas (0, 0.99), corrected for an extra regularisation update every `interval` steps (StyleGAN2, B)."""
    ratio = interval / (interval + 1) if lazy else 1.0
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=rate * ratio, betas=(0.0, 0.99**ratio), eps=1e-8, fused=fused)


def as_matrix(weight: Tensor) -> Tensor:
    """`[out, in, k, k]` as a view `[out, in * k * k]`, columns in the order of the memory; matrices as they are."""
    if weight.ndim == 4 and not weight.is_contiguous():
        weight = weight.permute(0, 2, 3, 1)  # channels last
    return weight.flatten(1)


class MuonAndAdam:
    """One optimiser made of `torch.optim.Muon` and a fused `torch.optim.Adam`.

    Args:
        parameters: what to train; those that need no gradient are left out. The learning rate is 1 until set in all
            `param_groups`.
        betas: Adam's.
        momentum: Muon's.

    Raises:
        RuntimeError: this PyTorch has no Muon.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.98), momentum: float = 0.95
    ) -> None:
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for parameter in parameters:
            if not parameter.requires_grad:
                continue
            sides = as_matrix(parameter.detach()).shape if parameter.ndim in (2, 4) else (0,)
            balanced = min(sides) >= SMALLEST_SIDE and max(sides) <= LARGEST_SIDE
            (matrices if balanced else rest).append(parameter)
        self.matrices = matrices
        self.parameters = matrices + rest
        self.views = [nn.Parameter(as_matrix(parameter.detach())) for parameter in matrices]
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            if not hasattr(torch.optim, "Muon"):
                raise RuntimeError(
                    f"This training needs torch.optim.Muon, which PyTorch {torch.__version__} does not have. Install "
                    "PyTorch 2.9 or newer."
                )
            self.optimisers["muon"] = torch.optim.Muon(
                self.views, lr=1.0, weight_decay=0.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"
            )
        if rest:
            self.optimisers["adam"] = torch.optim.Adam(rest, lr=1.0, betas=betas, fused=True)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of both."""
        return [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]

    def step(self) -> None:
        """One update with the gradients that lie in the parameters, laid out in memory as these are."""
        for view, parameter in zip(self.views, self.matrices, strict=True):
            view.grad = None if parameter.grad is None else as_matrix(parameter.grad)
        for optimiser in self.optimisers.values():
            optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Momenta of both."""
        return {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])

"""Floating point operations of our networks, from their configurations: what the published definition needs.

A multiplication with its addition counts two. Convolutions and matrices are counted, a transposed convolution at the
resolution it reads; FIR filters, biases, activations and upsampled pictures are not. So the count stays the same
however the network is computed. Every count is for one face.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ...models.discriminator import DiscriminatorConfig
from ...models.generator import GeneratorConfig, resolutions_up_to
from ...training.losses.semantic import HIGHEST_RESOLUTION

TRAINED = 3
"""A forward and a backward pass, in forward passes: gradients of what comes in, and of the weights."""


def mapping_flops(config: GeneratorConfig) -> int:
    """`z -> w`."""
    widths = [config.z_dim + (config.w_dim if config.c_dim else 0)] + [config.w_dim] * config.mapping_layers
    return 2 * (config.c_dim * config.w_dim + sum(a * b for a, b in zip(widths, widths[1:], strict=False)))


def synthesis_flops(config: GeneratorConfig, up_to: int | None = None) -> int:
    """`w_plus -> image`; the features alone, without RGB, of a network that ends at `up_to` px."""
    total, before, code = 0, None, config.w_dim
    for width, side in zip(config.channels, config.resolutions, strict=True):
        if side > (up_to or config.resolution):
            break
        if before is not None:
            half = side // 2
            total += _conv(3, before, width, half) + code * before * 2 + before * width * 2
            if config.architecture == "resnet":
                total += _conv(1, before, width, half)
        total += _conv(3, width, width, side) + code * width * 2 + width * width * 2
        if up_to is None and (config.architecture == "skip" or side == config.resolution):
            total += _conv(1, width, 3, side) + code * width * 2
        before = width
    return total


def generator_flops(config: GeneratorConfig) -> int:
    """`z -> image`."""
    return mapping_flops(config) + synthesis_flops(config)


def discriminator_flops(config: DiscriminatorConfig) -> int:
    """`image -> logit`."""
    sides, widths = resolutions_up_to(config.resolution)[::-1], config.channels[::-1]
    total = _conv(1, 3, widths[0], sides[0])
    for wide, narrow, side in zip(widths, widths[1:], sides, strict=False):
        half = side // 2
        total += _conv(3, wide, wide, side) + _conv(3, wide, narrow, half) + _conv(1, wide, narrow, half)
    last = widths[-1]
    total += _conv(3, last + 1, last, 4) + 2 * 16 * last * last + 2 * last * (last if config.c_dim else 1)
    return total + (2 * (config.c_dim + 8 * last) * last if config.c_dim else 0)


def stage_1_flops(generator: GeneratorConfig, discriminator: DiscriminatorConfig) -> int:
    """A step of stage 1: G trained; D sees a fake and a real, gives G its gradient, and is trained on both."""
    head = synthesis_flops(generator, min(HIGHEST_RESOLUTION, generator.resolution))
    return TRAINED * synthesis_flops(generator) + head + (2 * TRAINED + 1) * discriminator_flops(discriminator)


def stage_2_flops(generator: GeneratorConfig, discriminator: DiscriminatorConfig, fresh: int, synthetic: int) -> int:
    """A step of stage 2 in all: its share of stage 1's for every face, and the targets of synthetic pairs drawn.

    `fresh` faces besides as many pairs from codes as `synthetic`, and as many from pictures.
    """
    head = synthesis_flops(generator, min(HIGHEST_RESOLUTION, generator.resolution))
    learnt = stage_1_flops(generator, discriminator) - head
    return (2 * synthetic + fresh) * learnt + fresh * head + synthetic * synthesis_flops(generator)


def r1_flops(discriminator: DiscriminatorConfig) -> int:
    """The R1 penalty and its gradient: forward, the picture's gradient, and both differentiated for the weights."""
    return 6 * discriminator_flops(discriminator)


def search_flops(generator: GeneratorConfig, judges: int) -> int:
    """A step of the search for a latent: the picture, what `judges` cost for it, and the codes' gradient alone."""
    return 2 * (synthesis_flops(generator) + judges)


def tuning_flops(generator: GeneratorConfig, judges: int) -> int:
    """A step of pivotal tuning: G trained on the face, and on another that the untuned one draws, too (locality)."""
    return (2 * TRAINED + 1) * synthesis_flops(generator) + 5 * judges


def counted_flops(run: Callable[[], object]) -> int:
    """What PyTorch's formulas say of everything that runs, depthwise filters left out as above."""
    with _Counter() as counter:
        run()
    return counter.total


class _Counter(TorchDispatchMode):
    """PyTorch's own `FlopCounterMode` follows modules, too, which `torch.autograd.grad` of a leaf forbids."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None and not any(isinstance(a, Tensor) and a.shape[1:] == (1, 4, 4) for a in args):
            self.total += int(formula(*args, **(kwargs or {}), out_val=out))
        return out


def _conv(kernel: int, before: int, after: int, side: int) -> int:
    return 2 * kernel * kernel * before * after * side * side

"""Which parts of the two networks a fine-tuning leaves as they were."""

from __future__ import annotations

import copy
import dataclasses

from torch import nn

from ...models.discriminator import Discriminator
from ...models.generator import SynthesisNetwork, resolutions_up_to
from ...models.ops import ToRGB
from .settings import AUTOMATIC


def shallow_synthesis(synthesis: SynthesisNetwork, resolution: int) -> SynthesisNetwork:
    """A frozen copy of a synthesis network that stops at `resolution`, with features equal to the whole one's."""
    kept = [r for r in synthesis.config.resolutions if r <= resolution]
    config = dataclasses.replace(synthesis.config, resolution=kept[-1], channels=synthesis.config.channels[: len(kept)])
    head = copy.deepcopy(synthesis).requires_grad_(False).eval()
    head.blocks = head.blocks[: len(kept)]
    head.config, head.num_ws = config, config.num_ws
    return head


def frozen_discriminator_blocks(discriminator: Discriminator, blocks: int) -> list[nn.Module]:
    """What FreezeD (Mo et al., arXiv 2002.10964) keeps: from_rgb and the first `blocks` blocks, nearest the picture.

    `AUTOMATIC` keeps the blocks above 128 px: at 128 px the first three would be all that sees lines up close, and with
    them frozen the outlines of a drawn look came out weaker after 400 steps than after 120 with none frozen.
    """
    if blocks == AUTOMATIC:
        blocks = sum(r > 128 for r in resolutions_up_to(discriminator.config.resolution))
    return [discriminator.from_rgb, *list(discriminator.blocks)[:blocks]] if blocks else []


def frozen_generator_weights(synthesis: SynthesisNetwork, blocks: int, layers: str) -> list[nn.Parameter]:
    """What stays as it was: the lowest `blocks` blocks (FreezeG, Cartoon-StyleGAN), and what `layers` leaves out."""
    modulation = [module for name, module in synthesis.named_modules() if name.rpartition(".")[2] == "affine"]
    steering = {id(parameter) for module in modulation for parameter in module.parameters()}
    frozen = [parameter for block in list(synthesis.blocks)[:blocks] for parameter in block.parameters()]
    for parameter in synthesis.parameters():
        if layers != "all" and (id(parameter) in steering) == (layers == "convolutions"):
            frozen.append(parameter)
    return frozen


def to_rgb_layers(synthesis: SynthesisNetwork) -> list[ToRGB]:
    """The projections to RGB, from coarse to fine."""
    return [block.to_rgb for block in synthesis.each_block() if block.draws]

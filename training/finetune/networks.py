"""The networks of one fine-tuning: copies of the source's, and which of their weights learn."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.discriminator import Discriminator
from ...models.generator import Generator, SynthesisNetwork
from ...models.types import FaceGenerator
from ..kit.freezing import frozen_discriminator_blocks, frozen_generator_weights, shallow_synthesis, to_rgb_layers
from ..kit.precision import autocast
from ..losses.semantic import HIGHEST_RESOLUTION
from .palette import colour_map, recolour
from .settings import FinetuneConfig


@dataclass(frozen=True, eq=False)
class FinetuneNetworks:
    """What a fine-tuning works with; `source` is never changed."""

    source: FaceGenerator
    source_head: SynthesisNetwork
    """As much of the source's synthesis as the semantic constraint looks at."""
    target: Generator
    """G_t, which learns the style. Its mapping is the source's, frozen."""
    average: Generator
    """The running average of G_t, which is the result."""
    discriminator: Discriminator
    generator_parameters: list[nn.Parameter]
    """What of G_t learns."""
    discriminator_parameters: list[nn.Parameter]


def copy_networks(source: FaceGenerator, config: FinetuneConfig) -> FinetuneNetworks:
    """Copies to train, with everything frozen that the settings freeze.

    Copies, also because weights loaded under inference mode cannot be trained.
    """
    assert source.discriminator is not None  # noqa: S101 - check_source has been there
    target = copy.deepcopy(source.generator).requires_grad_(False).train()
    target.synthesis.requires_grad_(True)
    # The noise is fixed, so a strength that grew would print one pattern of grain into every picture.
    for convolution in target.synthesis.convolutions():
        convolution.noise_strength.requires_grad_(False)
    for frozen in frozen_generator_weights(target.synthesis, config.freeze_g_blocks, config.train_layers):
        frozen.requires_grad_(False)
    if config.freeze_palette:
        for to_rgb in to_rgb_layers(target.synthesis):
            to_rgb.weight.requires_grad_(False)
            to_rgb.bias.requires_grad_(False)
    discriminator = copy.deepcopy(source.discriminator).requires_grad_(True).train()
    for part in frozen_discriminator_blocks(discriminator, config.freeze_d_blocks):
        part.requires_grad_(False)
    target.synthesis.checkpointing = discriminator.checkpointing = config.checkpointing
    return FinetuneNetworks(
        source=source,
        source_head=shallow_synthesis(source.generator.synthesis, HIGHEST_RESOLUTION),
        target=target,
        average=copy.deepcopy(source.generator).requires_grad_(False).eval(),
        discriminator=discriminator,
        generator_parameters=[p for p in target.parameters() if p.requires_grad],
        discriminator_parameters=[p for p in discriminator.parameters() if p.requires_grad],
    )


@torch.no_grad()
def match_palette(networks: FinetuneNetworks, w_plus: Tensor, pictures: Tensor, precision: str) -> None:
    """Moves the colours of G_t to those of the style pictures; features, and with them L_sem, stay as they are.

    w_plus     `[N, num_ws, w_dim]` of the source's faces that are compared with
    pictures   `[M, 3, R, R]` in -1..1
    precision  see `precision.autocast`.
    """
    drawn = []
    for part in w_plus.split(4):
        with autocast(precision, w_plus.device):
            drawn.append(F.adaptive_avg_pool2d(networks.source.generator.synthesis(part).float().clamp(-1, 1), 64))
    matrix, offset = colour_map(torch.cat(drawn), F.adaptive_avg_pool2d(pictures, 64))
    for synthesis in (networks.target.synthesis, networks.average.synthesis):
        recolour(synthesis, matrix, offset)

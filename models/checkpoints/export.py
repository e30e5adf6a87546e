"""The way back: a generator as state dicts under the names and shapes of the public implementations.

Nothing is scaled, flipped or transposed: a file converted to ours and back has the same bits in every tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..discriminator import Discriminator
from ..generator import Generator
from ..ops import fir_kernel
from ..types import FaceGenerator
from . import nvidia, rosinality
from .contents import CheckpointError

LAYOUTS = ("rosinality", "nvidia")


def to_rosinality(source: FaceGenerator) -> dict[str, Any]:
    """`{"g_ema", "latent_avg", "d" where known}` as rosinality's stylegan2-pytorch stores them, kernels included.

    Raises:
        CheckpointError: its networks have no such form (conditional, another architecture).
    """
    config = source.generator.config
    _require(config.architecture == "skip", f"the {config.architecture} architecture")
    _require(not config.c_dim, "a conditional network")
    _require(config.mapping_lr_multiplier == 0.01, f"a mapping multiplier of {config.mapping_lr_multiplier}")
    ours = _tensors(source.generator)
    blocks = len(config.channels)
    state = {
        theirs: _rosinality_shape(theirs, ours[name])
        for name, theirs in rosinality.generator_names(blocks, config.mapping_layers)
    }
    for j in range(blocks - 1):
        state[f"convs.{2 * j}.conv.blur.kernel"] = fir_kernel(4.0)
        state[f"to_rgbs.{j}.upsample.kernel"] = fir_kernel(4.0)
    content: dict[str, Any] = {"g_ema": state, "latent_avg": source.mean_latent.detach().cpu().clone()}
    if source.discriminator is not None:
        content["d"] = discriminator_to_rosinality(source.discriminator)
    return content


def discriminator_to_rosinality(discriminator: Discriminator) -> dict[str, Tensor]:
    """The state dict of a discriminator, as under `d`.

    Raises:
        CheckpointError: it is conditional.
    """
    _require(not discriminator.config.c_dim, "a conditional network")
    ours, blocks = _tensors(discriminator), len(discriminator.config.channels) - 1
    state = {theirs: ours[name] for name, theirs in rosinality.discriminator_names(blocks)}
    for i in range(1, blocks + 1):
        state[f"convs.{i}.conv2.0.kernel"] = fir_kernel()
        state[f"convs.{i}.skip.0.kernel"] = fir_kernel()
    return state


def _rosinality_shape(name: str, tensor: Tensor) -> Tensor:
    if name.endswith("conv.weight") or name == "input.input":
        return tensor[None]
    if name.startswith("noises."):
        return tensor[None, None]
    if name.endswith("noise.weight"):
        return tensor.reshape(1)
    if name.startswith("to_rgb") and name.endswith(".bias") and "modulation" not in name:
        return tensor.reshape(1, 3, 1, 1)
    return tensor


def to_nvidia(source: FaceGenerator) -> dict[str, Any]:
    """`{"G_ema", "D" where known}` as state dicts of NVIDIA's stylegan2-ada-pytorch, filters included."""
    config = source.generator.config
    ours = _tensors(source.generator)
    names = nvidia.generator_names(config.resolution, config.mapping_layers, bool(config.c_dim), config.architecture)
    state = {theirs: ours[name] for name, theirs in names}
    state["mapping.w_avg"] = source.mean_latent.detach().cpu().clone()
    for r in config.resolutions:
        state[f"synthesis.b{r}.resample_filter"] = fir_kernel()
        for layer in ("conv1",) if r == 4 else ("conv0", "conv1"):
            state[f"synthesis.b{r}.{layer}.resample_filter"] = fir_kernel()
        if config.architecture == "resnet" and r > 4:
            state[f"synthesis.b{r}.skip.resample_filter"] = fir_kernel()
    content: dict[str, Any] = {"G_ema": state}
    if source.discriminator is not None:
        content["D"] = discriminator_to_nvidia(source.discriminator)
    return content


def discriminator_to_nvidia(discriminator: Discriminator) -> dict[str, Tensor]:
    """The state dict of a discriminator, as under `D`, filters included."""
    config = discriminator.config
    ours = _tensors(discriminator)
    layers = 0 if discriminator.mapping is None else len(discriminator.mapping.layers)
    state = {theirs: ours[name] for name, theirs in nvidia.discriminator_names(config.resolution, layers)}
    for r in (8 * 2**i for i in range(len(config.channels) - 1)):
        state[f"b{r}.resample_filter"] = fir_kernel()
        for layer in ("conv0", "conv1", "skip"):
            state[f"b{r}.{layer}.resample_filter"] = fir_kernel()
    state[f"b{config.resolution}.fromrgb.resample_filter"] = fir_kernel()
    state["b4.conv.resample_filter"] = fir_kernel()
    return state


def _tensors(network: Generator | Discriminator) -> dict[str, Tensor]:
    with torch.inference_mode(False):
        return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise CheckpointError(
            f"rosinality's layout has no place for {what}. Convert to NVIDIA's layout, or to our .safetensors."
        )

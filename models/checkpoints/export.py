"""The way back: networks as state dicts under the names and shapes of the public implementations.

Nothing is scaled, flipped or transposed: a file converted to ours and back has the same bits in every tensor. What a
state dict cannot say, such as a limit of the activations, lies beside it under `init_kwargs`, where our readers look;
others pass it over.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..discriminator import Discriminator, DiscriminatorConfig
from ..generator import GeneratorConfig
from ..irse import ArcFace
from ..ops import fir_kernel
from ..psp import PspEncoder
from ..types import FaceEncoder, FaceGenerator
from .errors import CheckpointError
from .formats import nvidia, psp, rosinality

LAYOUTS = ("rosinality", "nvidia", "psp", "arcface")


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
    discriminator = source.discriminator
    content |= extra_options(config, None if discriminator is None else discriminator.config)
    if discriminator is not None:
        content["d"] = discriminator_to_rosinality(discriminator)
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
    discriminator = source.discriminator
    content: dict[str, Any] = {
        "G_ema": state,
        **extra_options(config, None if discriminator is None else discriminator.config),
    }
    if discriminator is not None:
        content["D"] = discriminator_to_nvidia(discriminator)
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


def to_psp(encoder: FaceEncoder, generator: FaceGenerator | None = None) -> dict[str, Any]:
    """`{"state_dict": {"encoder.*", "decoder.*" where known}, "latent_avg", "opts"}` as pSp, e4e and ReStyle store it.

    Raises:
        CheckpointError: the encoder has another architecture, or the generator has no form in rosinality's layout.
    """
    network = encoder.network
    if not isinstance(network, PspEncoder):
        raise CheckpointError(
            "its encoder has another architecture than pSp's and e4e's layout has a place for. Convert to our "
            ".safetensors."
        )
    config, ours = network.config, _tensors(network)
    mean = ours.pop("mean_latent")
    state = {f"encoder.{name}": tensor for name, tensor in ours.items()}
    named = dict(encoder.provenance).get("encoder_type", "")
    options: dict[str, Any] = {
        "encoder_type": named if named in psp.KNOWN_CLASSES else psp.class_of(config),
        "start_from_latent_avg": config.mean != "none",
        "output_size": 2 ** (config.num_ws // 2 + 1),
    }
    content: dict[str, Any] = {"state_dict": state, "opts": options}
    if config.mean == "file":
        content["latent_avg"] = mean
    if generator is not None:
        decoder = to_rosinality(generator.replace(discriminator=None))
        state |= {f"decoder.{name}": tensor for name, tensor in decoder["g_ema"].items()}
        if config.mean == "none":
            content["latent_avg"] = decoder["latent_avg"]
    return content


def to_arcface(network: ArcFace) -> dict[str, Tensor]:
    """The bare state dict of an embedding network, as `model_ir_se50.pth` holds it."""
    return _tensors(network)


def extra_options(generator: GeneratorConfig | None, discriminator: DiscriminatorConfig | None) -> dict[str, Any]:
    """`{"init_kwargs": {"G": ..., "D": ...}}` of what readers of bare state dicts would take otherwise, else `{}`."""
    options: dict[str, dict[str, float]] = {"G": {}, "D": {}}
    for name, config in (("G", generator), ("D", discriminator)):
        if config is not None and config.conv_clamp is not None:
            options[name]["conv_clamp"] = config.conv_clamp
    if generator is not None and generator.mapping_lr_multiplier != 0.01:
        options["G"]["mapping_lr_multiplier"] = generator.mapping_lr_multiplier
    if discriminator is not None and discriminator.mbstd_group != 4:
        options["D"]["mbstd_group"] = discriminator.mbstd_group
    return {"init_kwargs": options} if options["G"] or options["D"] else {}


def _tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    with torch.inference_mode(False):
        return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise CheckpointError(
            f"rosinality's layout has no place for {what}. Convert to NVIDIA's layout, or to our .safetensors."
        )

"""rosinality's stylegan2-pytorch: `.pt` files from its converter and from its training, and bare state dicts of them.

Names and shapes differ from ours only by leading ones; no value is scaled, flipped or transposed. Architectures are
inferred from shapes alone, since files do not say them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...discriminator import DiscriminatorConfig
from ...generator import GeneratorConfig
from ...ops import fir_kernel
from ..contents import Contents, State, Weights
from ..errors import CheckpointError
from ..state_dicts import extra_options, find_mean, find_state, number, plain_text

FAMILY = "rosinality"
GENERATOR_MARK = "conv1.conv.modulation.weight"
DISCRIMINATOR_MARK = "final_linear.1.weight"
GENERATOR_ENTRIES = (
    "g_ema",
    "G_ema",
    "params_ema",
    "generator_ema",
    "ema",
    "g",
    "G",
    "generator",
    "netG",
    "state_dict",
    "params",
    "model",
)
"""Where a file keeps its generator, best first: the averaged one is what makes pictures."""
DISCRIMINATOR_ENTRIES = ("d", "D", "discriminator")


def detect(contents: Contents) -> bool:
    """Whether the file holds a generator or a discriminator of this family."""
    return find_generator(contents.data) is not None or find_discriminator(contents.data) is not None


def read(contents: Contents) -> Weights:
    """The file's networks under our names.

    Raises:
        CheckpointError: its mean latent has the length of another network.
    """
    generator = find_generator(contents.data)
    state = find_discriminator(contents.data)
    network = None if generator is None else read_generator(generator)
    discriminator = None if state is None else read_discriminator(state)
    of_g, of_d = (extra_options(contents.data, kind) for kind in "GD")
    if network is not None and of_g:
        network = replace(network[0], conv_clamp=number(of_g.get("conv_clamp"))), network[1]
    if discriminator is not None and of_d:
        clamp, group = (number(of_d.get(name)) for name in ("conv_clamp", "mbstd_group"))
        discriminator = replace(discriminator[0], conv_clamp=clamp, mbstd_group=int(group or 4)), discriminator[1]
    return Weights(
        family=FAMILY,
        generator=network,
        discriminator=discriminator,
        mean_latent=None if network is None else mean_latent(contents.data, generator, network[0].w_dim),
        metadata=training_arguments(contents.data),
    )


def find_generator(data: Any) -> dict[str, Tensor] | None:
    """The state dict of a generator with rosinality's names, None where there is none."""
    return find_state(data, (GENERATOR_MARK,), GENERATOR_ENTRIES)


def find_discriminator(data: Any) -> dict[str, Tensor] | None:
    """The state dict of a discriminator with rosinality's names, None where there is none."""
    return find_state(data, (DISCRIMINATOR_MARK,), DISCRIMINATOR_ENTRIES)


def mean_latent(data: Any, state: State | None, w_dim: int) -> Tensor | None:
    """The file's mean latent `[w_dim]`, None where it has none; of several rows, one per layer, their mean.

    Raises:
        CheckpointError: its length does not fit.
    """
    mean = find_mean(data, state)
    if mean is None:
        return None
    if mean.numel() % w_dim:
        raise CheckpointError(
            f"its mean latent has shape {list(mean.shape)}, where [{w_dim}] belongs. Take another copy of the file."
        )
    rows = mean.reshape(-1, w_dim)
    # A mean per layer is the same one repeated, and averaging equal numbers could change their last bit.
    return rows[0] if bool((rows == rows[:1]).all()) else rows.float().mean(dim=0)


def training_arguments(data: Mapping[str, Any]) -> dict[str, str]:
    """The command line that a training file keeps, as text."""
    arguments = data.get("args") if isinstance(data, Mapping) else None
    if isinstance(arguments, argparse.Namespace):
        arguments = vars(arguments)
    if not isinstance(arguments, Mapping):
        return {}
    return {f"args.{plain_text(name)}": plain_text(value) for name, value in arguments.items()}


def _count(state: State, pattern: str) -> int:
    """How many different numbers group 1 of `pattern` takes among the keys."""
    return len({found.group(1) for name in state if (found := re.fullmatch(pattern, name))})


def generator_names(blocks: int, mapping_layers: int) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every tensor of a generator with `blocks` resolutions, noise buffers included."""

    def modulated(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
        yield f"{ours}.weight", f"{theirs}.conv.weight"
        yield f"{ours}.affine.weight", f"{theirs}.conv.modulation.weight"
        yield f"{ours}.affine.bias", f"{theirs}.conv.modulation.bias"

    for i in range(mapping_layers):
        for part in ("weight", "bias"):
            yield f"mapping.layers.{i}.{part}", f"style.{i + 1}.{part}"
    yield "synthesis.blocks.0.const", "input.input"
    for k in range(blocks):
        convolutions = {"conv1": "conv1"} if k == 0 else {f"conv{i}": f"convs.{2 * k - 2 + i}" for i in (0, 1)}
        for i, (ours, theirs) in enumerate(convolutions.items()):
            ours = f"synthesis.blocks.{k}.{ours}"
            yield from modulated(ours, theirs)
            yield f"{ours}.bias", f"{theirs}.activate.bias"
            yield f"{ours}.noise_strength", f"{theirs}.noise.weight"
            yield f"{ours}.noise_const", f"noises.noise_{0 if k == 0 else 2 * k - 1 + i}"
        ours, theirs = f"synthesis.blocks.{k}.to_rgb", "to_rgb1" if k == 0 else f"to_rgbs.{k - 1}"
        yield from modulated(ours, theirs)
        yield f"{ours}.bias", f"{theirs}.bias"


def _check_kernels(state: State, gain: float) -> None:
    """Refuses other blurs than [1, 3, 3, 1] with this gain, which the networks here have built in."""
    for name, tensor in state.items():
        if name.endswith(".kernel") and not (
            tensor.shape == (4, 4) and torch.allclose(tensor.float(), fir_kernel(gain), atol=1e-3)
        ):
            raise CheckpointError(
                f"`{name[:80]}` is another blur than [1, 3, 3, 1], the only one supported. "
                "Choose a checkpoint trained with the standard configuration."
            )


def read_generator(state: State) -> tuple[GeneratorConfig, State]:
    """A generator's configuration and its tensors under our names, from a state dict with rosinality's names.

    Raises:
        CheckpointError: it blurs with another kernel, or draws other pictures than RGB.
    """
    _check_kernels(state, 4.0)
    if "to_rgb1.bias" in state and state["to_rgb1.bias"].numel() != 3:
        raise CheckpointError(
            f"its pictures have {state['to_rgb1.bias'].numel()} channels and not three, as a wavelet generator's "
            "(SWAGAN) have. Choose a StyleGAN2 generator of colour pictures."
        )
    mapping_layers = _count(state, r"style\.(\d+)\.weight")
    blocks = _count(state, r"to_rgbs\.(\d+)\.bias") + 1
    widths = ["conv1", *(f"convs.{2 * k + 1}" for k in range(blocks - 1))]
    config = GeneratorConfig(
        resolution=4 * 2 ** (blocks - 1),
        channels=tuple(state[f"{name}.conv.weight"].shape[-4] for name in widths),
        z_dim=state["style.1.weight"].shape[1],
        w_dim=state[f"style.{mapping_layers}.weight"].shape[0],
        mapping_layers=mapping_layers,
    )
    tensors = {ours: state[theirs] for ours, theirs in generator_names(blocks, mapping_layers) if theirs in state}
    if not any(name.endswith(".noise.weight") for name in state):
        # Some exports leave the noise out altogether: the network then adds none.
        silent = (ours for ours, _ in generator_names(blocks, mapping_layers) if ours.endswith(".noise_strength"))
        tensors |= {ours: torch.zeros(()) for ours in silent}
    return config, tensors


def discriminator_names(blocks: int) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every tensor of a discriminator with `blocks` residual blocks."""
    for part, index in (("weight", 0), ("bias", 1)):
        yield f"from_rgb.{part}", f"convs.0.{index}.{part}"
        yield f"conv.{part}", f"final_conv.{index}.{part}"
        yield f"fc.{part}", f"final_linear.0.{part}"
        yield f"out.{part}", f"final_linear.1.{part}"
        for i in range(blocks):
            yield f"blocks.{i}.conv0.{part}", f"convs.{i + 1}.conv1.{index}.{part}"
            # Index 0 of a downsampling layer is its blur.
            yield f"blocks.{i}.conv1.{part}", f"convs.{i + 1}.conv2.{index + 1}.{part}"
    for i in range(blocks):
        yield f"blocks.{i}.skip.weight", f"convs.{i + 1}.skip.1.weight"


def read_discriminator(state: State) -> tuple[DiscriminatorConfig, State]:
    """A discriminator's configuration and its tensors under our names, from a state dict with rosinality's names.

    Raises:
        CheckpointError: it blurs with another kernel.
    """
    _check_kernels(state, 1.0)
    blocks = _count(state, r"convs\.(\d+)\.conv2\.1\.weight")
    widths = [state["convs.0.0.weight"], *(state[f"convs.{i + 1}.conv2.1.weight"] for i in range(blocks))]
    config = DiscriminatorConfig(
        resolution=4 * 2**blocks, channels=tuple(weight.shape[0] for weight in reversed(widths))
    )
    return config, {ours: state[theirs] for ours, theirs in discriminator_names(blocks) if theirs in state}

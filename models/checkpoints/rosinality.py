"""rosinality's stylegan2-pytorch: `.pt` files from its converter and from its training, and bare state dicts of them.

Names and shapes differ from ours only by leading ones; no value is scaled, flipped or transposed. Architectures are
inferred from shapes alone, since files do not say them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..discriminator import DiscriminatorConfig
from ..generator import GeneratorConfig
from .contents import Contents, State, Weights

FAMILY = "rosinality"
GENERATOR_MARK = "conv1.conv.modulation.weight"
DISCRIMINATOR_MARK = "final_linear.1.weight"
GENERATOR_ENTRIES = ("g_ema", "g")
"""Where a file keeps its generator, best first: the averaged one is what makes pictures."""


def detect(contents: Contents) -> bool:
    """Whether the file holds a generator or a discriminator of this family."""
    return _find(contents.data, GENERATOR_MARK, GENERATOR_ENTRIES) is not None or (
        _find(contents.data, DISCRIMINATOR_MARK, ("d",)) is not None
    )


def read(contents: Contents) -> Weights:
    """The file's networks under our names."""
    generator = _find(contents.data, GENERATOR_MARK, GENERATOR_ENTRIES)
    discriminator = _find(contents.data, DISCRIMINATOR_MARK, ("d",))
    mean = contents.data.get("latent_avg")
    return Weights(
        family=FAMILY,
        generator=None if generator is None else read_generator(generator),
        discriminator=None if discriminator is None else _read_discriminator(discriminator),
        mean_latent=mean.reshape(-1) if isinstance(mean, Tensor) else None,
        metadata=_metadata(contents.data),
    )


def _find(data: Any, mark: str, entries: tuple[str, ...]) -> dict[str, Tensor] | None:
    """The state dict that has the key `mark`: under one of `entries`, or the file itself."""
    if not isinstance(data, Mapping):
        return None
    for candidate in (*(data.get(entry) for entry in entries), data):
        if isinstance(candidate, Mapping):
            state = {
                str(name).removeprefix("module."): tensor
                for name, tensor in candidate.items()
                if isinstance(tensor, Tensor)
            }
            if mark in state:
                return state
    return None


def _metadata(data: Mapping[str, Any]) -> dict[str, str]:
    """The training arguments that a training file keeps."""
    arguments = data.get("args")
    if not isinstance(arguments, argparse.Namespace):
        return {}
    return {f"args.{name}": str(value) for name, value in vars(arguments).items()}


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


def read_generator(state: State) -> tuple[GeneratorConfig, State]:
    """A generator's configuration and its tensors under our names, from a state dict with rosinality's names."""
    mapping_layers = _count(state, r"style\.(\d+)\.weight")
    blocks = _count(state, r"to_rgbs\.(\d+)\.bias") + 1
    widths = ["conv1", *(f"convs.{2 * k + 1}" for k in range(blocks - 1))]
    config = GeneratorConfig(
        resolution=4 * 2 ** (blocks - 1),
        channels=tuple(state[f"{name}.conv.weight"].shape[1] for name in widths),
        z_dim=state["style.1.weight"].shape[1],
        w_dim=state[f"style.{mapping_layers}.weight"].shape[0],
        mapping_layers=mapping_layers,
    )
    names = generator_names(blocks, mapping_layers)
    return config, {ours: state[theirs] for ours, theirs in names if theirs in state}


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


def _read_discriminator(state: State) -> tuple[DiscriminatorConfig, State]:
    blocks = _count(state, r"convs\.(\d+)\.conv2\.1\.weight")
    widths = [state["convs.0.0.weight"], *(state[f"convs.{i + 1}.conv2.1.weight"] for i in range(blocks))]
    config = DiscriminatorConfig(
        resolution=4 * 2**blocks, channels=tuple(weight.shape[0] for weight in reversed(widths))
    )
    return config, {ours: state[theirs] for ours, theirs in discriminator_names(blocks) if theirs in state}

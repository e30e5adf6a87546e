"""NVIDIA's stylegan2-ada-pytorch, and `networks_stylegan2` of its stylegan3 repository: `.pkl` files.

Read by the restricted unpickler, so that the source text they carry is never run. Names differ from ours; values
and shapes do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..discriminator import DiscriminatorConfig
from ..generator import GeneratorConfig, resolutions_up_to
from .contents import CheckpointError, Contents, State, Weights
from .pickles import InertModule

FAMILY = "nvidia"
GENERATOR_ENTRIES = ("G_ema", "G")
"""Where a file keeps its generator, best first: the averaged one is what makes pictures."""


def detect(contents: Contents) -> bool:
    """Whether the file is a pickle with a network record under one of the usual names."""
    return _network(contents.data, (*GENERATOR_ENTRIES, "D")) is not None


def read(contents: Contents) -> Weights:
    """The file's networks under our names.

    Raises:
        CheckpointError: it is a StyleGAN3 generator, or another architecture that these networks do not have.
    """
    generator = _network(contents.data, GENERATOR_ENTRIES)
    discriminator = _network(contents.data, ("D",))
    mean = None if generator is None else dict(generator.tensors()).get("mapping.w_avg")
    return Weights(
        family=FAMILY,
        generator=None if generator is None else _read_generator(generator),
        discriminator=None if discriminator is None else _read_discriminator(discriminator),
        mean_latent=mean,
    )


def _network(data: Any, entries: tuple[str, ...]) -> InertModule | None:
    if isinstance(data, InertModule):
        return data if data.class_name in ("Generator", "Discriminator") and data.class_name[0] in entries else None
    if not isinstance(data, Mapping):
        return None
    return next((data[entry] for entry in entries if isinstance(data.get(entry), InertModule)), None)


def generator_names(resolution: int, mapping_layers: int, conditional: bool) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every tensor of a generator, noise buffers included."""
    for part in ("weight", "bias"):
        for i in range(mapping_layers):
            yield f"mapping.layers.{i}.{part}", f"mapping.fc{i}.{part}"
        if conditional:
            yield f"mapping.embed.{part}", f"mapping.embed.{part}"
    yield "synthesis.blocks.0.const", "synthesis.b4.const"
    for k, r in enumerate(resolutions_up_to(resolution)):
        for layer in ("conv1",) if k == 0 else ("conv0", "conv1"):
            for part in ("weight", "bias", "affine.weight", "affine.bias", "noise_strength", "noise_const"):
                yield f"synthesis.blocks.{k}.{layer}.{part}", f"synthesis.b{r}.{layer}.{part}"
        for part in ("weight", "bias", "affine.weight", "affine.bias"):
            yield f"synthesis.blocks.{k}.to_rgb.{part}", f"synthesis.b{r}.torgb.{part}"


def _read_generator(network: InertModule) -> tuple[GeneratorConfig, State]:
    state = dict(network.tensors())
    if "synthesis.b4.const" not in state:
        raise CheckpointError(
            "this is not a StyleGAN2 generator"
            + (" but a StyleGAN3 one" if any(name.startswith("synthesis.L0_") for name in state) else "")
            + ", whose architecture is another. Choose a StyleGAN2 checkpoint."
        )
    resolution = max(int(name.split(".")[1][1:]) for name in state if name.startswith("synthesis.b"))
    _require(network.child("synthesis", "b4"), "architecture", "skip", "generator")
    layers = _layer_count(state)
    config = GeneratorConfig(
        resolution=resolution,
        channels=tuple(state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions_up_to(resolution)),
        z_dim=int(network.get("z_dim", state["mapping.fc0.weight"].shape[1])),
        w_dim=state[f"mapping.fc{layers - 1}.weight"].shape[0],
        mapping_layers=layers,
        mapping_lr_multiplier=_lr_multiplier(network),
        c_dim=_c_dim(state),
        conv_clamp=_clamp(network.child("synthesis", "b4", "conv1")),
    )
    names = generator_names(resolution, layers, bool(config.c_dim))
    return config, {ours: state[theirs] for ours, theirs in names if theirs in state}


def discriminator_names(resolution: int, mapping_layers: int) -> Iterator[tuple[str, str]]:
    """(our name, their name) of every tensor of a discriminator; `mapping_layers` is 0 where unconditional."""
    for part in ("weight", "bias"):
        yield f"from_rgb.{part}", f"b{resolution}.fromrgb.{part}"
        for layer in ("conv", "fc", "out"):
            yield f"{layer}.{part}", f"b4.{layer}.{part}"
        for i, r in enumerate(resolutions_up_to(resolution)[:0:-1]):
            for layer in ("conv0", "conv1"):
                yield f"blocks.{i}.{layer}.{part}", f"b{r}.{layer}.{part}"
        for i in range(mapping_layers):
            yield f"mapping.layers.{i}.{part}", f"mapping.fc{i}.{part}"
        if mapping_layers:
            yield f"mapping.embed.{part}", f"mapping.embed.{part}"
    for i, r in enumerate(resolutions_up_to(resolution)[:0:-1]):
        yield f"blocks.{i}.skip.weight", f"b{r}.skip.weight"


def _read_discriminator(network: InertModule) -> tuple[DiscriminatorConfig, State]:
    state = dict(network.tensors())
    resolution = max(int(name.split(".")[0][1:]) for name in state if name.startswith("b") and name[1].isdigit())
    top = network.child(f"b{resolution}")
    _require(top, "architecture", "resnet", "discriminator")
    averaging = network.child("b4", "mbstd")
    _require(averaging, "num_channels", 1, "discriminator")
    group = averaging.get("group_size", 4) if averaging is not None else 1
    widths = {r: state[f"b{r}.conv1.weight"].shape[0] for r in resolutions_up_to(resolution)[1:]}
    config = DiscriminatorConfig(
        resolution=resolution,
        # The second convolution of a block has the width of the next lower resolution.
        channels=(*widths.values(), state[f"b{resolution}.fromrgb.weight"].shape[0]),
        mbstd_group=2**30 if group is None else int(group),
        c_dim=_c_dim(state),
        conv_clamp=_clamp(None if top is None else top.child("conv0")),
    )
    names = discriminator_names(resolution, _layer_count(state))
    return config, {ours: state[theirs] for ours, theirs in names if theirs in state}


def _layer_count(state: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in state)


def _c_dim(state: Mapping[str, Tensor]) -> int:
    return state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0


def _lr_multiplier(network: InertModule) -> float:
    layer = network.child("mapping", "fc0")
    return 0.01 if layer is None else float(layer.get("bias_gain", 0.01))


def _clamp(layer: InertModule | None) -> float | None:
    value = None if layer is None else layer.get("conv_clamp")
    return None if value is None else float(value)


def _require(module: InertModule | None, attribute: str, wanted: Any, what: str) -> None:
    """Refuses a variant of the architecture that these networks do not have."""
    value = wanted if module is None else module.get(attribute, wanted)
    if value != wanted:
        raise CheckpointError(
            f"the {what} has {attribute} {value!r}, and only {wanted!r}, the usual one, is supported. "
            "Choose a checkpoint trained with the standard configuration."
        )

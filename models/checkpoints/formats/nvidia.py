"""NVIDIA's stylegan2-ada-pytorch, and `networks_stylegan2` of its stylegan3 repository: `.pkl` files.

Their networks arrive as inert records, so that the source text they carry is never run; state dicts with the same
names, as `convert` writes them, are read too. Names differ from ours; values and shapes do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ...discriminator import DiscriminatorConfig
from ...generator import GeneratorConfig, resolutions_up_to
from ...ops import fir_kernel
from ..allowed_names import InertModule
from ..contents import Contents, State, Weights
from ..errors import ACCEPTED, CheckpointError
from ..state_dicts import extra_options, find_state, plain_text

FAMILY = "nvidia"
GENERATOR_ENTRIES = ("G_ema", "g_ema", "generator_ema", "G", "g", "generator", "state_dict", "model")
"""Where a file keeps its generator, best first: the averaged one is what makes pictures."""
DISCRIMINATOR_ENTRIES = ("D", "d", "discriminator")
GENERATOR_MARKS = ("synthesis.b4.const", "synthesis.b4.conv1.affine.weight")
DISCRIMINATOR_MARKS = ("b4.fc.weight", "b4.out.weight")
HIGHEST = 4096
STYLEGAN3 = (
    "this is a StyleGAN3 generator (-t or -r), whose architecture is another; only StyleGAN2 networks work here. "
    f"{ACCEPTED}."
)


def detect(contents: Contents) -> bool:
    """Whether the file holds a network record, or a state dict with these names, under one of the usual entries."""
    return any(_network(contents.data, kind) is not None for kind in "GD")


def read(contents: Contents) -> Weights:
    """The file's networks under our names.

    Raises:
        CheckpointError: it is a StyleGAN3 generator, or another architecture that these networks do not have.
    """
    generator = _network(contents.data, "G")
    discriminator = _network(contents.data, "D")
    mean, metadata = None, {}
    if generator is not None:
        mean = generator.tensors().get("mapping.w_avg")
        metadata = _options(generator)
    return Weights(
        family=FAMILY,
        generator=None if generator is None else _read_generator(generator),
        discriminator=None if discriminator is None else _read_discriminator(discriminator),
        mean_latent=mean,
        metadata=metadata,
    )


def _network(data: Any, kind: str) -> InertModule | None:
    """The generator ("G") or the discriminator ("D") of a file: a record of it, or a state dict with its names."""
    entries = GENERATOR_ENTRIES if kind == "G" else DISCRIMINATOR_ENTRIES
    places = [data] if not isinstance(data, Mapping) else [data.get(entry) for entry in entries]
    marks, name = (GENERATOR_MARKS, "Generator") if kind == "G" else (DISCRIMINATOR_MARKS, "Discriminator")
    for place in places:
        if not isinstance(place, InertModule):
            continue
        initial = place.class_name[:1]
        if initial == kind or (initial not in "GD" and all(mark in place.tensors() for mark in marks)):
            return place
    state = find_state(data, marks, entries)
    if state is None:
        return None
    return InertModule(name, {"_parameters": state, "_init_kwargs": dict(extra_options(data, kind))})


def _options(network: InertModule) -> dict[str, str]:
    """How the network was asked for: ada nests `synthesis_kwargs`, the stylegan3 repository puts them flat."""
    options = _init_kwargs(network)
    return {f"init.{plain_text(name)}": plain_text(value) for name, value in sorted(options.items(), key=str)[:50]}


def _init_kwargs(network: InertModule) -> dict[str, Any]:
    options = network.get("_init_kwargs")
    options = dict(options) if isinstance(options, dict) else {}
    for name in ("synthesis_kwargs", "mapping_kwargs"):
        nested = options.pop(name, None)
        if isinstance(nested, dict):
            options |= {f"mapping_{key}" if name[0] == "m" else key: value for key, value in nested.items()}
    return options


def generator_names(
    resolution: int, mapping_layers: int, conditional: bool, architecture: str = "skip"
) -> Iterator[tuple[str, str]]:
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
        if architecture == "resnet" and k:
            yield f"synthesis.blocks.{k}.skip.weight", f"synthesis.b{r}.skip.weight"
        if architecture == "skip" or r == resolution:
            for part in ("weight", "bias", "affine.weight", "affine.bias"):
                yield f"synthesis.blocks.{k}.to_rgb.{part}", f"synthesis.b{r}.torgb.{part}"


def _read_generator(network: InertModule) -> tuple[GeneratorConfig, State]:
    state = network.tensors()
    if any(name.startswith(("synthesis.L0_", "synthesis.input.")) for name in state):
        raise CheckpointError(STYLEGAN3)
    if "synthesis.b4.const" not in state:
        raise CheckpointError(
            f"its generator (`{plain_text(network.class_name)}`) is not a StyleGAN2 one: it has no "
            f"`synthesis.b4.const`. {ACCEPTED}."
        )
    resolution = _top(state, r"synthesis\.b(\d+)\..+")
    _check_filters(state)
    _require(network.child("synthesis", "b4", "conv1"), "activation", "lrelu", "generator")
    resolutions = resolutions_up_to(resolution)
    architecture = _generator_architecture(state, resolution)
    for r in resolutions:
        _require(network.child("synthesis", f"b{r}"), "architecture", architecture, "generator")
    layers = _layer_count(state)
    c_dim = _c_dim(state)
    w_dim = state[f"mapping.fc{layers - 1}.weight"].shape[0]
    if state[f"synthesis.b{resolution}.torgb.weight"].shape[0] != 3:
        raise CheckpointError(
            f"its pictures have {state[f'synthesis.b{resolution}.torgb.weight'].shape[0]} channels and not three. "
            "Choose a generator of colour pictures."
        )
    config = GeneratorConfig(
        resolution=resolution,
        channels=tuple(state[f"synthesis.b{r}.conv1.weight"].shape[0] for r in resolutions),
        z_dim=state["mapping.fc0.weight"].shape[1] - (state["mapping.embed.weight"].shape[0] if c_dim else 0),
        w_dim=w_dim,
        mapping_layers=layers,
        mapping_lr_multiplier=_lr_multiplier(network),
        c_dim=c_dim,
        conv_clamp=_clamp(network.child("synthesis", "b4", "conv1"), network),
        architecture=architecture,
    )
    names = generator_names(resolution, layers, bool(c_dim), architecture)
    tensors = {ours: state[theirs] for ours, theirs in names if theirs in state}
    for k, r in enumerate(resolutions):
        for layer in ("conv1",) if k == 0 else ("conv0", "conv1"):
            # A layer made with use_noise=False has neither a strength nor a buffer.
            if f"synthesis.b{r}.{layer}.noise_strength" not in state:
                tensors[f"synthesis.blocks.{k}.{layer}.noise_strength"] = torch.zeros(())
    return config, tensors


def _generator_architecture(state: State, resolution: int) -> str:
    if "synthesis.b4.torgb.weight" in state or resolution == 4:
        return "skip"
    return "resnet" if f"synthesis.b{resolution}.skip.weight" in state else "orig"


def _top(state: State, pattern: str) -> int:
    """The highest resolution among the names.

    Raises:
        CheckpointError: it is no power of two, or beyond what any network draws.
    """
    found = (re.fullmatch(pattern, name) for name in state)
    resolution = max((int(match.group(1)[:9]) for match in found if match), default=0)
    if not 4 <= resolution <= HIGHEST or resolution & (resolution - 1):
        raise CheckpointError(f"its resolution would be {resolution}, which no StyleGAN2 network has. {ACCEPTED}.")
    return resolution


def _check_filters(state: State) -> None:
    """Refuses another resampling filter than [1, 3, 3, 1], which the networks here have built in."""
    for name, tensor in state.items():
        if name.endswith("resample_filter") and not (
            tensor.shape == (4, 4) and torch.allclose(tensor.float(), fir_kernel(), atol=1e-3)
        ):
            raise CheckpointError(
                f"`{name}` is another resampling filter than [1, 3, 3, 1], the only one supported. "
                "Choose a checkpoint trained with the standard configuration."
            )


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
    state = network.tensors()
    resolution = _top(state, r"b(\d+)\..+")
    _check_filters(state)
    _require(network.child("b4", "conv"), "activation", "lrelu", "discriminator")
    if f"b{resolution}.skip.weight" not in state or "b4.fromrgb.weight" in state:
        architecture = "skip" if "b4.fromrgb.weight" in state else "orig"
        raise CheckpointError(
            f"its discriminator has architecture {architecture!r}, and only 'resnet', the usual one, is supported. "
            "Convert the generator alone, or choose a checkpoint trained with the standard configuration."
        )
    averaging = network.child("b4", "mbstd")
    _require(averaging, "num_channels", 1, "discriminator")
    width = state["b4.conv.weight"].shape[0]
    if state["b4.conv.weight"].shape[1] != width + 1:
        raise CheckpointError(
            f"its discriminator has {state['b4.conv.weight'].shape[1] - width} channels of minibatch deviation, and "
            "only one, the usual number, is supported. Convert the generator alone."
        )
    group = _init_kwargs(network).get("mbstd_group", 4) if averaging is None else averaging.get("group_size", 4)
    widths = {r: state[f"b{r}.conv1.weight"].shape[0] for r in resolutions_up_to(resolution)[1:]}
    config = DiscriminatorConfig(
        resolution=resolution,
        # The second convolution of a block has the width of the next lower resolution.
        channels=(*widths.values(), state[f"b{resolution}.fromrgb.weight"].shape[0]),
        # None means the whole batch.
        mbstd_group=2**16 if group is None else int(group),
        c_dim=_c_dim(state),
        conv_clamp=_clamp(network.child(f"b{resolution}", "conv0"), network),
    )
    names = discriminator_names(resolution, _layer_count(state))
    return config, {ours: state[theirs] for ours, theirs in names if theirs in state}


def _layer_count(state: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in state)


def _c_dim(state: Mapping[str, Tensor]) -> int:
    return state["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in state else 0


def _lr_multiplier(network: InertModule) -> float:
    layer = network.child("mapping", "fc0")
    given = None if layer is None else layer.get("bias_gain")
    return float(_init_kwargs(network).get("mapping_lr_multiplier", 0.01) if given is None else given)


def _clamp(layer: InertModule | None, network: InertModule) -> float | None:
    """The limit that a layer states, or that the network was asked for where the layer does not say."""
    value = _init_kwargs(network).get("conv_clamp") if layer is None else layer.get("conv_clamp")
    return None if value is None else float(value)


def _require(module: InertModule | None, attribute: str, wanted: Any, what: str) -> None:
    """Refuses a variant of the architecture that these networks do not have."""
    value = wanted if module is None else module.get(attribute, wanted)
    if value != wanted:
        raise CheckpointError(
            f"the {what} has {attribute} {plain_text(value)!r}, and only {wanted!r} is supported with its tensors. "
            "Choose a checkpoint trained with the standard configuration."
        )

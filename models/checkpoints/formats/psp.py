"""pSp, e4e and ReStyle files: an encoder, the generator it was trained with, and the mean latent between the two.

`{"state_dict": {"encoder.*", "decoder.*"}, "latent_avg", "opts"}`, where the decoder is a rosinality generator. Shapes
say everything but whether codes are differences from the first (e4e), which `opts["encoder_type"]` names; `opts` is a
dict or an `argparse.Namespace`, and older files lack some of its entries. Encoders saved alone are read too.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...generator import GeneratorConfig
from ...psp import PspConfig, psp_config
from ..contents import Contents, State, Weights
from ..errors import CheckpointError
from ..state_dicts import find_mean, mappings, tensors_of
from . import rosinality

ENTRIES = ("state_dict", "model", "net", "params")
STEM = "input_layer.0.weight"
HEADS = ("styles.0.linear.weight", "linear.weight")
"""Of an encoder into W+, and into W."""
DELTA_CLASSES = ("Encoder4Editing", "ProgressiveBackboneEncoder")
"""`encoder_type`s whose codes after the first are differences from it."""
KNOWN_CLASSES = (
    *DELTA_CLASSES,
    "GradualStyleEncoder",
    "BackboneEncoder",
    "BackboneEncoderUsingLastLayerIntoW",
    "WEncoder",
    "SingleStyleCodeEncoder",
)
RESNET34_MARKS = ("encoder.conv1.weight", "encoder.styles.0.linear.weight")
INTO_W_PLUS_MARK = "output_layer_2.3.weight"
"""Of an early pSp class whose codes all come from one linear layer; no public file has it."""
LONGEST_OPTION = 200
"""Characters of an option that are kept for people to read."""
DEFAULT_SIZE = 1024
"""Resolution of the generator where an old file does not say it."""


def detect(contents: Contents) -> bool:
    """Whether the file holds an encoder of this family, even one that is not supported."""
    state = _state(contents.data)
    return _is_encoder(_under(state, "encoder.") or state) or all(mark in state for mark in RESNET34_MARKS)


def read(contents: Contents) -> Weights:
    """The encoder and, where the file has it, the generator; for both the file's mean latent.

    Raises:
        CheckpointError: an encoder with another trunk, for other pictures than RGB, or with a mean of another length.
    """
    state, options = _state(contents.data), _options(contents.data)
    encoder, decoder = _under(state, "encoder.") or state, _under(state, "decoder.")
    if not _is_encoder(encoder):
        raise CheckpointError(
            "its encoder is a ResNet-34, which these authors use for cars, churches and animals; only the face "
            "encoders on an IR-SE trunk work here."
        )
    if INTO_W_PLUS_MARK in encoder:
        raise CheckpointError("its encoder is `BackboneEncoderUsingLastLayerIntoWPlus`, which is not supported.")
    generator: tuple[GeneratorConfig, State] | None = None
    if rosinality.GENERATOR_MARK in decoder:
        generator = rosinality.read_generator(decoder)
    mean = find_mean(contents.data, state)
    mean = None if mean is None else mean.float()
    class_name, note = _encoder_class(options, contents.path.stem)
    config = psp_config(
        encoder, _num_ws(generator, options, mean), class_name in DELTA_CLASSES, _mean_to_add(options, mean)
    )
    channels = config.trunk.in_channels
    if channels not in (3, 6):
        raise CheckpointError(
            f"its encoder reads {channels} channels (drawings or label maps) and not photographs. Choose an encoder "
            "that was trained for the inversion of faces."
        )
    if mean is not None and config.mean == "file":
        encoder = {**encoder, "mean_latent": _per_layer(mean, config)}
    metadata = {f"opts.{name}": str(value)[:LONGEST_OPTION] for name, value in sorted(options.items()) if _plain(value)}
    metadata |= {"encoder_type": class_name} | note
    if generator is not None:
        metadata["decoder"] = f"rosinality generator, {generator[0].resolution} px"
    return Weights(
        family="restyle" if config.iterative else "e4e" if config.deltas else "psp",
        generator=generator,
        encoder=(config, encoder),
        mean_latent=None if mean is None else _of_all_layers(mean),
        metadata=metadata,
    )


def _state(data: Any) -> dict[str, Tensor]:
    """The file's tensors as `encoder.*` and `decoder.*`, or those of an encoder alone, with no other prefix."""
    for mapping in mappings(data, ENTRIES):
        named = tensors_of(mapping)
        if _is_encoder(_under(named, "encoder.") or named) or all(mark in named for mark in RESNET34_MARKS):
            return named
        outer = min((name for name in named if name.endswith(f".encoder.{STEM}")), key=len, default="")
        inner = _under(named, outer.removesuffix(f"encoder.{STEM}"))
        if outer and _is_encoder(_under(inner, "encoder.")):
            # The whole is part of something larger, such as a training's module.
            return inner
    return {}


def _under(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _is_encoder(state: State) -> bool:
    return STEM in state and any(head in state for head in HEADS)


def _options(data: Mapping[str, Any]) -> dict[str, Any]:
    options = data.get("opts") if isinstance(data, Mapping) else None
    if isinstance(options, argparse.Namespace):
        options = vars(options)
    return {str(name): value for name, value in options.items()} if isinstance(options, Mapping) else {}


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, list, tuple))


def _encoder_class(options: Mapping[str, Any], stem: str) -> tuple[str, dict[str, str]]:
    """The encoder's class, and a remark where the file does not say it."""
    named = str(options.get("encoder_type") or "")
    if named in KNOWN_CLASSES:
        return named, {}
    # What only e4e's training has: its curriculum over the codes, and its discriminator of latents.
    marks = ("progressive_start", "progressive_steps", "w_discriminator_lambda", "delta_norm_lambda")
    guess = "Encoder4Editing" if any(mark in options for mark in marks) or "e4e" in stem.lower() else KNOWN_CLASSES[2]
    said = f"the file says {named!r}" if named else "the file does not say"
    return guess, {"encoder_type_note": f"{said}; taken for {guess} by its options and name"}


def class_of(config: PspConfig) -> str:
    """The class that an encoder of this architecture has in its authors' code."""
    if not config.levels:
        return "BackboneEncoderUsingLastLayerIntoW"
    if config.iterative:
        return "ProgressiveBackboneEncoder" if config.deltas else "BackboneEncoder"
    return "Encoder4Editing" if config.deltas else "GradualStyleEncoder"


def _mean_to_add(options: Mapping[str, Any], mean: Tensor | None) -> str:
    if options.get("start_from_latent_avg") is False:
        return "none"
    return "generator" if mean is None else "file"


def _num_ws(generator: tuple[GeneratorConfig, State] | None, options: Mapping[str, Any], mean: Tensor | None) -> int:
    """Codes of the generator, for encoders that give one code for all layers."""
    if generator is not None:
        return generator[0].num_ws
    if mean is not None and mean.ndim >= 2 and mean.shape[-2] > 1:
        return int(mean.shape[-2])
    size = options.get("output_size") or options.get("stylegan_size") or DEFAULT_SIZE
    return 2 * int(math.log2(int(size))) - 2


def _of_all_layers(mean: Tensor) -> Tensor:
    """One mean latent `[w_dim]`; where all layers share one, as they should, exactly that."""
    rows = mean.reshape(-1, mean.shape[-1])
    return rows[0] if bool((rows == rows[:1]).all()) else rows.mean(dim=0)


def _per_layer(mean: Tensor, config: PspConfig) -> Tensor:
    """The mean latent `[num_ws, w_dim]` from `[w_dim]`, `[1, w_dim]`, `[num_ws, w_dim]` or `[1, num_ws, w_dim]`."""
    rows = mean.reshape(-1, mean.shape[-1])
    if len(rows) > config.num_ws and bool((rows == rows[:1]).all()):
        # The mean of a larger generator, repeated for each of its layers.
        rows = rows[:1]
    if rows.shape[1] != config.w_dim or len(rows) not in (1, config.num_ws):
        raise CheckpointError(
            f"its mean latent has shape {list(mean.shape)}, where [{config.w_dim}] or [{config.num_ws}, "
            f"{config.w_dim}] belongs. Take another copy of the file."
        )
    return rows.expand(config.num_ws, -1)

"""Checkpoint files: what they are (`inspect`), their networks (`load_*`), and this project's own format (`save_*`).

One module per format, each with `detect(contents) -> bool` and `read(contents) -> Weights`; FORMATS is their registry,
tried in order. Nothing in a file is ever executed (`unpickler.py`). Wherever a path is
accepted, so are the names of the shipped networks: `embedded`, `embedded:cartoon`, ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ...core import assets as embedded
from ..discriminator import Discriminator, DiscriminatorConfig
from ..dlib import DlibConfig, DlibFace
from ..encoder import Encoder, EncoderConfig
from ..generator import Generator, GeneratorConfig
from ..identity import IdentityNetwork
from ..irse import ArcFace, ArcFaceConfig
from ..psp import PspConfig, PspEncoder
from ..stylizer import FastStylizer
from ..types import FaceEncoder, FaceGenerator, FaceStylizer
from . import (
    arcface,
    dlib,
    dualstylegan,
    facestylist,
    jojogan,
    licences,
    nvidia,
    psp,
    refused,
    rosinality,
    stylegan_nada,
)
from .container import read_contents
from .contents import CheckpointError, CheckpointInfo, State, Weights
from .filling import absent_tensors, build_network, check_config, outside_inference_mode
from .storages import MappedFile

__all__ = [
    "CheckpointError",
    "CheckpointInfo",
    "inspect",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "load_identity",
    "load_stylizer",
    "save_encoder",
    "save_generator",
    "save_identity",
    "save_stylizer",
]

FORMATS = (facestylist, dlib, psp, arcface, dualstylegan, jojogan, stylegan_nada, rosinality, nvidia)
"""The first that recognises a file reads it, so those with more to recognise come first."""
NAMED = 6
"""Missing tensors that `inspect` names."""
ORIGIN = ("file", "family", "sha256")
"""Entries of a provenance that say which file a network was read from."""
MEAN_LATENT_SAMPLES = 4096
"""As many as rosinality's own programs take; more would take longer than reading the file."""
Network = TypeVar("Network", bound=nn.Module)


def inspect(path: str | Path) -> CheckpointInfo:
    """What the file is, told from its names and shapes; no network is built.

    Raises:
        CheckpointError: it is missing, damaged, of no known kind, or would have to run code.
    """
    _, weights, _ = open_checkpoint(path, "generator")
    config: object
    kind, (config, state) = next(
        (kind, network)
        for kind, network in (
            # Published encoders come with the generator they belong to; asked what it is, such a file is an encoder.
            ("encoder", weights.encoder),
            ("generator", weights.generator),
            ("embedding", weights.embedding),
            ("discriminator", weights.discriminator),
            ("stylizer", weights.stylizer),
        )
        if network is not None
    )
    widths = config.channels if isinstance(config, (GeneratorConfig, DiscriminatorConfig)) else ()
    return CheckpointInfo(
        family=weights.family,
        kind=kind,
        resolution=getattr(config, "resolution", 0),
        num_ws=getattr(config, "num_ws", None),
        z_dim=config.z_dim if isinstance(config, GeneratorConfig) else None,
        w_dim=getattr(config, "w_dim", None),
        channels={4 * 2**i: width for i, width in enumerate(widths)},
        has_discriminator=weights.discriminator is not None,
        has_generator=weights.generator is not None,
        has_mean_latent=weights.mean_latent is not None or "mean_latent" in state,
        parameters=_parameter_count(state),
        metadata=weights.metadata,
        architecture=config.architecture if isinstance(config, (GeneratorConfig, DiscriminatorConfig)) else None,
        missing=_missing(weights),
        licence=licences.note(weights.family, weights.metadata),
    )


def _missing(weights: Weights) -> tuple[str, ...]:
    """What a file of its kind may lack, in words; tensors without which it cannot be loaded, by their names."""
    lacks: list[str] = []
    absent: list[str] = []
    if weights.generator is not None and weights.encoder is None:
        config, state = weights.generator
        if weights.discriminator is None:
            lacks.append("discriminator (only fine-tuning needs one)")
        if weights.mean_latent is None and "mean_latent" not in state:
            lacks.append(f"mean latent (estimated from {MEAN_LATENT_SAMPLES} samples when loaded)")
        if not any(name.endswith("noise_const") for name in state):
            lacks.append("noise buffers (made up when loaded, the same every time)")
        absent += [f"generator.{name}" for name in absent_tensors(lambda: Generator(config), state)]
    if weights.discriminator is not None:
        critic, state = weights.discriminator
        absent += [f"discriminator.{name}" for name in absent_tensors(lambda: Discriminator(critic), state)]
    if len(absent) > NAMED:
        absent = [*absent[:NAMED], f"{len(absent) - NAMED} more tensors, so that it cannot be loaded"]
    return (*lacks, *absent)


def load_generator(path: str | Path) -> FaceGenerator:
    """The generator of a file, with its discriminator where the file has one; on the CPU, float32, in eval mode.

    Where the file stores no mean latent, it is estimated from 4096 seeded samples.

    Raises:
        CheckpointError: the file cannot be used, or holds no generator.
    """
    file, weights, mapped = open_checkpoint(path, "generator")
    if weights.generator is None:
        what = _contents_in_words(weights)
        raise CheckpointError(f"{file}: it holds {what} and no generator. Choose a generator's checkpoint.")
    with outside_inference_mode():
        config, state = weights.generator
        generator = build_network(lambda: Generator(config), state, file, mapped)
        mean = weights.mean_latent
        mean = generator.estimate_mean_latent(MEAN_LATENT_SAMPLES) if mean is None else mean.float().clone()
        if mean.shape != generator.mean_latent.shape:
            raise CheckpointError(f"{file}: its mean latent has shape {list(mean.shape)}, not [{config.w_dim}].")
        if not torch.isfinite(mean).all():
            raise CheckpointError(
                f"{file}: its mean latent holds values that are not finite numbers. Take another copy of the file."
            )
        generator.mean_latent.copy_(mean)
        discriminator = None
        if weights.discriminator is not None:
            critic = weights.discriminator[0]
            discriminator = build_network(lambda: Discriminator(critic), weights.discriminator[1], file, mapped)
    provenance = _provenance(file, weights)
    if weights.mean_latent is None:
        provenance["mean_latent"] = f"estimated from {MEAN_LATENT_SAMPLES} samples"
    return FaceGenerator(generator, discriminator, weights.style, provenance)


def load_discriminator(path: str | Path) -> Discriminator:
    """The discriminator of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no discriminator.
    """
    file, weights, mapped = open_checkpoint(path, "generator")
    if weights.discriminator is None:
        raise CheckpointError(
            f"{file}: it holds no discriminator. Choose a training checkpoint, which holds the generator and it."
        )
    with outside_inference_mode():
        config, state = weights.discriminator
        return build_network(lambda: Discriminator(config), state, file, mapped)


def load_encoder(path: str | Path) -> FaceEncoder:
    """The encoder of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no encoder.
    """
    file, weights, mapped = open_checkpoint(path, "encoder")
    if weights.encoder is None:
        raise CheckpointError(f"{file}: it holds no encoder. Choose a face encoder's checkpoint.")
    config, state = weights.encoder
    with outside_inference_mode():
        network: nn.Module = build_network(lambda: _encoder(config), state, file, mapped)
    provenance = _provenance(file, weights)
    return FaceEncoder(network, config.resolution, config.num_ws, config.w_dim, provenance)


def load_identity(path: str | Path) -> IdentityNetwork:
    """A network that tells people apart: dlib's, ArcFace, or the branch of an encoder of ours that began as dlib's; on
    the CPU, float32, in eval mode, not trainable.

    Raises:
        CheckpointError: the file cannot be used, or holds no such network.
    """
    file, weights, mapped = open_checkpoint(path, "encoder")
    if weights.encoder is not None and isinstance(weights.encoder[0], EncoderConfig) and weights.encoder[0].face_branch:
        branch: IdentityNetwork = load_encoder(path).network.face.requires_grad_(False)  # type: ignore[assignment]
        return branch
    if weights.embedding is None:
        raise CheckpointError(
            f"{file}: it holds {_contents_in_words(weights)} and no face recognition network. "
            "Choose embedded, dlib's `dlib_face_recognition_resnet_model_v1.dat`, or pSp's `model_ir_se50.pth`."
        )
    config, state = weights.embedding
    with outside_inference_mode():
        return build_network(lambda: _identity(config), state, file, mapped).requires_grad_(False)


def load_stylizer(path: str | Path) -> FaceStylizer:
    """The fast stylizer of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no fast stylizer.
    """
    file, weights, mapped = open_checkpoint(path, "stylizer")
    if weights.stylizer is None:
        raise CheckpointError(
            f"{file}: it holds {_contents_in_words(weights)} and no fast stylizer. Choose a file made by Save Fast "
            "Stylizer, or an embedded student."
        )
    config, state = weights.stylizer
    with outside_inference_mode():
        network = build_network(lambda: FastStylizer(config), state, file, mapped)
    return FaceStylizer(network, weights.style, _provenance(file, weights))


def save_stylizer(
    stylizer: FaceStylizer, path: str | Path, metadata: Mapping[str, Any] | None = None, half: bool = True
) -> None:
    """Saves a fast stylizer, its style's name and metadata as `.safetensors`; see `save_generator`."""
    entries = {**(metadata or {}), "style": stylizer.style}
    facestylist.write(Path(path), "stylizer", {"stylizer": stylizer.network}, entries, half)


def save_generator(
    generator: FaceGenerator, path: str | Path, metadata: Mapping[str, Any] | None = None, half: bool = False
) -> None:
    """Saves a generator, its discriminator where it has one, mean latent, style name and metadata as `.safetensors`.

    Args:
        metadata: further entries (provenance, training settings, licence note); what is not text becomes JSON.
        half: float16 tensors: half the size.

    Raises:
        CheckpointError: the name does not end in .safetensors, or the file cannot be written.
    """
    networks: dict[str, nn.Module] = {"generator": generator.generator}
    if generator.discriminator is not None:
        networks["discriminator"] = generator.discriminator
    entries = {**(metadata or {}), "style": generator.style, "w_space": generator.w_space}
    facestylist.write(Path(path), "generator", networks, entries, half)


def save_encoder(
    encoder: FaceEncoder,
    path: str | Path,
    metadata: Mapping[str, Any] | None = None,
    half: bool = False,
    generator: FaceGenerator | None = None,
) -> None:
    """Saves an encoder, the generator it belongs to where given, and metadata as `.safetensors`.

    Both `load_encoder` and `load_generator` then read the file, as they do pSp's and e4e's. Other arguments and errors
    are those of `save_generator`.
    """
    networks: dict[str, nn.Module] = {"encoder": encoder.network}
    entries = dict(metadata or {})
    if generator is not None:
        networks["generator"] = generator.generator
        entries |= {"style": generator.style, "w_space": generator.w_space}
    facestylist.write(Path(path), "encoder", networks, entries, half)


def save_identity(network: IdentityNetwork, path: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Saves a face recognition network and metadata as `.safetensors`; errors as in `save_generator`."""
    facestylist.write(Path(path), "embedding", {"embedding": network}, metadata or {}, False)


def open_checkpoint(path: str | Path, kind: str) -> tuple[Path, Weights, MappedFile | None]:
    """The file that `path` names, its networks and its mapping; every error names the file."""
    try:
        file = embedded.resolve(str(path), kind) if embedded.is_embedded(str(path)) else Path(path)
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from error
    try:
        with torch.inference_mode(False):
            contents = read_contents(file)
            for fmt in FORMATS:
                if fmt.detect(contents):
                    return file, parse_weights(fmt.read, contents), contents.file
        raise CheckpointError(refused.reason(contents))
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _provenance(file: Path, weights: Weights) -> dict[str, str]:
    """Where a network came from: this file, and where the file says that it came from."""
    entries = {name: value for name, value in weights.metadata.items() if name not in facestylist.RESERVED}
    for name in ORIGIN:
        earlier = entries.pop(name, None)
        if earlier:
            entries.setdefault(f"origin_{name}", earlier)
    licence = licences.note(weights.family, weights.metadata)
    if licence:
        entries.setdefault("licence", licence)
    status = file.stat()
    short = _short_hash(file.resolve(), status.st_size, status.st_mtime_ns)
    return {**entries, "file": file.name, "family": weights.family, "sha256": short}


@lru_cache(maxsize=256)
def _short_hash(path: Path, size: int, modified: int) -> str:
    """First 16 digits of a file's SHA-256; reading a large one again is spared while its size and time stay."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def parse_weights(read: Any, contents: Any) -> Weights:
    """The file's networks, their configurations being ones that networks have."""
    try:
        weights: Weights = read(contents)
        for network in (weights.generator, weights.discriminator, weights.encoder, weights.embedding, weights.stylizer):
            if network is not None:
                check_config(network[0])
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise CheckpointError(
            f"it is incomplete or damaged ({reason}). Download it again, or take another copy."
        ) from error
    if not any((weights.generator, weights.discriminator, weights.encoder, weights.embedding, weights.stylizer)):
        raise CheckpointError("it holds no network.")
    return weights


def _encoder(config: EncoderConfig | PspConfig) -> nn.Module:
    return PspEncoder(config) if isinstance(config, PspConfig) else Encoder(config)


def _identity(config: ArcFaceConfig | DlibConfig) -> IdentityNetwork:
    return DlibFace(config) if isinstance(config, DlibConfig) else ArcFace(config)


def _contents_in_words(weights: Weights) -> str:
    kinds = {
        "an encoder": weights.encoder,
        "a generator": weights.generator,
        "a face recognition network": weights.embedding,
        "a discriminator": weights.discriminator,
        "a fast stylizer": weights.stylizer,
    }
    return next(kind for kind, network in kinds.items() if network is not None)


def _parameter_count(state: State) -> int:
    buffers = (
        "noise_const",
        "mean_latent",
        "latent_std",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    )
    return sum(tensor.numel() for name, tensor in state.items() if not name.endswith(buffers))

"""Networks from files: which file a path or name means, what it holds, and the network that is wanted of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...core import assets as embedded
from ..discriminator import Discriminator, DiscriminatorConfig
from ..dlib import DlibConfig, DlibFace
from ..encoder import Encoder, EncoderConfig
from ..generator import Generator, GeneratorConfig
from ..identity import IdentityNetwork
from ..irse import ArcFace
from ..psp import PspConfig, PspEncoder
from ..stylizer import FastStylizer
from ..types import FaceEncoder, FaceGenerator, FaceStylizer
from . import other_files
from .build import absent_tensors, build_network, check_config, outside_inference_mode
from .contents import CheckpointInfo, State, Weights
from .errors import CheckpointError, in_words
from .formats import FORMATS, facestylist
from .reader import read_contents
from .tensors import MappedFile

NAMED = 6
"""Missing tensors that `inspect` names."""
ORIGIN = ("file", "family", "sha256")
"""Entries of a provenance that say which file a network was read from."""
MEAN_LATENT_SAMPLES = 4096
"""As many as rosinality's own programs take; more would take longer than reading the file."""
NETWORKS: dict[str, Callable[[Any], nn.Module]] = {
    "encoder": lambda config: PspEncoder(config) if isinstance(config, PspConfig) else Encoder(config),
    "generator": Generator,
    "embedding": lambda config: DlibFace(config) if isinstance(config, DlibConfig) else ArcFace(config),
    "discriminator": Discriminator,
    "stylizer": FastStylizer,
}
"""What a file may hold. Published encoders come with the generator they belong to; such a file is an encoder."""
_FFHQ = "Weights trained on FFHQ (or converted from such) are for non-commercial use, as the data set's terms are."

LICENCES: dict[str, str] = {
    "nvidia": f"NVIDIA's own weights: NVIDIA Source Code License, non-commercial research or evaluation. {_FFHQ}",
    "rosinality": f"The code's licence is MIT; weights keep the terms of what they were trained on. {_FFHQ}",
    "jojogan": f"The code's licence is MIT. {_FFHQ}",
    "stylegan_nada": f"The code's licence is MIT. {_FFHQ}",
    "dualstylegan": f"S-Lab License 1.0: non-commercial use. {_FFHQ}",
    "psp": f"The code's licence is MIT. {_FFHQ}",
    "e4e": f"The code's licence is MIT. {_FFHQ}",
    "restyle": f"The code's licence is MIT. {_FFHQ}",
    "dlib": "Weights by Davis King, CC0: free for any use. Its faces came from FaceScrub, VGG Face and the internet.",
    "arcface": "The code's licence is MIT; the faces it was trained on (MS-Celeb-1M) were collected for research only.",
}
"""What is known of the terms under which files of each family are published: shown to people, never interpreted."""
IN_WORDS = {"encoder": "an encoder", "embedding": "a face recognition network", "stylizer": "a fast stylizer"}


def inspect(path: str | Path) -> CheckpointInfo:
    """What the file is, told from its names and shapes; no network is built.

    Raises:
        CheckpointError: it is missing, damaged, of no known kind, or would have to run code.
    """
    _, weights, _ = open_checkpoint(path, "generator")
    kind = _kind(weights)
    config, state = getattr(weights, kind)
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
        licence=_licence(weights),
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
        of_d, state = weights.discriminator
        absent += [f"discriminator.{name}" for name in absent_tensors(lambda: Discriminator(of_d), state)]
    if len(absent) > NAMED:
        absent = [*absent[:NAMED], f"{len(absent) - NAMED} more tensors, so that it cannot be loaded"]
    return (*lacks, *absent)


def load_generator(path: str | Path) -> FaceGenerator:
    """The generator of a file, with its discriminator where the file has one; on the CPU, float32, in eval mode.

    Where the file stores no mean latent, it is estimated from 4096 seeded samples.

    Raises:
        CheckpointError: the file cannot be used, or holds no generator.
    """
    opened = open_checkpoint(path, "generator")
    file, weights, _ = opened
    generator = _load(opened, "generator", "{holds} and no generator. Choose a generator's checkpoint.")
    discriminator = _load(opened, "discriminator") if weights.discriminator is not None else None
    with outside_inference_mode():
        mean = weights.mean_latent
        mean = generator.estimate_mean_latent(MEAN_LATENT_SAMPLES) if mean is None else mean.float().clone()
        if mean.shape != generator.mean_latent.shape:
            wanted = list(generator.mean_latent.shape)
            raise CheckpointError(f"{file}: its mean latent has shape {list(mean.shape)}, not {wanted}.")
        if not torch.isfinite(mean).all():
            raise CheckpointError(
                f"{file}: its mean latent holds values that are not finite numbers. Take another copy of the file."
            )
        generator.mean_latent.copy_(mean)
    provenance = _provenance(file, weights)
    if weights.mean_latent is None:
        provenance["mean_latent"] = f"estimated from {MEAN_LATENT_SAMPLES} samples"
    return FaceGenerator(generator, discriminator, weights.style, provenance)


def load_discriminator(path: str | Path) -> Discriminator:
    """The discriminator of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no discriminator.
    """
    lacks = "no discriminator. Choose a training checkpoint, which holds the generator and it."
    network: Discriminator = _load(open_checkpoint(path, "generator"), "discriminator", lacks)
    return network


def load_encoder(path: str | Path) -> FaceEncoder:
    """The encoder of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no encoder.
    """
    opened = file, weights, _ = open_checkpoint(path, "encoder")
    network = _load(opened, "encoder", "no encoder. Choose a face encoder's checkpoint.")
    config = network.config
    return FaceEncoder(network, config.resolution, config.num_ws, config.w_dim, _provenance(file, weights))


def load_identity(path: str | Path) -> IdentityNetwork:
    """A network that tells people apart: dlib's, ArcFace, or the branch of an encoder of ours that began as dlib's; on
    the CPU, float32, in eval mode, not trainable.

    Raises:
        CheckpointError: the file cannot be used, or holds no such network.
    """
    opened = open_checkpoint(path, "encoder")
    encoder = opened[1].encoder
    if encoder is not None and isinstance(encoder[0], EncoderConfig) and encoder[0].face_branch:
        network: IdentityNetwork = _load(opened, "encoder").face
    else:
        network = _load(
            opened,
            "embedding",
            "{holds} and no face recognition network. Choose embedded, dlib's "
            "`dlib_face_recognition_resnet_model_v1.dat`, or pSp's `model_ir_se50.pth`.",
        )
    return network.requires_grad_(False)


def load_stylizer(path: str | Path) -> FaceStylizer:
    """The fast stylizer of a file, on the CPU, float32, in eval mode.

    Raises:
        CheckpointError: the file cannot be used, or holds no fast stylizer.
    """
    opened = file, weights, _ = open_checkpoint(path, "stylizer")
    lacks = "{holds} and no fast stylizer. Choose a file made by Save Fast Stylizer, or an embedded student."
    return FaceStylizer(_load(opened, "stylizer", lacks), weights.style, _provenance(file, weights))


Opened = tuple[Path, Weights, MappedFile | None]


def open_checkpoint(path: str | Path, kind: str) -> Opened:
    """The file that `path` names, its networks and its mapping; every error names the file."""
    try:
        file = embedded.resolve(str(path), kind) if embedded.is_embedded(str(path)) else Path(path)
    except FileNotFoundError as error:
        raise CheckpointError(str(error)) from error
    with in_words(file), torch.inference_mode(False):
        contents = read_contents(file)
        read = next((fmt.read for fmt in FORMATS if fmt.detect(contents)), None)
        if read is None:
            raise CheckpointError(other_files.reason(contents))
        weights: Weights = read(contents)
        for part in NETWORKS:
            if getattr(weights, part) is not None:
                check_config(getattr(weights, part)[0])
        if _kind(weights) == "":
            raise CheckpointError("it holds no network.")
    return file, weights, contents.file


def _load(opened: Opened, part: str, lacks: str = "") -> Any:
    """One network of a file; where the file has none, the error says so with `lacks`."""
    file, weights, mapped = opened
    found = getattr(weights, part)
    if found is None:
        kind = _kind(weights)
        raise CheckpointError(f"{file}: it holds {lacks.format(holds=IN_WORDS.get(kind, f'a {kind}'))}")
    config, state = found
    with outside_inference_mode():
        return build_network(lambda: NETWORKS[part](config), state, file, mapped)


def _kind(weights: Weights) -> str:
    """The part that a file is called by; empty where it holds no network."""
    return next((part for part in NETWORKS if getattr(weights, part) is not None), "")


def _provenance(file: Path, weights: Weights) -> dict[str, str]:
    """Where a network came from: this file, and where the file says that it came from."""
    entries = {name: value for name, value in weights.metadata.items() if name not in facestylist.RESERVED}
    for name in ORIGIN:
        earlier = entries.pop(name, None)
        if earlier:
            entries.setdefault(f"origin_{name}", earlier)
    licence = _licence(weights)
    if licence:
        entries.setdefault("licence", licence)
    status = file.stat()
    short = _short_hash(file.resolve(), status.st_size, status.st_mtime_ns)
    return {**entries, "file": file.name, "family": weights.family, "sha256": short}


def _licence(weights: Weights) -> str:
    """A sentence or two about the terms: the file's own, where it states any."""
    own = weights.metadata.get("licence") or weights.metadata.get("license")
    return own or LICENCES.get(weights.family, "")


@lru_cache(maxsize=256)
def _short_hash(path: Path, size: int, modified: int) -> str:
    """First 16 digits of a file's SHA-256; reading a large one again is spared while its size and time stay."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


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

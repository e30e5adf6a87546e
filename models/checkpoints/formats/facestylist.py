"""This project's own format: one `.safetensors` file, its architecture and origin in the metadata.

Tensors are `generator.*` (with `generator.mean_latent`), `discriminator.*`, `encoder.*` (ours, or pSp, e4e and ReStyle,
which the configuration's `architecture` tells apart), `embedding.*` (ArcFace, or dlib's, which has no `trunk`) or
`stylizer.*` (a fast stylizer), by the names of our modules.
Metadata: `format` "facestylist", `format_version`, `kind`, `config` (JSON: the configurations), `style`, `w_space`, and
whatever else was given, all as text. A reader takes any version up to its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.files import replacing, write_atomically
from ...discriminator import DiscriminatorConfig
from ...dlib import DlibConfig
from ...encoder import EncoderConfig
from ...generator import GeneratorConfig
from ...irse import ArcFaceConfig
from ...psp import PspConfig
from ...stylizer import FastStylizerConfig
from ..contents import Contents, Weights
from ..errors import CheckpointError

FAMILY = "facestylist"
FORMAT_VERSION = 1
HALF_LIMIT = 65504.0
RESERVED = ("format", "format_version", "kind", "config", "style", "w_space")


def detect(contents: Contents) -> bool:
    """Whether the metadata says that this project wrote the file."""
    return contents.container == "safetensors" and contents.metadata.get("format") == FAMILY


def read(contents: Contents) -> Weights:
    """The file's networks.

    Raises:
        CheckpointError: a newer version wrote it, or it is another kind of network (the face detector).
    """
    metadata = contents.metadata
    try:
        version = int(metadata.get("format_version", "1"))
        config = json.loads(metadata.get("config", ""))
    except ValueError as error:
        raise CheckpointError(f"its metadata is damaged ({error}). Save it again, or take another copy.") from error
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"it has format version {version} and this program reads up to {FORMAT_VERSION}. Update the node pack."
        )
    if not {"generator", "discriminator", "encoder", "embedding", "stylizer"} & set(config):
        kind = metadata.get("kind", "network of another kind")
        raise CheckpointError(f"it holds a {kind}, not a generator or an encoder.")
    networks: dict[str, Any] = {}
    for name, architecture in (
        ("generator", GeneratorConfig),
        ("discriminator", DiscriminatorConfig),
        ("encoder", PspConfig if "architecture" in config.get("encoder", {}) else EncoderConfig),
        ("embedding", ArcFaceConfig if "trunk" in config.get("embedding", {}) else DlibConfig),
        ("stylizer", FastStylizerConfig),
    ):
        if name in config:
            networks[name] = (architecture(**config[name]), _under(contents.data, name))
    mean = contents.data.get("generator.mean_latent")
    return Weights(
        family=FAMILY,
        mean_latent=None if mean is None else mean.float(),
        style=metadata.get("style", ""),
        metadata={name: value for name, value in metadata.items() if name not in ("format", "kind", "config", "style")},
        **networks,
    )


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def write(
    path: Path,
    kind: str,
    networks: Mapping[str, Any],
    metadata: Mapping[str, Any],
    half: bool,
) -> None:
    """Saves networks that have a `config` dataclass, whole or not at all (temporary file, fsync, rename).

    Args:
        path: must end in `.safetensors`; its folder is made.
        kind: what the file is, for people and `inspect`.
        networks: modules by the prefix of their tensors: "generator", "discriminator", "encoder".
        metadata: more entries; those that are not text are written as JSON.
        half: store float16, but for latents (which decide what a code means) and tensors beyond its range.

    Raises:
        CheckpointError: the name is another, or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if path.suffix.lower() != ".safetensors":
        raise CheckpointError(f"{path}: checkpoints are saved as .safetensors. Give a name that ends so.")
    tensors = {
        f"{name}.{key}": _stored(key, tensor, half)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    configs = {name: dataclasses.asdict(network.config) for name, network in networks.items()}
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    text |= {"format": FAMILY, "format_version": str(FORMAT_VERSION), "kind": kind, "config": json.dumps(configs)}
    with _refusals(path), replacing(path) as temporary:
        try:
            save_file(tensors, temporary, text)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def _stored(key: str, tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().to("cpu").contiguous()
    if tensor.untyped_storage().nbytes() != tensor.nbytes:
        # A part of something larger, which safetensors would refuse. Others are not copied: encoders have a gigabyte.
        tensor = tensor.clone()
    if not half or tensor.dtype != torch.float32 or key.startswith(("mean_latent", "latent_")):
        return tensor
    return tensor if tensor.numel() and tensor.abs().max() > HALF_LIMIT else tensor.half()


def save_bytes(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Writes a file whole or not at all, and makes its folder.

    Raises:
        CheckpointError: it cannot be written.
    """
    with _refusals(path):
        write_atomically(path, data)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path} cannot be written ({reason}). Choose another folder.") from error

"""Networks into files of our own format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..identity import IdentityNetwork
from ..types import FaceEncoder, FaceGenerator, FaceStylizer
from .formats import facestylist


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

"""What every format module gives back, in one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..discriminator import DiscriminatorConfig
from ..dlib import DlibConfig
from ..encoder import EncoderConfig
from ..generator import GeneratorConfig
from ..irse import ArcFaceConfig
from ..psp import PspConfig
from ..stylizer import FastStylizerConfig

if TYPE_CHECKING:
    from .tensors import MappedFile


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint is, without a network having been built."""

    family: str
    """Who wrote it: rosinality, nvidia, psp, e4e, restyle, arcface, dlib, jojogan, stylegan_nada, dualstylegan or
    facestylist."""
    kind: str
    """"generator", "discriminator" (no generator in the file), "encoder" (maybe with its generator), "embedding" or
    "stylizer"."""
    resolution: int
    """Height and width of the pictures it makes or takes; 0 where any will do."""
    num_ws: int | None
    z_dim: int | None
    w_dim: int | None
    channels: dict[int, int]
    """Width of each resolution; empty for an encoder."""
    has_discriminator: bool
    has_mean_latent: bool
    parameters: int
    """Number of learned values of the generator or encoder, and of the discriminator where it is all there is."""
    metadata: dict[str, str]
    """What else the file says about itself."""
    architecture: str | None = None
    """Of a generator: "skip" (the usual one), "resnet" or "orig"."""
    has_generator: bool = False
    missing: tuple[str, ...] = ()
    """What one might look for in such a file and would not find, in words; tensors that are missing by their names."""
    licence: str = ""
    """What is known of the terms for files of this family, or what the file itself says."""


@dataclass(frozen=True)
class Contents:
    """A file as read from disk, before anyone knows what it means."""

    path: Path
    container: str
    """"safetensors", "torch", "pickle", "dlib" or "tfjs"."""
    data: Any
    """The tensors by name, a list of layers ("dlib"), or whatever object the file holds; classes other than plain data
    are inert records."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    file: MappedFile | None = None
    """The mapping that the tensors are views of."""


State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Weights:
    """A checkpoint understood: configurations, and tensors by the names of our own modules.

    A tensor may have the layout of its format (leading ones, a [1] for a scalar): only reshapes are left to be done.
    """

    family: str
    generator: tuple[GeneratorConfig, State] | None = None
    discriminator: tuple[DiscriminatorConfig, State] | None = None
    encoder: tuple[EncoderConfig | PspConfig, State] | None = None
    embedding: tuple[ArcFaceConfig | DlibConfig, State] | None = None
    stylizer: tuple[FastStylizerConfig, State] | None = None
    mean_latent: Tensor | None = None
    style: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

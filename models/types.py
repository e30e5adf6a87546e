"""What travels along the wires between nodes: one frozen dataclass for each.

Pictures are `[B, 3, H, W]` float32 in -1..1. Coordinates are continuous pixels (x right, y down) with the origin at the
top-left corner of the picture, so the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .discriminator import Discriminator
from .generator import Generator
from .stylizer import FastStylizer


@dataclass(frozen=True, eq=False)
class FaceGenerator:
    """A StyleGAN2 generator with what is known about it (socket FACE_GENERATOR)."""

    generator: Generator
    discriminator: Discriminator | None
    """Needed only to fine-tune; None where the file had none."""
    style: str = ""
    """Name of the style, empty for a base generator."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it came from: file, format, training settings, licence note. Shown to people, never interpreted."""

    @property
    def mean_latent(self) -> Tensor:
        """`[w_dim]`, the centre of W that truncation moves towards."""
        return self.generator.mean_latent

    @property
    def resolution(self) -> int:
        """Height and width of its pictures."""
        return self.generator.config.resolution

    @property
    def num_ws(self) -> int:
        """Number of codes in W+."""
        return self.generator.num_ws

    @property
    def w_dim(self) -> int:
        """Length of one code."""
        return self.generator.config.w_dim

    @cached_property
    def w_space(self) -> str:
        """Short hash of the mapping network and the mean latent: generators that share W have the same one.

        Fine-tuning with a frozen mapping keeps it, so a face found in the base generator can be drawn by the style.
        """
        digest = hashlib.sha256()
        state = self.generator.mapping.state_dict()
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(_hashable(state[name]))
        digest.update(_hashable(self.mean_latent))
        return digest.hexdigest()[:16]

    @cached_property
    def digest(self) -> str:
        """Short hash of what draws (weights and noise of the synthesis network): the same latents, the same pictures.

        A file saved at half precision keeps it. Weights that are changed in place afterwards are not noticed.
        """
        digest = hashlib.sha256()
        state = self.generator.synthesis.state_dict()
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(_hashable(state[name]))
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> FaceGenerator:
        """A copy on a device; this one stays where it is."""
        # Copies made in inference mode could neither be trained nor differentiated through.
        with torch.inference_mode(False):
            discriminator = None if self.discriminator is None else copy.deepcopy(self.discriminator).to(device)
            generator = copy.deepcopy(self.generator).to(device)
        return self.replace(generator=generator, discriminator=discriminator)

    def replace(self, **changes: Any) -> FaceGenerator:
        """A copy with the given fields changed."""
        return replace(self, **changes)


def _hashable(tensor: Tensor) -> bytes:
    # Rounding to float16 lets a file saved at half precision keep the identity of the one it was saved from.
    return tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes()


@dataclass(frozen=True, eq=False)
class FaceEncoder:
    """A network that turns an aligned face into W+ (socket FACE_ENCODER)."""

    network: nn.Module
    """`image [N, 3, resolution, resolution] -> w_plus [N, num_ws, w_dim]`."""
    resolution: int
    """Height and width of the picture it takes."""
    num_ws: int
    w_dim: int
    provenance: Mapping[str, str] = field(default_factory=dict)

    def replace(self, **changes: Any) -> FaceEncoder:
        """A copy with the given fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class FaceStylizer:
    """A feed-forward network that draws pictures in a style (socket FACE_STYLIZER)."""

    network: FastStylizer
    """`pictures [N, 3, H, W], level [N] -> [N, 3, H, W]`."""
    style: str = ""
    """Name of the style."""
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where it came from: file, training settings, licence note. Shown to people, never interpreted."""

    @property
    def medium(self) -> str:
        """What it draws with."""
        return self.network.config.medium

    def replace(self, **changes: Any) -> FaceStylizer:
        """A copy with the given fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class FaceLatent:
    """Faces as codes of a generator (socket FACE_LATENT)."""

    w_plus: Tensor
    """`[N, num_ws, w_dim]`."""
    noise: tuple[Tensor, ...] | None = None
    """The noise they were found with, `[1 or N, 1, r, r]` per convolution; None for the generator's."""
    w_space: str = ""
    """`FaceGenerator.w_space` of the generator they belong to."""
    reconstruction_error: Tensor | None = None
    """`[N]` mean squared error of the reconstruction in -1..1, None where unknown."""
    generator: str = ""
    """Name of the generator they were found with, for messages."""
    identity_distance: Tensor | None = None
    """`[N]` distance of the face from its reconstruction in the encoder's descriptor, `dlib.SAME_PERSON` and less being
    the same person; None where unknown."""

    def __len__(self) -> int:
        return self.w_plus.shape[0]

    def select(self, faces: slice | list[int]) -> FaceLatent:
        """Some of the faces, with what is known of each; noise that all share stays whole."""
        noise, error, distance = self.noise, self.reconstruction_error, self.identity_distance
        return self.replace(
            w_plus=self.w_plus[faces],
            noise=None if noise is None else tuple(n if n.shape[0] == 1 else n[faces] for n in noise),
            reconstruction_error=None if error is None else error[faces],
            identity_distance=None if distance is None else distance[faces],
        )

    def replace(self, **changes: Any) -> FaceLatent:
        """A copy with the given fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class FaceDirections:
    """Ways to change a face: directions in W or W+ (socket FACE_DIRECTIONS)."""

    vectors: Tensor
    """`[K, 1, w_dim]`, the same for every layer, or `[K, num_ws, w_dim]`."""
    scale: Tensor
    """`[K]`: how far a strength of 1 goes along each, in units of its vector."""
    layers: tuple[int, ...]
    """The codes of W+ they were found for, and act on unless told otherwise."""
    w_space: str = ""
    """`FaceGenerator.w_space` of the generator they belong to."""
    origin: str = ""
    """How they were found, for people."""

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def replace(self, **changes: Any) -> FaceDirections:
        """A copy with the given fields changed."""
        return replace(self, **changes)


def device_of(generator: FaceGenerator) -> torch.device:
    """Where its network is at the moment."""
    return next(generator.generator.parameters()).device


def name_of(generator: FaceGenerator) -> str:
    """The style's name for a message, or what to call a generator that has none."""
    return f"'{generator.style}'" if generator.style else "without a style"

"""What makes a look: how it changes the person, and how it turns the painted surface into a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..camera import Scene
from ..paint import GBuffer
from ..parameters import FaceParameters


def unchanged(parameters: FaceParameters) -> FaceParameters:
    """The person as they are."""
    return parameters


@dataclass(frozen=True)
class Look:
    """One way to draw a face.

    Attributes:
        name: as users type it.
        description: one line for tooltips.
        shade: (scene, painted surface, pixel footprint in head units) -> sRGB picture `[B, 3, H, W]` 0..1 and label
            map `[B, 1, H, W]`, at the supersampled size.
        adjust: changes the person first (a style may change geometry).
        texture: 1 with skin and hair texture, 0 flat areas of colour.
        fused: whether `torch.compile` should fuse `shade` (plain per-pixel arithmetic).
    """

    name: str
    description: str
    shade: Callable[[Scene, GBuffer, float], tuple[Tensor, Tensor]]
    adjust: Callable[[FaceParameters], FaceParameters] = unchanged
    texture: float = 1.0
    fused: bool = False

"""Faces as pictures, with the truth about them: label maps and landmarks, in any look."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .camera import Scene, make_scene, rays
from .geometry import figure_surface
from .landmarks import landmarks_68
from .looks import LOOKS, Look
from .paint import GBuffer, paint_surface
from .parameters import FaceParameters, select

CHUNK = 8  # faces rendered at a time: the working set stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Rendered:
    """Pictures and what is in them.

    Attributes:
        image: `[B, 3, S, S]` float32 -1..1.
        labels: `[B, S, S]` uint8, values of `Label`.
        landmarks: `[B, 68, 2]` pixels (x, y), origin at the top-left corner.
    """

    image: Tensor
    labels: Tensor
    landmarks: Tensor

    @property
    def alpha(self) -> Tensor:
        """The figure's mask `[B, S, S]`, 0 or 1."""
        return (self.labels != 0).float()


def can_compile() -> bool:
    """Whether a C++ compiler is there for `torch.compile` on the CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def march(s: Scene, X: Tensor, Y: Tensor, Z: Tensor) -> Tensor:
    """Four steps of every ray along -z towards the surface."""
    for _ in range(4):
        Z = (Z - figure_surface(s, X, Y, Z).clamp(-0.2, 0.5) * 0.95).clamp(min=-1.6)
    return Z


class Renderer:
    """Renders faces; holds the compiled kernels.

    Args:
        compiled: fuse the kernels with `torch.compile` (3-5 times faster after a minute of compiling; needs a C++
            compiler on CPU). False runs the same code eagerly.
        device: where to render.
    """

    def __init__(self, compiled: bool = False, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

        def prepare(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, dynamic=False) if compiled else function

        self._march = prepare(march)
        self._paint = prepare(paint_surface)
        self._shaders = {name: prepare(look.shade) if look.fused else look.shade for name, look in LOOKS.items()}

    def surface(self, s: Scene, size: int, offset: tuple[float, float] = (0.0, 0.0)) -> tuple[Tensor, Tensor, Tensor]:
        """Camera coordinates of what the pixels of a `size` picture see, found from coarse to fine."""
        X, Y = rays(s, size // 4)
        Z = torch.full_like(X, 1.25)
        for _ in range(5):
            Z = self._march(s, X, Y, Z)
        for factor, passes in ((2, 2), (1, 3)):
            # Rays restart before the nearest surface among their neighbours, so that no silhouette is missed.
            Z = F.interpolate(F.max_pool2d(Z, 3, 1, 1), scale_factor=2, mode="bilinear") + 0.02
            X, Y = rays(s, size // factor, offset if factor == 1 else (0.0, 0.0))
            for _ in range(passes):
                Z = self._march(s, X, Y, Z)
        return X, Y, Z

    def gbuffer(self, s: Scene, size: int, texture: float = 1.0, offset: tuple[float, float] = (0.0, 0.0)) -> GBuffer:
        """The painted surface of a `size` x `size` picture."""
        X, Y, Z = self.surface(s, size, offset)
        return self._paint(s, X, Y, Z, 2.2 / size, texture)

    def shade(self, look: str, s: Scene, g: GBuffer, footprint: float) -> tuple[Tensor, Tensor]:
        """A look's picture `[B, 3, S, S]` in 0..1 and label map of a painted surface."""
        return self._shaders[look](s, g, footprint)

    @torch.no_grad()
    def render(
        self,
        parameters: FaceParameters,
        size: int = 128,
        look: str = "photo",
        supersample: int = 2,
        fast: bool = False,
    ) -> Rendered:
        """Renders every face of `parameters`.

        Args:
            size: side of the picture in pixels, a multiple of 4.
            look: a name from `LOOKS`.
            supersample: samples per pixel along each axis, 1..4.
            fast: for looks that shade pixel by pixel, the mean of two pictures a quarter of a pixel apart in place of
                `supersample` squared samples: half the work, edges a little less smooth.

        Raises:
            ValueError: unknown look, or a size that is not a positive multiple of 4.
        """
        if look not in LOOKS:
            raise ValueError(f"There is no look '{look}'. Choose one of: {', '.join(LOOKS)}.")
        if size < 16 or size % 4:
            raise ValueError(f"Pictures of {size} pixels cannot be rendered. Use a multiple of 4 from 16 up.")
        count = len(next(iter(parameters.values())))
        if count == 0:
            raise ValueError("There are no faces to render. Ask for at least one.")
        parts = []
        for start in range(0, count, CHUNK):
            chunk = select(parameters, slice(start, start + CHUNK))
            missing = CHUNK - len(chunk["yaw"])
            if missing and count > CHUNK:  # keep the compiled shape
                chunk = {name: torch.cat([v, v[:1].expand(missing, -1)]) for name, v in chunk.items()}
            part = self._render_chunk(chunk, size, LOOKS[look], supersample, fast and LOOKS[look].fused)
            parts.append(tuple(t[: len(t) - missing] if missing and count > CHUNK else t for t in part))
        image, labels, landmarks = (torch.cat(column) for column in zip(*parts, strict=True))
        return Rendered(image, labels, landmarks)

    def _render_chunk(
        self, chunk: FaceParameters, size: int, look: Look, supersample: int, fast: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        chunk = {name: v.to(self.device) for name, v in look.adjust(chunk).items()}
        s = make_scene(chunk)
        if fast:
            pictures = []
            for offset in (0.25, -0.25):
                g = self.gbuffer(s, size, look.texture, (offset, offset))
                picture, label = self._shaders[look.name](s, g, 2.2 / size)
                pictures.append(picture)
            picture, supersample = (pictures[0] + pictures[1]) / 2, 1
        else:
            fine = size * supersample
            g = self.gbuffer(s, fine, look.texture)
            picture, label = self._shaders[look.name](s, g, 2.2 / fine)
        image = F.avg_pool2d(picture, supersample) if supersample > 1 else picture
        labels = label[:, 0, supersample // 2 :: supersample, supersample // 2 :: supersample]
        return (image * 2 - 1).float().cpu(), labels.to(torch.uint8).cpu(), landmarks_68(s, size).cpu()


_shared: dict[bool, Renderer] = {}


def render(
    parameters: FaceParameters, size: int = 128, look: str = "photo", supersample: int = 2, compiled: bool = False
) -> Rendered:
    """`Renderer.render` with a renderer that is made once and kept."""
    if compiled not in _shared:
        _shared[compiled] = Renderer(compiled)
    return _shared[compiled].render(parameters, size, look, supersample)

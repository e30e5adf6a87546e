"""Portraits as batches: held in memory at 8 bits, bent and relit a little differently each time.

A few thousand people do not show all shapes that faces have. A smooth random bend of a portrait is a face that nobody
has, lit and drawn as true faces are: what is learned from them holds for people who are not in the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KNOTS = 5
"""The bend is given on a grid of so many points a side."""
PART = 32
"""So many pictures at a time become floating-point numbers."""


@dataclass(frozen=True, eq=False)
class Portraits:
    """Aligned faces in memory."""

    images: Tensor
    """`[N, 3, S, S]` uint8."""
    weights: Tensor
    """`[N]`: how often each is shown, relative to the others."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """S."""
        return int(self.images.shape[-1])

    def at(self, size: int) -> Portraits:
        """The same at another size."""
        if size == self.size:
            return self
        parts = [
            F.interpolate(part.float(), size=(size, size), mode="bicubic", antialias=True).clamp(0, 255).round().byte()
            for part in self.images.split(PART)
        ]
        return Portraits(torch.cat(parts), self.weights)

    def parts(self, count: int | None = None) -> Iterator[Tensor]:
        """The first `count` pictures, or all, in -1..1, some at a time."""
        for part in self.images[:count].split(PART):
            yield part.float() / 127.5 - 1

    def batch(
        self,
        count: int,
        random: torch.Generator,
        warp: float,
        device: torch.device | None = None,
        shard: Callable[[Tensor], Tensor] = lambda batch: batch,
    ) -> Tensor:
        """A shard of `count` pictures in -1..1, drawn with their weights, mirrored at random, bent and relit by `warp`,
        on a device. What is drawn does not depend on device and shard."""
        index = torch.multinomial(self.weights, count, replacement=True, generator=random)
        mirrored = shard(torch.rand(count, 1, 1, 1, generator=random) < 0.5).to(device)
        bends, lights = draw_bends(count, random, warp), draw_lights(count, random, warp)
        pictures = self.images[shard(index)].to(device).float() / 127.5 - 1
        pictures = torch.where(mirrored, pictures.flip(3), pictures)
        if not warp:
            return pictures
        pictures = bent(pictures, *(shard(x).to(device) for x in bends))
        return relit(pictures, *(shard(x).to(device) for x in lights))


def draw_bends(count: int, random: torch.Generator, amount: float) -> tuple[Tensor, Tensor]:
    """Maps `[N, 2, 3]` that turn, scale and shift by some per cent, and smooth displacements `[N, 2, K, K]`, both in
    half sides of the picture."""

    def normal(scale: float, *shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random) * (scale * amount)

    angle, scale, shift = normal(0.045), 1 + normal(0.03), normal(0.02, 2)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    return torch.stack(rows, 1), normal(0.022, 2, KNOTS, KNOTS)


def draw_lights(count: int, random: torch.Generator, amount: float) -> tuple[Tensor, Tensor]:
    """Factors `[N, 3, 1, 1]` of the colours from black up, and offsets `[N, 1, 1, 1]`."""

    def uniform(reach: float, channels: int = 1) -> Tensor:
        return (torch.rand(count, channels, 1, 1, generator=random) - 0.5) * (2 * reach * min(amount, 2.0))

    return (1 + uniform(0.2)) * (1 + uniform(0.06, 3)), uniform(0.08)


def bent(pictures: Tensor, maps: Tensor, displacements: Tensor) -> Tensor:
    """Pictures `[N, 3, S, S]`, each turned, scaled, shifted and bent; see `draw_bends`."""
    places = F.affine_grid(maps, list(pictures.shape), align_corners=False)
    size = pictures.shape[-2:]
    bend = F.interpolate(displacements, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    return F.grid_sample(pictures, places + bend, mode="bilinear", padding_mode="reflection", align_corners=False)


def relit(pictures: Tensor, factors: Tensor, offsets: Tensor) -> Tensor:
    """Pictures `[N, 3, S, S]` in -1..1, each a little brighter or darker, warmer or colder; see `draw_lights`."""
    return ((pictures + 1) * factors + offsets - 1).clamp(-1, 1)

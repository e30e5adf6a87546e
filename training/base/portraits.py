"""Portraits as batches: held in memory at 8 bits, bent and relit a little differently each time.

A few thousand people do not show all shapes that faces have. A smooth random bend of a portrait is a face that nobody
has, lit and drawn as true faces are: what is learned from them holds for people who are not in the folder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KNOTS = 5
"""The bend is given on a grid of so many points a side."""


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
            for part in self.images.split(64)
        ]
        return Portraits(torch.cat(parts), self.weights)

    def floats(self, index: Tensor | slice) -> Tensor:
        """Pictures `[n, 3, S, S]` in -1..1."""
        return self.images[index].float() / 127.5 - 1

    def batch(self, count: int, random: torch.Generator, warp: float) -> Tensor:
        """`[count, 3, S, S]` in -1..1, drawn with their weights, mirrored at random, bent and relit by `warp`."""
        index = torch.multinomial(self.weights, count, replacement=True, generator=random)
        pictures = self.floats(index)
        mirrored = torch.rand(count, generator=random) < 0.5
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
        return relit(bent(pictures, random, warp), random, warp) if warp else pictures


def bent(pictures: Tensor, random: torch.Generator, amount: float) -> Tensor:
    """Each picture `[N, 3, S, S]` turned, scaled and shifted by some per cent and bent smoothly."""
    count, size = len(pictures), pictures.shape[-1]

    def normal(scale: float, *shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random) * (scale * amount)

    angle, scale, shift = normal(0.045), 1 + normal(0.03), normal(0.02, 2)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    places = F.affine_grid(torch.stack(rows, 1), [count, 3, size, size], align_corners=False)
    bend = F.interpolate(normal(0.022, 2, KNOTS, KNOTS), size=(size, size), mode="bicubic", align_corners=True)
    places = places + bend.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, places, mode="bilinear", padding_mode="reflection", align_corners=False)


def relit(pictures: Tensor, random: torch.Generator, amount: float) -> Tensor:
    """Each picture a little brighter or darker, warmer or colder."""

    def uniform(reach: float, channels: int = 1) -> Tensor:
        spread = torch.rand(len(pictures), channels, 1, 1, generator=random) - 0.5
        return spread * (2 * reach * min(amount, 2.0))

    return (((pictures + 1) * (1 + uniform(0.2)) * (1 + uniform(0.06, 3)) + uniform(0.08)) - 1).clamp(-1, 1)

"""How much of a style a picture has: 0 is an untouched photo, 1 a picture of the style that nobody compared with.

Style is read off the statistics of a network's features, as Gatys et al. (arXiv 1508.06576) and AdaIN (arXiv
1703.06868) have it: mean and deviation of each channel of EfficientNet-Lite0 (Apache 2.0), whose two packages are the
extra `bench`. Nothing but this benchmark needs them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...training.losses.lite0 import Lite0Features

SIDE = 128
"""Pictures are compared at this size, whatever they were drawn at."""
Features = Callable[[Tensor], list[Tensor]]
"""Pictures `[N, 3, S, S]` in -1..1 -> maps `[N, C, h, w]`."""


def lite0_features() -> Features | None:
    """EfficientNet-Lite0's maps before each halving; None where its packages are not installed."""
    try:
        return Lite0Features()
    except ImportError:
        return None


class StyleScale:
    """The scale of one style.

    Args:
        features: see `Features`.
        photos: `[N, 3, S, S]` in -1..1, untouched: 0 on the scale, on average.
        pictures: `[M, 3, S, S]` of the style, at least two; every second is held out and is 1, on average.

    Raises:
        ValueError: there are too few pictures, or they cannot be told from the photos.
    """

    def __init__(self, features: Features, photos: Tensor, pictures: Tensor) -> None:
        if len(pictures) < 2:
            raise ValueError(f"{len(pictures)} pictures of a style are too few to compare with; give at least two.")
        self._features = features
        known, held, plain = (style_statistics(features, x) for x in (pictures[::2], pictures[1::2], photos))
        self._centre = known.mean(0)
        # Of both together, so that what hardly differs within a style does not count for more than what makes it.
        self._spread = torch.cat([known, held, plain]).std(0, unbiased=False) + 1e-6
        self._zero, self._one = (float(self._distance(x).mean()) for x in (plain, held))
        if self._one >= self._zero:
            raise ValueError("The pictures of the style are as far from one another as the photos are from them.")

    def __call__(self, pictures: Tensor) -> Tensor:
        """`[N]`."""
        return (self._zero - self._distance(style_statistics(self._features, pictures))) / (self._zero - self._one)

    def _distance(self, statistics: Tensor) -> Tensor:
        return ((statistics - self._centre) / self._spread).square().mean(1).sqrt()


@torch.no_grad()
def style_statistics(features: Features, pictures: Tensor) -> Tensor:
    """Mean and deviation of each channel of the features of pictures `[N, 3, S, S]` in -1..1, `[N, statistics]`."""
    found = []
    for part in pictures.float().cpu().clamp(-1, 1).split(16):
        maps = features(F.interpolate(part, (SIDE, SIDE), mode="bilinear", antialias=True))
        found.append(torch.cat([x for m in maps for x in (m.mean((2, 3)), m.std((2, 3), unbiased=False))], 1))
    return torch.cat(found)

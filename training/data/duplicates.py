"""Which pictures of a set show the same, whatever their size and compression."""

from __future__ import annotations

from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

HASH_SIDE = 16
MAX_HASH_DISTANCE = 5
"""Of 256 bits; two pictures nearer than this, and of about the same colours, count as one."""
COLOUR_SIDE = 4
MAX_COLOUR_DISTANCE = 0.04
"""On the 0..1 scale, mean over a 4x4 grid."""
_BITS_OF_BYTE = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.uint8)


class DuplicateFinder:
    """Remembers pictures by 256 bits (which of 16 x 16 cells are brighter than their mean) and 16 mean colours.

    A picture costs 224 bytes and one pass over those before it: 10,000 are compared in seconds.
    """

    def __init__(self) -> None:
        self._bits: Bytes = np.empty((64, HASH_SIDE * HASH_SIDE // 8), np.uint8)
        self._colours: Floats = np.empty((64, COLOUR_SIDE, COLOUR_SIDE, 3), np.float32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def twin_or_add(self, picture: Bytes) -> int | None:
        """The number of the first remembered picture that `picture [S, S, 3]` equals or nearly equals.

        None where there is none; the picture is then remembered, under the next number.
        """
        cells = cell_means(picture, HASH_SIDE)
        grey = cells.mean(2)
        bits = np.packbits((grey > grey.mean()).ravel())
        colours = cell_means(cells, COLOUR_SIDE)
        known = self._bits[: self._count]
        near = np.flatnonzero(_BITS_OF_BYTE[known ^ bits].sum(1) <= MAX_HASH_DISTANCE)
        distance = np.abs(self._colours[near] - colours).mean((1, 2, 3))
        twins = near[distance < MAX_COLOUR_DISTANCE]
        if len(twins):
            return int(twins[0])
        if self._count == len(self._bits):
            self._bits = np.concatenate([self._bits, np.empty_like(self._bits)])
            self._colours = np.concatenate([self._colours, np.empty_like(self._colours)])
        self._bits[self._count], self._colours[self._count] = bits, colours
        self._count += 1
        return None


def cell_means(picture: Bytes | Floats, side: int) -> Floats:
    """Means of `side x side` cells of `picture [S, S, 3]`, `[side, side, 3]`; bytes become 0..1."""
    values = picture.astype(np.float32) / (255.0 if picture.dtype == np.uint8 else 1.0)
    # Bounds as adaptive pooling has them, so that any size will do.
    size = values.shape[0]
    starts = np.arange(side) * size // side
    ends = -(-(np.arange(side) + 1) * size // side)
    sums = np.zeros((size + 1, *values.shape[1:]), np.float64)
    np.cumsum(values, axis=0, out=sums[1:])
    rows = (sums[ends] - sums[starts]) / (ends - starts)[:, None, None]
    across = np.zeros((side, size + 1, values.shape[2]), np.float64)
    np.cumsum(rows, axis=1, out=across[:, 1:])
    means: Floats = ((across[:, ends] - across[:, starts]) / (ends - starts)[:, None]).astype(np.float32)
    return means

"""What a fast stylizer draws with: pencil or brush strokes, flat areas or cels, laid out by rule over the picture.

A convolutional network can not invent a stroke of 20 pixels that keeps its width and bends with the form; it can decide
where strokes go that are there already, how dark and of which colour. A medium computes them, without learning, from
the picture and the place in it, and the network gets them as further channels. They are anchored to the picture's
pixels, so a picture may be drawn in tiles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import cel, flat, strokes
from .flow import Origin

MEDIA = ("none", "pencil", "paint", "flat", "cel")
FIELDS = {"none": 0, "pencil": 6, "paint": 5, "flat": 6, "cel": 7}
"""Channels that each medium adds."""
PERIOD = 48
"""Every pattern may be cut where both coordinates are multiples of this, in pixels."""


def medium_fields(medium: str, picture: Tensor, origin: Origin = (0, 0)) -> Tensor:
    """What the medium adds to pictures `[N, 3, H, W]` in -1..1: `[N, FIELDS[medium], H, W]`, about -1..1.

    Raises:
        ValueError: there is no such medium.
    """
    if medium not in MEDIA:
        raise ValueError(f"There is no medium '{medium}'. Choose one of: {', '.join(MEDIA)}.")
    with torch.no_grad():
        if medium == "pencil":
            return strokes.pencil(picture, origin)
        if medium == "paint":
            return strokes.paint(picture, origin)
        if medium == "flat":
            return flat.flat(picture)
        if medium == "cel":
            return cel.cel(picture)
        return picture[:, :0]

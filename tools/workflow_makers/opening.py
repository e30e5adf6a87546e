"""The groups that most workflows begin with: a photo, its faces, their latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ...runtime.folders import SAMPLE
from .canvas import Canvas, Source


class Inverted(NamedTuple):
    """The faces of a photo and their latents; `seen` is how the generator draws these."""

    faces: Source
    crops: Source
    source: Source
    encoder: Source
    latent: Source
    seen: Source


@contextmanager
def inverted_photo(canvas: Canvas, title: str = "Photo", image: str = SAMPLE) -> Iterator[Inverted]:
    """Groups 1 to 3; what is made within the `with` joins the third."""
    with canvas.group("1. Photo", width=380):
        photo, _ = canvas.node("LoadImage", title, image=image)
    with canvas.group("2. Find the faces"):
        faces, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo)
        canvas.node("PreviewImage", "Faces found", images=crops)
    with canvas.group("3. Find their latents"):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        latent, seen = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
        yield Inverted(faces, crops, source, encoder, latent, seen)

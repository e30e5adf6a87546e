"""The looks a face can be rendered in, each from the same parameters."""

from __future__ import annotations

from ..photo import shade_photo
from .cartoon import CARTOON
from .chibi import CHIBI
from .fantasy import FANTASY
from .impasto import IMPASTO
from .look import Look
from .sketch import SKETCH

PHOTO = Look("photo", "A studio portrait with soft light.", shade_photo, fused=True)
LOOKS: dict[str, Look] = {look.name: look for look in (PHOTO, CARTOON, IMPASTO, SKETCH, CHIBI, FANTASY)}

__all__ = ["LOOKS", "Look"]

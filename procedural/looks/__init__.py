"""The looks a face can be rendered in, each from the same parameters."""

from __future__ import annotations

from .look import Look
from .photo_look import PHOTO

LOOKS: dict[str, Look] = {look.name: look for look in (PHOTO,)}

__all__ = ["LOOKS", "Look"]

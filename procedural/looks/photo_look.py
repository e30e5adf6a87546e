"""The photo look, see `procedural/photo.py`."""

from __future__ import annotations

from ..photo import shade_photo
from .look import Look

PHOTO = Look("photo", "A studio portrait with soft light.", shade_photo, fused=True)

"""A detector by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..detection.settings import MIN_CONFIDENCE

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.types import Detection


def face_finder(
    detector: str = "auto",
    min_confidence: float = MIN_CONFIDENCE,
    download_if_missing: bool = False,
    keep_unsure: bool = False,
) -> Callable[[Tensor], list[Detection]]:
    """The function `photo [3, H, W] -> faces` of a detector; see `detect_faces` for `keep_unsure`."""
    from functools import partial

    from ..detection.detectors import detect_faces, load_detector
    from ..runtime.folders import model_dirs

    network = load_detector(detector, model_dirs("face_detection"), download_if_missing)
    return partial(detect_faces, network, min_confidence=min_confidence, keep_unsure=keep_unsure)

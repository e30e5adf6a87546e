"""Finding faces in a photo: what a detection is, which detectors there are, and the choice between them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..core.pictures import finite
from ..faces.types import Detection
from .settings import DETECTORS, MIN_CONFIDENCE, YUNET_WEIGHTS

logger = logging.getLogger(__name__)


class FaceDetector(Protocol):
    """Whatever can find faces in one photo."""

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """Faces in a photo [3,H,W] (-1..1), best first, none twice.

        Those with a score of at least `min_confidence`, then places that may show a face, which are not `sure`.
        """


def detect_faces(
    detector: FaceDetector,
    photo: Tensor,
    min_confidence: float = MIN_CONFIDENCE,
    max_faces: int = 0,
    keep_unsure: bool = False,
) -> list[Detection]:
    """Finds the faces in one photo, whatever way they are turned.

    Args:
        detector: from `load_detector`.
        photo: [3,H,W], -1..1, any size.
        min_confidence: 0..1, faces with a lower score are dropped.
        max_faces: keep at most this many of the best; 0 keeps all.
        keep_unsure: also return the places that may show a face but not well enough (`Detection.sure` is False).

    Returns:
        The faces, best first, with float32 coordinates on the photo's device.
    """
    if photo.ndim != 3 or photo.shape[0] != 3 or 0 in photo.shape:
        raise ValueError(f"A photo has shape {tuple(photo.shape)}; give one RGB picture [3,H,W] in -1..1.")
    found = detector.find(finite(photo.float()), min_confidence)
    faces = [face for face in found if face.sure]
    faces = faces[:max_faces] if max_faces > 0 else faces
    return faces + [face for face in found if not face.sure] if keep_unsure else faces


class FirstThatFinds:
    """Asks several detectors in turn until one finds a face."""

    def __init__(self, detectors: Sequence[FaceDetector]) -> None:
        self.detectors = tuple(detectors)

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """See `FaceDetector.find`."""
        unsure: list[Detection] = []
        for detector in self.detectors:
            found = detector.find(photo, min_confidence)
            if any(face.sure for face in found):
                return found
            unsure = unsure or found
        return unsure


def find_yunet_weights(folders: Sequence[Path] = ()) -> Path | None:
    """YuNet's weights in one of `folders`, below them or in torch's download cache; None when they are nowhere."""
    for folder in (*folders, Path(torch.hub.get_dir()) / "checkpoints"):
        if (folder / YUNET_WEIGHTS).is_file():
            return folder / YUNET_WEIGHTS
        below = sorted(path for path in folder.glob(f"*/{YUNET_WEIGHTS}") if path.is_file())
        if below:
            return below[0]
    return None


def load_detector(
    name: str = "auto",
    places: str | Path | Sequence[Path] | None = None,
    download_if_missing: bool = False,
) -> FaceDetector:
    """Loads a face detector; downloads nothing unless told to.

    Args:
        name: "embedded" is this project's own, trained on rendered faces in all looks; "yunet" is kornia's YuNet for
            photographs, whose weights the user brings; "auto" asks YuNet when its weights are there and the embedded
            detector wherever YuNet finds nothing, as on drawn faces.
        places: where YuNet's weights may be: the models folder, whose `face_detection` is meant, or a list of such
            folders themselves. torch's download cache is looked into last.
        download_if_missing: fetch YuNet's weights (0.4 MB) into the first of the folders where "yunet" or "auto" finds
            none. Where that fails, "auto" warns and goes on with the embedded detector.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the weights are not there.
        DownloadError: they could not be fetched.
    """
    if name not in DETECTORS:
        raise ValueError(f"Unknown face detector {name!r}; choose one of {', '.join(DETECTORS)}.")
    # The networks are imported on use: a node that only needs `Detection` should not pay for them.
    from .embedded import EmbeddedDetector

    if name == "embedded":
        return EmbeddedDetector.load()
    folders = [Path(places) / "face_detection"] if isinstance(places, (str, Path)) else list(places or ())
    weights = find_yunet_weights(folders)
    if weights is None and download_if_missing:
        if not folders:
            raise ValueError("There is no folder to download YuNet's weights to; name the models folder.")
        from .download import DownloadError
        from .yunet import download_yunet_weights

        try:
            weights = download_yunet_weights(folders[0])
        except DownloadError as error:
            if name == "yunet":
                raise
            logger.warning("%s Until then faces are looked for with the embedded detector alone.", error)
    if weights is None:
        if name == "yunet":
            where = str(folders[0]) if folders else "the `face_detection` models folder"
            raise FileNotFoundError(
                f"YuNet's weights are missing; put `{YUNET_WEIGHTS}` into {where}, turn `download_if_missing` on, or "
                "set `detector` to embedded."
            )
        return EmbeddedDetector.load()
    from .yunet import YuNetDetector

    if name == "yunet":
        return YuNetDetector.load(weights)
    logger.debug("faces are looked for with YuNet (%s), then with the embedded detector", weights)
    return FirstThatFinds([YuNetDetector.load(weights), EmbeddedDetector.load()])

"""Finding faces in a photo: what a detection is, which detectors there are, and the choice between them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from .pixels import finite

logger = logging.getLogger(__name__)

DETECTORS = ("auto", "yunet", "embedded")


@dataclass(frozen=True, eq=False)
class Detection:
    """One face in a photo."""

    box: Tensor
    """[4]: left, top, right, bottom in photo pixels, from forehead to chin; may reach beyond the photo."""
    landmarks: Tensor
    """[5,2] (x, y) in photo pixels: the eye on the left of an upright face (the person's right eye), the other eye,
    nose tip, mouth corner below the first eye, mouth corner below the second."""
    score: float
    """0..1, how sure the detector is."""
    sure: bool = True
    """False for a place that may show a face, but not well enough to draw on it."""


class FaceDetector(Protocol):
    """Whatever can find faces in one photo."""

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        """Faces in a photo [3,H,W] (-1..1), best first, none twice.

        Those with a score of at least `min_confidence`, then places that may show a face, which are not `sure`.
        """


def detect_faces(
    detector: FaceDetector,
    photo: Tensor,
    min_confidence: float = 0.6,
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
    from .detector import EmbeddedDetector
    from .download import DownloadError
    from .yunet import YuNetDetector, download_yunet_weights, find_yunet_weights

    if name == "embedded":
        return EmbeddedDetector.load()
    folders = [Path(places) / "face_detection"] if isinstance(places, (str, Path)) else list(places or ())
    weights = find_yunet_weights(folders)
    if weights is None and download_if_missing:
        if not folders:
            raise ValueError("There is no folder to download YuNet's weights to; name the models folder.")
        try:
            weights = download_yunet_weights(folders[0])
        except DownloadError as error:
            if name == "yunet":
                raise
            logger.warning("%s Until then faces are looked for with the embedded detector alone.", error)
    if name == "yunet":
        if weights is None:
            where = str(folders[0]) if folders else "the `face_detection` models folder"
            raise FileNotFoundError(
                f"YuNet's weights are missing; put `yunet_final.pth` into {where}, turn `download_if_missing` on, or "
                "set `detector` to embedded."
            )
        return YuNetDetector.load(weights)
    if weights is None:
        return EmbeddedDetector.load()
    logger.debug("faces are looked for with YuNet (%s), then with the embedded detector", weights)
    return FirstThatFinds([YuNetDetector.load(weights), EmbeddedDetector.load()])


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes [N,4] and [M,4] (left, top, right, bottom): [N,M] in 0..1."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    opposite = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (opposite - corner).clamp(min=0).prod(-1)
    area, other_area = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (boxes, others))
    return shared / (area[:, None] + other_area[None] - shared).clamp(min=1e-9)


def fuse_overlapping(
    boxes: Tensor,
    landmarks: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.4,
) -> tuple[Tensor, Tensor, Tensor]:
    """Non-maximum suppression that averages instead of throwing away.

    The best candidate absorbs all that overlap it; those that agree with it closely (IoU above 0.6) share in its box
    and landmarks, weighted by score, which is steadier than any one of them.

    Args:
        boxes: [K,4] left, top, right, bottom.
        landmarks: [K,5,2].
        scores: [K].
        iou_threshold: overlap from which two boxes are one face.

    Returns:
        Boxes [M,4], landmarks [M,5,2] and scores [M], best first.
    """
    order = scores.argsort(descending=True)
    boxes, landmarks, scores = boxes[order], landmarks[order], scores[order]
    overlap = box_iou(boxes, boxes)
    # A small box inside a large one is the same face seen at two scales.
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1).clamp(min=1e-9)
    union = (areas[:, None] + areas[None]) / (1 + overlap.clamp(max=1))
    contained = overlap * union / torch.minimum(areas[:, None], areas[None])
    same = (overlap > iou_threshold) | (contained > 0.8)
    alive = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
    fused = []
    for i in range(len(scores)):
        if not bool(alive[i]):
            continue
        weight = scores.square() * (alive & (overlap[i] > 0.6))
        weight[i] = scores[i].square().clamp(min=1e-12)
        weight = weight / weight.sum()
        fused.append(((boxes * weight[:, None]).sum(0), (landmarks * weight[:, None, None]).sum(0), scores[i]))
        alive &= ~same[i]
    if not fused:
        return boxes[:0], landmarks[:0], scores[:0]
    return torch.stack([f[0] for f in fused]), torch.stack([f[1] for f in fused]), torch.stack([f[2] for f in fused])

"""Faces from ComfyUI's FACE_LANDMARKS: five points and a box from MediaPipe's face mesh.

The socket carries `{"frames": [faces of each picture], "image_size": (height, width), ...}`, each face a dict with
`landmarks_xy` ([468 or 478, 2] in picture pixels), `bbox_xyxy` and `score` (comfy_extras/nodes_mediapipe.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .types import Detection

WIRE = "Wire the output of MediaPipe Face Landmarker."
MESH_POINTS = (468, 478)
"""Points of a mesh without and with the irises."""
FIVE_POINTS = (
    # The lid contours and not the irises: FFHQ was cut by the middle of the lids, and irises move with the gaze.
    (33, 160, 158, 133, 153, 144),
    (362, 385, 387, 263, 373, 380),
    (1,),
    (61,),
    (291,),
)
"""The mesh points whose mean is each of the five: the eye on the left of an upright face (the person's right eye), the
other eye, nose tip, and the mouth corners in the same order. The eyes' six are those that the 68-point scheme has."""


def five_of_mesh(points: Tensor) -> Tensor:
    """The five landmarks `[5, 2]` of a face mesh `[468 or 478, 2]`."""
    return torch.stack([points[list(indices)].mean(dim=0) for indices in FIVE_POINTS])


def faces_of_mesh(landmarks: Any, height: int, width: int, min_confidence: float = 0.0) -> list[list[Detection]]:
    """The faces of each picture, as `align_faces` takes them.

    Args:
        landmarks: what came over the wire.
        height, width: of the pictures to cut, in pixels; where the landmarks were found at another size, they are
            scaled.
        min_confidence: 0..1, faces with a lower score are dropped.

    Raises:
        ValueError: it is not FACE_LANDMARKS as ComfyUI makes them.
    """
    frames = landmarks.get("frames") if isinstance(landmarks, Mapping) else None
    if not isinstance(frames, Sequence) or isinstance(frames, str):
        raise ValueError(f"`landmarks` does not hold the faces of a batch of pictures. {WIRE}")
    try:
        found_height, found_width = landmarks.get("image_size") or (height, width)
        scale = torch.tensor([width / float(found_width), height / float(found_height)])
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"`image_size` of `landmarks` is no height and width ({error}). {WIRE}") from error
    faces = []
    for index, frame in enumerate(frames):
        try:
            detections = [_detection(face, scale, index) for face in frame]
        except (TypeError, RuntimeError, OverflowError) as error:
            said = f"A face of picture {index + 1} in `landmarks` is no face mesh ({error}). {WIRE}"
            raise ValueError(said) from error
        faces.append([face for face in detections if face.score >= min_confidence])
    return faces


def _detection(face: Any, scale: Tensor, index: int) -> Detection:
    points = face.get("landmarks_xy") if isinstance(face, Mapping) else None
    mesh = torch.zeros(0, 2) if points is None else torch.as_tensor(points, dtype=torch.float32)
    if mesh.ndim != 2 or len(mesh) not in MESH_POINTS or mesh.shape[1] < 2 or not bool(torch.isfinite(mesh).all()):
        raise ValueError(
            f"A face of picture {index + 1} in `landmarks` has points of shape {list(mesh.shape)}; a face mesh of 468 "
            f"or 478 (x, y) points is needed. {WIRE}"
        )
    mesh = mesh[:, :2] * scale
    box = face.get("bbox_xyxy")
    corners = torch.cat([mesh.amin(dim=0), mesh.amax(dim=0)])
    if box is not None:
        corners = torch.as_tensor(box, dtype=torch.float32).reshape(4) * scale.repeat(2)
    return Detection(corners, five_of_mesh(mesh), float(face.get("score", 1.0)))

"""How good a face detector is, on composed scenes of people it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ...detection.detectors import FaceDetector, detect_faces
from ...detection.search import box_iou
from ...faces.align import crop_to_photo_from_landmarks
from ...faces.warp import transform_points
from ...procedural.scene import ComposedScene, FaceSprites, SceneConfig, compose_scene


def evaluate_detector(
    detector: FaceDetector,
    sprites: FaceSprites,
    scenes: int,
    seed: int,
    on_scene: Callable[[ComposedScene, list[Any]], None] | None = None,
) -> dict[str, float]:
    """Measures a detector on composed scenes.

    Args:
        detector: what to measure.
        sprites: faces of people it was not trained on.
        scenes: how many scenes, of several sizes and shapes, with faces from 20 pixels up.
        seed: draws the scenes.
        on_scene: called with each scene and what was found in it.

    Returns:
        `recall`, `false_positives` per scene, `landmark_error` (mean distance of the five points in eye distances),
        its 90th percentile `landmark_error_p90`, `landmark_error_48` for faces of 48 pixels or more, and
        `crop_error`: how far the corners of the aligned crop lie from the true ones, in eye distances.
    """
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    generator = torch.Generator().manual_seed(seed)
    shapes = ((256, 256), (384, 512), (640, 448), (720, 960))
    errors: list[float] = []
    crop_errors: list[float] = []
    sides: list[float] = []
    truths = false_positives = 0
    for number in range(scenes):
        height, width = shapes[number % len(shapes)]
        scene = compose_scene(sprites, SceneConfig(height=height, width=width, smallest=20.0, max_tilt=45.0), generator)
        found = detect_faces(detector, scene.image)
        truths += len(scene.boxes)
        taken = torch.zeros(len(found), dtype=torch.bool)
        overlap = box_iou(scene.boxes, torch.stack([f.box for f in found])) if found else None
        for i in range(len(scene.boxes)):
            if overlap is None:
                break
            best = int(torch.where(taken, -1.0, overlap[i]).argmax())
            if bool(taken[best]) or float(overlap[i, best]) < 0.4:
                continue
            taken[best] = True
            truth, points = scene.landmarks[i : i + 1], found[best].landmarks[None]
            eyes = float((truth[0, 1] - truth[0, 0]).norm())
            sides.append(float((scene.boxes[i, 2:] - scene.boxes[i, :2]).prod().sqrt()))
            errors.append(float((points - truth).norm(dim=-1).mean()) / eyes)
            quads = [transform_points(crop_to_photo_from_landmarks(p, 1), corners) for p in (points, truth)]
            crop_errors.append(float((quads[0] - quads[1]).norm(dim=-1).mean()) / eyes)
        false_positives += int((~taken).sum())
        if on_scene is not None:
            on_scene(scene, found)
    measured = torch.tensor(errors)
    large = measured[torch.tensor(sides) >= 48]
    return {
        "recall": len(errors) / max(1, truths),
        "false_positives": false_positives / max(1, scenes),
        "landmark_error": float(measured.mean()) if errors else math.inf,
        "landmark_error_p90": float(measured.quantile(0.9)) if errors else math.inf,
        "landmark_error_48": float(large.mean()) if len(large) else math.inf,
        "crop_error": float(torch.tensor(crop_errors).mean()) if errors else math.inf,
        "faces": float(truths),
    }

"""FACE_LANDMARKS of ComfyUI as faces to align."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from facestylist.faces.align import align_faces
from facestylist.faces.mesh import FIVE_POINTS, faces_of_mesh

EYES_NOSE_MOUTH = np.array([[40.0, 45], [60, 45], [50, 56], [42, 66], [58, 66]], dtype=np.float32)


def mesh(count: int, shift: float = 0.0) -> np.ndarray:
    """A mesh whose five landmarks are known; each eye's lid points lie around its middle, the irises elsewhere."""
    points = np.full((count, 2), 50.0, dtype=np.float32)
    around = np.array([[-4, 0], [-2, -2], [2, -2], [4, 0], [2, 2], [-2, 2]], dtype=np.float32)
    for indices, place in zip(FIVE_POINTS, EYES_NOSE_MOUTH, strict=True):
        points[list(indices)] = place + (around if len(indices) == 6 else 0)
    points[468:] = 0
    return points + np.float32(shift)


def face(count: int = 478, shift: float = 0.0, score: float = 0.9) -> dict[str, Any]:
    box = np.array([30, 30, 70, 75], dtype=np.float32) + np.float32(shift)
    return {"landmarks_xy": mesh(count, shift), "bbox_xyxy": box, "score": score, "presence": 3.0}


def payload(*frames: list[dict[str, Any]], size: tuple[int, int] = (120, 100)) -> dict[str, Any]:
    return {"frames": list(frames), "image_size": size, "connection_sets": {}}


@pytest.mark.parametrize("count", [468, 478])
def test_the_five_points_of_a_mesh(count: int) -> None:
    ((found,),) = faces_of_mesh(payload([face(count)]), 120, 100)
    torch.testing.assert_close(found.landmarks, torch.from_numpy(EYES_NOSE_MOUTH))
    assert found.box.tolist() == [30, 30, 70, 75] and found.score == 0.9


def test_landmarks_of_a_resized_picture_are_scaled() -> None:
    ((found,),) = faces_of_mesh(payload([face()]), 240, 50)
    torch.testing.assert_close(found.landmarks, torch.from_numpy(EYES_NOSE_MOUTH) * torch.tensor([0.5, 2.0]))
    assert found.box.tolist() == [15, 60, 35, 150]


def test_faces_are_aligned_frame_by_frame() -> None:
    photos = torch.rand(3, 3, 120, 100, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = payload([face(), face(shift=20)], [], [face(score=0.2), face(shift=10)])
    crops = align_faces(photos, faces_of_mesh(frames, 120, 100, 0.5), 64, on_no_face="skip")
    assert crops.frame_index.tolist() == [0, 0, 2]
    torch.testing.assert_close(crops.landmarks[2], torch.from_numpy(EYES_NOSE_MOUTH) + 10)
    with pytest.raises(ValueError, match="No face found in frame 2 of 3"):
        align_faces(photos, faces_of_mesh(frames, 120, 100), 64)
    with pytest.raises(ValueError, match="given for 3 pictures and there are 2"):
        align_faces(photos[:2], faces_of_mesh(frames, 120, 100), 64)


@pytest.mark.parametrize(
    "wrong",
    [None, [], {"frames": None}, {"frames": "ab"}, payload([{}]), payload([{"landmarks_xy": np.zeros((5, 2))}])],
)
def test_anything_else_is_refused_with_what_to_wire(wrong: Any) -> None:
    with pytest.raises(ValueError, match="MediaPipe Face Landmarker"):
        faces_of_mesh(wrong, 10, 10)

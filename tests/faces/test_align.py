"""The FFHQ crop: an independent formula, symmetries, aliasing and borders."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tolerances import assert_close

from facestylist.faces.align import (
    align_faces,
    crop_to_photo_from_landmarks,
    extract_crop,
    extract_crops,
    landmarks_in_crop,
    order_detections,
)
from facestylist.faces.types import Detection
from facestylist.faces.warp import halve, invert_affine, transform_points

FACE = torch.tensor([[40.0, 50.0], [72.0, 46.0], [58.0, 66.0], [46.0, 82.0], [70.0, 79.0]])

MAP = 24
"""Roundings in a row of a map from landmarks: means, lengths, axes and corners, and a point that it moves."""


def test_half_of_an_odd_picture() -> None:
    photo = torch.rand(1, 3, 517, 9, generator=torch.Generator().manual_seed(0))
    padded = F.pad(photo, (0, 1, 0, 1), mode="replicate")
    assert torch.equal(halve(photo), F.avg_pool2d(padded, 2))


def ffhq_quad(points: np.ndarray) -> np.ndarray:
    """The corners (top left, bottom left, bottom right, top right), written from the paper with complex numbers."""
    eye_left, eye_right, _, mouth_left, mouth_right = (complex(*p) for p in points)
    eyes, e2e = (eye_left + eye_right) / 2, eye_right - eye_left
    e2m = (mouth_left + mouth_right) / 2 - eyes
    right = e2e - 1j * e2m
    right *= max(abs(e2e) * 2.0, abs(e2m) * 1.8) / abs(right)
    down = 1j * right
    centre = eyes + e2m * 0.1
    corners = [centre - right - down, centre - right + down, centre + right + down, centre + right - down]
    return np.array([[c.real, c.imag] for c in corners])


def turned(points: torch.Tensor, degrees: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ turn.T + torch.tensor(shift)


def wave(height: int, width: int, period: float) -> torch.Tensor:
    """A smooth picture [3,H,W] in -1..1, a function of continuous coordinates."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y, x = y / period, x / period
    return torch.stack([torch.sin(x + 0.3 * y), torch.cos(y), torch.sin(x) * torch.cos(0.7 * y)]) * 0.8


def detection(points: torch.Tensor, score: float = 0.9) -> Detection:
    return Detection(torch.cat([points.amin(0), points.amax(0)]), points, score)


@pytest.mark.parametrize("size", [64, 256])
def test_matrix_matches_an_independent_formula(size: int) -> None:
    generator = torch.Generator().manual_seed(3)
    faces = FACE + 3 * torch.randn(20, 5, 2, generator=generator)
    matrices = crop_to_photo_from_landmarks(faces, size)
    corners = torch.tensor([[0.0, 0.0], [0.0, size], [size, size], [size, 0.0]]).expand(20, 4, 2)
    got = transform_points(matrices, corners)
    for face, quad in zip(faces, got, strict=True):
        assert_close(quad, ffhq_quad(face.double().numpy()), MAP)


def test_margin_scales_about_the_same_centre() -> None:
    plain, wide = (crop_to_photo_from_landmarks(FACE[None], 100, m) for m in (1.0, 1.5))
    centre = torch.tensor([[[50.0, 50.0]]])
    assert_close(transform_points(plain, centre), transform_points(wide, centre), MAP, 100)
    assert_close(wide[:, :, :2], 1.5 * plain[:, :, :2], MAP)


@pytest.mark.parametrize("degrees", [-140.0, -30.0, 17.0, 90.0])
def test_crops_follow_rotation_scale_and_shift(degrees: float) -> None:
    moved = turned(FACE, degrees, 1.7, (31.0, -12.0))
    one, other = (crop_to_photo_from_landmarks(p[None], 96) for p in (FACE, moved))
    in_crop = [transform_points(invert_affine(m), p[None]) for m, p in ((one, FACE), (other, moved))]
    assert_close(in_crop[0], in_crop[1], 2 * MAP, float(moved.abs().max()))  # there, and inverted
    grid = torch.rand(1, 9, 2, generator=torch.Generator().manual_seed(0)) * 96
    expected = turned(transform_points(one, grid)[0], degrees, 1.7, (31.0, -12.0))
    assert_close(transform_points(other, grid)[0], expected, 2 * MAP)


@pytest.mark.parametrize("bad", [torch.zeros(1, 5, 2), torch.full((1, 5, 2), float("nan")), torch.zeros(1, 68, 2)])
def test_impossible_landmarks_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="landmarks|Landmarks"):
        crop_to_photo_from_landmarks(bad, 64)


def test_crop_samples_the_right_place() -> None:
    """Every crop pixel shows the photo's content at the point its centre maps to."""
    photo = wave(160, 160, 20.0)
    face = FACE * 0.6 + 45
    matrix = crop_to_photo_from_landmarks(face[None], 64)[0]
    crop = extract_crop(photo, matrix, 64)
    centres = torch.stack(torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="xy"), -1)
    x, y = transform_points(matrix[None], centres.reshape(1, -1, 2))[0].unbind(-1)
    x, y = x / 20, y / 20
    expected = torch.stack([torch.sin(x + 0.3 * y), torch.cos(y), torch.sin(x) * torch.cos(0.7 * y)]) * 0.8
    assert (crop.flatten(1) - expected).abs().max() < 0.01


@pytest.mark.parametrize("factor", [3.0, 9.0, 40.0])
def test_shrinking_does_not_alias(factor: float) -> None:
    """Content finer than the crop can show becomes its mean; point sampling would show it as waves of full contrast."""
    size = 32
    side = round(size * factor) + 40
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    fine = ((x + y) % 2 * 2.0 - 1).expand(3, side, side)
    angle = 0.2
    matrix = torch.tensor([[math.cos(angle), -math.sin(angle), 20.0], [math.sin(angle), math.cos(angle), 12.0]])
    matrix[:, :2] *= factor * 0.8
    crop = extract_crop(fine, matrix, size)
    assert crop.abs().max() < 0.06
    # Waves of half again the crop's finest: what bilinear sampling folds back.
    period = factor * 0.8 / 0.75
    stripes = torch.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period).expand(3, side, side)
    assert extract_crop(stripes, matrix, size).std() < 0.15 * stripes.std()
    # ... while what the crop can show stays.
    coarse = torch.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / (period * 4.5)).expand(3, side, side)
    assert extract_crop(coarse, matrix, size).std() > 0.75 * coarse.std()


def test_inside_the_photo_stays_and_outside_fades() -> None:
    photo = wave(120, 100, 4.0)
    # The crop reaches 40 pixels beyond the left border and 60 above the upper one, one photo pixel per crop pixel.
    matrix = torch.tensor([[1.0, 0.0, -40.0], [0.0, 1.0, -60.0]])
    crop = extract_crop(photo, matrix, 100)
    # Places among 120 pixels are rounded, and each is off by that much of a step from pixel to pixel.
    step = float(photo.diff(dim=1).abs().max() + photo.diff(dim=2).abs().max())
    assert_close(crop[:, 60:, 40:], photo[:, :40, :60], 8, 120 * step)

    def roughness(part: torch.Tensor) -> float:
        return float((part[:, :, 1:] - part[:, :, :-1]).abs().mean())

    assert roughness(crop[:, 62:, 0:5]) < 0.3 * roughness(crop[:, 62:, 45:])
    # No step at the border, and the first pixels beyond it are the reflection.
    assert (crop[:, 62:, 39] - crop[:, 62:, 40]).abs().mean() < 1.3 * (photo[:, :, 1] - photo[:, :, 0]).abs().mean()
    assert (crop[:, 62:, 39] - photo[:, 2:40, 1]).abs().mean() < 0.1


def test_tiny_photo_and_crop_far_outside() -> None:
    photo = wave(3, 2, 1.0)
    matrix = torch.tensor([[2.0, 0.0, -50.0], [0.0, 2.0, -50.0]])
    crop = extract_crop(photo, matrix, 48)
    assert crop.shape == (3, 48, 48)
    assert torch.isfinite(crop).all() and crop.abs().max() <= 1


def test_several_faces_in_several_photos() -> None:
    photos = torch.stack([wave(140, 200, 9.0), wave(140, 200, 14.0), wave(140, 200, 6.0)])
    left, right = FACE * 0.5 + 10, FACE * 0.7 + torch.tensor([90.0, 20.0])
    answers = iter([[detection(right), detection(left)], [], [detection(left)]])
    seen = []

    def watch(done: int, total: int) -> None:
        seen.append((done, total))

    faces = align_faces(photos, lambda photo: next(answers), 32, on_no_face="skip", on_progress=watch)
    assert faces.crops.shape == (3, 3, 32, 32)
    assert faces.frame_index.tolist() == [0, 0, 2]
    torch.testing.assert_close(faces.landmarks, torch.stack([left, right, left]))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    expected = extract_crops(photos, faces.crop_to_photo, 32, faces.frame_index)
    assert torch.equal(faces.crops, expected)
    upright = landmarks_in_crop(faces)
    assert_close(upright[0], upright[1], 2 * MAP, float(faces.landmarks.max()))


def test_no_face_is_an_error_or_skipped() -> None:
    photos = torch.zeros(2, 3, 40, 40)
    with pytest.raises(ValueError, match=r"No face found in frame 1 of 2\. Lower `min_confidence`"):
        align_faces(photos, lambda photo: [], 32)
    faces = align_faces(photos, lambda photo: [], 32, on_no_face="skip")
    assert faces.crops.shape == (0, 3, 32, 32) and faces.crop_to_photo.shape == (0, 2, 3)
    with pytest.raises(ValueError, match="on_no_face"):
        align_faces(photos, lambda photo: [], 32, on_no_face="maybe")


def test_a_face_that_is_not_sure_is_named_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    photos = torch.zeros(3, 3, 160, 160)
    doubted = replace(detection(FACE, 0.41), sure=False)
    answers = [[detection(FACE)], [doubted], [doubted]]
    with caplog.at_level("WARNING"):
        faces = align_faces(photos, answers, 32, "skip", names=["a.jpg", "b.jpg", "c.jpg"])
    assert faces.frame_index.tolist() == [0]
    assert len(caplog.records) == 1
    assert re.search(r"b\.jpg: .*32 pixels wide near \(56, 64\).*0\.41.*min_confidence.* 1 more", caplog.text)
    with pytest.raises(ValueError, match=r"No face found in frame 2 of 3\. There is a place that may show a face"):
        align_faces(photos, answers, 32)


def test_order_and_limit() -> None:
    big, middle, small = detection(FACE + 100), detection(FACE * 0.8), detection(FACE * 0.3 + 300)
    assert order_detections([small, big, middle], "left_to_right") == [middle, big, small]
    assert order_detections([small, big, middle], "largest", 2) == [big, middle]
    assert order_detections([small, big, middle], "left_to_right", 2) == [middle, big]
    with pytest.raises(ValueError, match="order"):
        order_detections([big], "sideways")

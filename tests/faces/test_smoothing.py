"""Steadiness over time: trembling goes, movement stays, nothing lags, and missing frames follow the policy."""

from __future__ import annotations

import math

import pytest
import torch
from tolerances import assert_close, rounding
from torch import Tensor

from facestylist.faces.align import crop_to_photo_from_landmarks, extract_crops, landmarks_in_crop
from facestylist.faces.paste import paste_faces
from facestylist.faces.smoothing import fill_gaps, from_motion, jitter, report_text, smooth_faces, to_motion, unwrap
from facestylist.faces.types import FaceCrops

FACE = torch.tensor([[-8.0, -6.0], [8.0, -6.0], [0.0, 1.0], [-6.0, 9.0], [6.0, 9.0]])
SIZE = 32
MOTION = 16
"""Roundings in a row from a matrix to its motion and back; as many again lead from landmarks to a matrix."""


def video(
    frames: list[int], centres: list[tuple[float, float]], noise: float = 0.0, angles: list[float] | None = None
) -> FaceCrops:
    """Faces at these places of a photo that does not change."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(80) / 9, torch.arange(120) / 9, indexing="ij")
    photo = torch.stack([x.sin(), y.cos(), (x + y).sin()]) * 0.6
    photos = photo.expand(max(frames) + 1, -1, -1, -1).contiguous()
    landmarks = []
    for centre, angle in zip(centres, angles or [0.0] * len(frames), strict=True):
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        landmarks.append(FACE @ turn + torch.tensor(centre) + noise * torch.randn(5, 2, generator=generator))
    points = torch.stack(landmarks)
    matrices = crop_to_photo_from_landmarks(points, SIZE)
    index = torch.tensor(frames)
    crops = extract_crops(photos, matrices, SIZE, index)
    return FaceCrops(crops, matrices, index, points, torch.full((len(frames),), 0.9), photos)


def centre_x(faces: FaceCrops) -> Tensor:
    return to_motion(faces.crop_to_photo, SIZE)[:, 0]


def test_angles_go_on_over_half_a_turn() -> None:
    angles = torch.linspace(2.8, 3.6, 9)
    wrapped = torch.atan2(angles.sin(), angles.cos())
    assert wrapped.min() < -2
    assert_close(unwrap(wrapped), angles, 8, 2 * math.pi)
    upside_down = [math.pi - 0.2 + 0.05 * t for t in range(9)]
    faces = video(list(range(9)), [(60, 40)] * 9, angles=upside_down)
    smooth, _ = smooth_faces(faces)
    assert_close(smooth.crop_to_photo, faces.crop_to_photo, 3 * MOTION)


def test_motion_is_the_matrix_in_other_words() -> None:
    faces = video([0, 1, 2], [(50, 30), (55, 34), (61, 39)], noise=0.5, angles=[0.3, -0.4, 1.0])
    motion = to_motion(faces.crop_to_photo, SIZE)
    assert_close(from_motion(motion, SIZE), faces.crop_to_photo, MOTION)


def test_trembling_goes_and_the_movement_stays() -> None:
    frames = list(range(30))
    path = [(40 + t, 40 + 4 * math.sin(t / 8)) for t in frames]
    true = video(frames, path)
    faces = video(frames, path, noise=0.6)
    smooth, (report,) = smooth_faces(faces)
    assert smooth.track is not None and smooth.track.tolist() == [0] * 30
    assert report.jitter_after < 0.1 * report.jitter_before
    wanted = jitter(faces.crop_to_photo, faces.frame_index, SIZE)
    # A second difference of places, in percent of the crop's side.
    near = rounding(4 * MOTION, 100 * float(faces.landmarks.max()) / SIZE)
    assert report.jitter_before == pytest.approx(wanted, abs=near)
    off = (centre_x(faces) - centre_x(true)).abs().mean(), (centre_x(smooth) - centre_x(true)).abs().mean()
    assert off[1] < 0.6 * off[0], "nearer to where the face is, not only steadier"
    assert torch.equal(smooth.crops, extract_crops(faces.photos, smooth.crop_to_photo, SIZE, smooth.frame_index))
    before, after = (landmarks_in_crop(f).diff(n=2, dim=0).abs().mean() for f in (faces, smooth))
    assert after < 0.2 * before, "the mask that follows the landmarks is steady too"
    untouched, _ = smooth_faces(faces, 0)
    assert_close(untouched.crop_to_photo, faces.crop_to_photo, MOTION)


def test_missing_frames_follow_the_policy() -> None:
    frames = [0, 1, 2, 5, 6]
    faces = video(frames, [(40 + 2 * t, 40) for t in frames])
    assert len(faces.photos) == 7
    drawn, (report,) = smooth_faces(faces, 0, "interpolate")
    assert drawn.frame_index.tolist() == list(range(7))
    assert_close(centre_x(drawn).diff(), [2.0] * 6, 2 * MOTION, 40 + 2 * 6)
    assert drawn.score.tolist() == pytest.approx([0.9, 0.9, 0.9, 0, 0, 0.9, 0.9])
    assert report.filled == (3, 4) and report.skipped == ()
    assert torch.equal(drawn.crops[3], extract_crops(faces.photos, drawn.crop_to_photo, SIZE)[3])
    held, _ = smooth_faces(faces, 0, "hold")
    assert_close(centre_x(held).diff(), [2, 2, 0, 0, 6, 2], 2 * MOTION, 40 + 2 * 6)
    skipped, (report,) = smooth_faces(faces, 1.0, "skip")
    assert skipped.frame_index.tolist() == frames
    assert report.filled == () and report.skipped == (3, 4)
    with pytest.raises(ValueError, match="Face 1 is missing in frames 4 to 5 of 7.*missing"):
        smooth_faces(faces, 1.0, "error")
    with pytest.raises(ValueError, match="Unknown policy"):
        smooth_faces(faces, 1.0, "guess")
    smooth_faces(drawn, 1.0, "error")


def test_held_values_and_their_frames() -> None:
    values, frames = torch.tensor([[1.0], [4.0]]), torch.tensor([2, 5])
    assert fill_gaps(values, frames, "hold")[0][:, 0].tolist() == [1, 1, 1, 4]
    filled, when = fill_gaps(values, frames, "interpolate")
    assert filled[:, 0].tolist() == pytest.approx([1, 2, 3, 4]) and when.tolist() == [2, 3, 4, 5]
    assert fill_gaps(values, frames, "skip")[1].tolist() == [2, 5]


def test_a_missing_frame_lies_on_the_curve_of_its_neighbours() -> None:
    whole = torch.arange(20)
    path = torch.stack([5 * (whole / 4).sin(), 0.1 * whole**2], 1)
    seen = whole[[0, 1, 2, 4, 5, 8, 9, *range(10, 20)]]
    filled, when = fill_gaps(path[seen], seen, "interpolate")
    assert torch.equal(when, whole) and torch.equal(filled[seen], path[seen])
    straight = torch.lerp(path[2], path[4], 0.5)
    assert (filled[3] - path[3]).abs().max() < 0.2 * (straight - path[3]).abs().max()
    assert (filled[6:8] - path[6:8]).abs().max() < 0.3
    # Nobody knows where a face was that was away for long: the way between is nearly straight.
    away, _ = fill_gaps(torch.tensor([[0.0], [3.0], [0.0], [3.0]]), torch.tensor([0, 1, 41, 42]), "interpolate")
    assert away.min() > -3 and away.max() < 6


def test_faces_come_out_in_one_order_and_return_to_their_frames() -> None:
    frames = [0, 0, 1, 1, 2, 2]
    places = [(95.0, 40.0), (30.0, 40.0), (31.0, 40.0), (95.0, 41.0), (95.0, 42.0), (32.0, 40.0)]
    faces = video(frames, places)
    smooth, reports = smooth_faces(faces, 1.0)
    assert smooth.frame_index.tolist() == frames
    assert smooth.track is not None and smooth.track.tolist() == [0, 1] * 3
    assert (centre_x(smooth)[0::2] < 60).all() and (centre_x(smooth)[1::2] > 60).all()
    levels = torch.tensor([-0.9, 0.9] * 3)[:, None, None, None].expand_as(smooth.crops)
    pasted, masks = paste_faces(smooth.photos, smooth, levels.contiguous())
    for x, y, level in ((31, 40, -0.9), (95, 41, 0.9)):
        # The photo shows where the mask is not 1, and it is 2 away at most.
        near = rounding(8) + 2 * (1 - masks[:, y, x])
        assert ((pasted[:, :, y, x].mean(1) - level).abs() <= near).all() and masks[:, y, x].min() > 0.9
    one, _ = smooth_faces(faces, 1.0, choice="left_to_right", index=1)
    assert (centre_x(one) > 60).all() and one.frame_index.tolist() == [0, 1, 2]
    assert one.track is not None and one.track.tolist() == [1] * 3, "a number stays the person's"
    text = report_text(reports, 3)
    assert "2 face tracks in 3 frames" in text and "Face 2: frames 1 to 3; jitter" in text


def test_no_face_at_all_passes_through() -> None:
    faces = video([0, 1], [(40, 40), (41, 40)])
    none = faces.replace(
        crops=faces.crops[:0],
        crop_to_photo=faces.crop_to_photo[:0],
        frame_index=faces.frame_index[:0],
        landmarks=faces.landmarks[:0],
        score=faces.score[:0],
    )
    smooth, reports = smooth_faces(none)
    assert len(smooth) == 0 and reports == [] and report_text(reports, 2) == "No face in 2 frames."
    single = none.replace(**{k: getattr(faces, k)[:1] for k in ("crops", "crop_to_photo", "frame_index", "landmarks")})
    single = single.replace(score=faces.score[:1])
    assert_close(smooth_faces(single)[0].crop_to_photo, single.crop_to_photo, MOTION)


def test_progress_may_stop_the_work() -> None:
    faces = video([0, 1, 2], [(40, 40)] * 3)
    seen: list[tuple[int, int]] = []
    smooth_faces(faces, on_progress=lambda *given: seen.append(given))
    assert seen == [(1, 3), (2, 3), (3, 3)]

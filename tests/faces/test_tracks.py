"""Who is who from frame to frame: stable numbers, people who pass one another, cuts, and the choice of faces."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facestylist.faces.tracks import choose_tracks, find_shots, track_faces
from facestylist.faces.types import FaceCrops

SIZE = 16
Place = tuple[int, float, float, float]


def faces_at(places: list[Place], photos: Tensor) -> FaceCrops:
    """Upright crops at (frame, centre x, centre y, side)."""
    matrices = torch.tensor([[[s / SIZE, 0, x - s / 2], [0, s / SIZE, y - s / 2]] for _, x, y, s in places]).reshape(
        -1, 2, 3
    )
    count = len(places)
    frames = torch.tensor([p[0] for p in places], dtype=torch.int64)
    crops = torch.zeros(count, 3, SIZE, SIZE)
    return FaceCrops(crops, matrices, frames, torch.zeros(count, 5, 2), torch.ones(count), photos)


def grey(*levels: float) -> Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 24, 32).contiguous()


def test_people_keep_their_number_whatever_the_order_of_detection() -> None:
    steps = range(6)
    left: list[Place] = [(t, 20 + t, 30, 20) for t in steps]
    right: list[Place] = [(t, 70 - t, 32, 24) for t in steps]
    mixed = [p for t in steps for p in ((left[t], right[t]) if t % 2 else (right[t], left[t]))]
    track = track_faces(faces_at(mixed, grey(*[0.0] * 6)))
    assert [int(n) for n, p in zip(track, mixed, strict=True)] == [0 if p in left else 1 for p in mixed]
    backwards = track_faces(faces_at(mixed[::-1], grey(*[0.0] * 6)))
    assert torch.equal(backwards.flip(0), track)


def test_two_who_pass_one_another_are_not_exchanged() -> None:
    # They meet between frames 5 and 6, a fifth of a crop apart in height.
    to_right: list[Place] = [(t, 20 + 4 * t, 30, 20) for t in range(12)]
    to_left: list[Place] = [(t, 64 - 4 * t, 34, 20) for t in range(12)]
    track = track_faces(faces_at(to_right + to_left, grey(*[0.0] * 12)))
    assert len(set(track[:12].tolist())) == len(set(track[12:].tolist())) == 1
    assert track[0] != track[12]


def test_a_gap_is_bridged_up_to_the_longest_one() -> None:
    places: list[Place] = [(t, 40 + t, 30, 20) for t in (0, 1, 2, 7, 8)]
    faces = faces_at(places, grey(*[0.0] * 9))
    assert track_faces(faces, longest_gap=4).tolist() == [0] * 5
    assert len(set(track_faces(faces, longest_gap=3).tolist())) == 2
    with pytest.raises(ValueError, match="longest_gap"):
        track_faces(faces, longest_gap=-1)


def test_a_face_elsewhere_or_of_another_size_is_somebody_else() -> None:
    near = faces_at([(0, 40, 30, 20), (1, 46, 30, 20)], grey(0, 0))
    far = faces_at([(0, 40, 30, 20), (1, 49, 30, 20)], grey(0, 0))
    larger = faces_at([(0, 40, 30, 20), (1, 40, 30, 20 * math.exp(0.4))], grey(0, 0))
    assert [len(track_faces(f).unique()) for f in (near, far, larger)] == [1, 2, 2]


def test_a_cut_ends_everybody_and_a_fade_nobody() -> None:
    fade = grey(*[-0.6 + 0.12 * t for t in range(10)])
    assert find_shots(fade).tolist() == [0] * 10
    cut = grey(-0.5, -0.5, -0.5, 0.2, 0.2)
    assert find_shots(cut).tolist() == [0, 0, 0, 1, 1]
    among_still = grey(0.0, 0.0, 0.2, 0.2)
    assert find_shots(among_still).tolist() == [0, 0, 1, 1], "small, but nothing else changes"
    assert find_shots(grey(0, 0, 1, 1, 1, 0, 0)).tolist() == [0] * 7, "a flash"
    assert find_shots(grey(0, 0, 1, 1, 1, 1, 0, 0)).tolist() == [0, 0, 1, 1, 1, 1, 2, 2], "too long for one"
    place: list[Place] = [(t, 40, 30, 20) for t in range(5)]
    assert track_faces(faces_at(place, cut)).tolist() == [0, 0, 0, 1, 1]
    assert find_shots(cut[:1]).tolist() == [0] and find_shots(cut[:0]).tolist() == []


def test_whose_faces_go_on() -> None:
    # Two shots: in the first a small face on the left and a large one; in the second the large one is left.
    first: list[Place] = [p for t in range(3) for p in ((t, 20, 30, 12), (t, 60, 30, 24))]
    second: list[Place] = [p for t in range(3, 5) for p in ((t, 20, 30, 24), (t, 60, 30, 12))]
    faces = faces_at(first + second, grey(-0.5, -0.5, -0.5, 0.5, 0.5))
    track = track_faces(faces)
    assert track.tolist() == [0, 1, 0, 1, 0, 1, 2, 3, 2, 3]
    assert choose_tracks(faces, track).tolist() == [0, 1, 2, 3]
    assert choose_tracks(faces, track, "largest").tolist() == [1, 2]
    assert choose_tracks(faces, track, "left_to_right", 0).tolist() == [0, 2]
    assert choose_tracks(faces, track, "left_to_right", 1).tolist() == [1, 3]
    with pytest.raises(ValueError, match="at most 2 people.*0 to 1"):
        choose_tracks(faces, track, "left_to_right", 2)
    with pytest.raises(ValueError, match="Unknown choice"):
        choose_tracks(faces, track, "smallest")
    # A large face for one frame is not the main person.
    passing = faces_at([*first, (1, 40, 12, 30)], grey(-0.5, -0.5, -0.5))
    assert choose_tracks(passing, track_faces(passing), "largest").tolist() == [2]


def test_no_face_is_no_track() -> None:
    faces = faces_at([], grey(0, 0))
    track = track_faces(faces)
    assert track.shape == (0,) and track.dtype == torch.int64
    assert choose_tracks(faces, track, "largest").tolist() == []

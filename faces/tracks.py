"""Which faces of consecutive frames are one person: tracks, by where a face is and how large, with nothing learned.

A track never goes on over a cut, so it is one person in one shot. Pictures that have nothing to do with one another
are all cuts, and each face is a track of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.pictures import finite, to_floats
from .policies import CHOICES, LONGEST_GAP
from .types import FaceCrops
from .warp import scale_of, transform_points

_REACH = 0.35
"""How far a face may move, and change its size, from frame to frame: in crop sides, and as a logarithm."""
_REACH_PER_GAP = 0.1
"""Added for every frame in between in which it was not seen, up to `_REACH_MOST`."""
_REACH_MOST = 1.0
_MEMORY = 4
"""Sightings from which a track's speed is taken, and frames for which it is believed to go on."""
_CUT = 0.35
"""Mean difference of two frames' thumbnails, in -1..1, that is a cut whatever else moves."""
_CUT_AMONG_STILL = 0.15
"""The same where the frames before and after differ by less than a quarter of it."""
_THUMBNAIL = 16
_FLASH = 3
"""Frames that may look altogether different (a flash, a dropped frame) before the same shot goes on."""


def crop_places(faces: FaceCrops) -> tuple[Tensor, Tensor]:
    """Centres [N,2] and sides [N] of the crops in photo pixels."""
    size = faces.crops.shape[-1]
    matrices = faces.crop_to_photo.double().cpu()
    middle = matrices.new_full((len(faces), 1, 2), size / 2)
    return transform_points(matrices, middle)[:, 0], scale_of(matrices).double() * size


def find_shots(photos: Tensor) -> Tensor:
    """Which shot each of the frames [F,3,H,W] in -1..1 belongs to, [F] int64, counted from 0.

    A cut is where thumbnails of 16 x 16 differ by much, or by more than they do before and after. A fade is none, and
    neither is a flash or a dropped frame after which the picture of before goes on.
    """
    if len(photos) < 2:
        return torch.zeros(len(photos), dtype=torch.int64)
    size = (_THUMBNAIL, _THUMBNAIL)
    small = torch.cat([F.interpolate(finite(to_floats(p[None]).float()), size, mode="area") for p in photos]).cpu()
    change = (small[1:] - small[:-1]).abs().mean((1, 2, 3))
    around = F.pad(change, (1, 1))
    beside = torch.maximum(around[:-2], around[2:])
    cut = (change > _CUT) | ((change > _CUT_AMONG_STILL) & (change > 4 * beside))
    for start in torch.nonzero(cut)[:, 0].tolist():
        for back in range(start + 2, min(start + 2 + _FLASH, len(small))):
            if float((small[back] - small[start]).abs().mean()) < _CUT_AMONG_STILL:
                cut[start:back] = False
                break
    return F.pad(cut.long().cumsum(0), (1, 0))


@dataclass
class _Track:
    """Sightings of one person: frame, centre x and y, logarithm of the side."""

    sightings: list[tuple[int, float, float, float]]
    faces: list[int]

    def distance(self, frame: int, x: float, y: float, log_side: float) -> float:
        """How far a face is from where this one would be, in units of what is allowed: up to 1 it may be the same."""
        last, x0, y0, log0 = self.sightings[-1]
        first, x1, y1, _ = self.sightings[-_MEMORY:][0]
        gap = frame - last
        # Expecting it to go on as it went keeps two people apart who pass one another.
        ahead = min(gap, _MEMORY) / max(last - first, 1)
        expected = x0 + (x0 - x1) * ahead, y0 + (y0 - y1) * ahead
        side = math.exp((log_side + log0) / 2)
        off = math.dist(expected, (x, y)) / side + abs(log_side - log0)
        return off / min(_REACH + _REACH_PER_GAP * (gap - 1), _REACH_MOST)


def track_faces(faces: FaceCrops, longest_gap: int = LONGEST_GAP) -> Tensor:
    """The track of each face, [N] int64 on the CPU.

    In each frame the nearest pairs of tracks and faces are joined first. The result depends neither on the order of
    the faces nor on chance.

    Args:
        faces: of the frames of a video, or of several shots one behind the other.
        longest_gap: in frames; a person who is missing for longer comes back as a new track.

    Returns:
        Tracks from 0: those of the first shot, then those of the second; within a shot from left to right, by where
        their faces mostly are.
    """
    if longest_gap < 0:
        raise ValueError(f"`longest_gap` is {longest_gap}; give a number of frames from 0.")
    centres, sides = crop_places(faces)
    shots = find_shots(faces.photos)
    places = [(x, y, math.log(side)) for (x, y), side in zip(centres.tolist(), sides.tolist(), strict=True)]
    frames = faces.frame_index.tolist()
    tracks: list[_Track] = []
    for frame in sorted(set(frames)):
        members = [i for i, f in enumerate(frames) if f == frame]
        shot = int(shots[frame])
        alive = [
            t
            for t in tracks
            if frame - t.sightings[-1][0] <= longest_gap + 1 and int(shots[t.sightings[-1][0]]) == shot
        ]
        pairs = sorted(
            (distance, places[i], k, i)
            for k, track in enumerate(alive)
            for i in members
            if (distance := track.distance(frame, *places[i])) <= 1
        )
        joined: dict[int, _Track] = {}
        for _, _, k, i in pairs:
            if i not in joined and all(alive[k] is not track for track in joined.values()):
                joined[i] = alive[k]
        for i in sorted(members, key=lambda i: places[i]):
            if i not in joined:
                joined[i] = _Track([], [])
                tracks.append(joined[i])
            joined[i].sightings.append((frame, *places[i]))
            joined[i].faces.append(i)

    def order(track: _Track) -> tuple[int, float, int, float]:
        first, _, y, _ = track.sightings[0]
        across = sorted(x for _, x, _, _ in track.sightings)
        return int(shots[first]), across[len(across) // 2], first, y

    result = torch.zeros(len(faces), dtype=torch.int64)
    for number, track in enumerate(sorted(tracks, key=order)):
        result[track.faces] = number
    return result


def tracks_of(faces: FaceCrops) -> Tensor:
    """The tracks [N] that the faces carry, or those that are found now."""
    return track_faces(faces) if faces.track is None else faces.track.cpu()


def choose_tracks(faces: FaceCrops, track: Tensor, choice: str = "all", index: int = 0) -> Tensor:
    """The tracks to keep, sorted, [K] int64.

    Args:
        faces: the faces.
        track: [N], the track of each, from `track_faces`.
        choice: "all"; "largest": in each shot the one that fills most of the picture for longest; "left_to_right": in
            each shot the one at place `index`.
        index: counted from 0, the leftmost; used with "left_to_right" alone.

    Raises:
        ValueError: no such choice, or no shot has so many people.
    """
    if choice not in CHOICES:
        raise ValueError(f"Unknown choice {choice!r}; choose one of {', '.join(CHOICES)}.")
    if index < 0:
        raise ValueError(f"`index` is {index}; 0 is the leftmost face.")
    everybody = torch.unique(track)
    if choice == "all" or not len(everybody):
        return everybody
    shots = find_shots(faces.photos)
    area = crop_places(faces)[1].square()
    in_shot: dict[int, list[int]] = {}
    for number in everybody.tolist():
        first = int(faces.frame_index.cpu()[track == number].min())
        in_shot.setdefault(int(shots[first]), []).append(number)
    if choice == "largest":
        kept = [max(numbers, key=lambda n: float(area[track == n].sum())) for numbers in in_shot.values()]
    else:
        kept = [numbers[index] for numbers in in_shot.values() if index < len(numbers)]
        if not kept:
            most = max(len(numbers) for numbers in in_shot.values())
            raise ValueError(
                f"`index` is {index}, but at most {most} people are in a shot: choose 0 to {most - 1}, from the left."
            )
    return torch.tensor(kept, dtype=torch.int64)

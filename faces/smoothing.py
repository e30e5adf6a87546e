"""Steady crops for video: the way from crop to photo is smoothed over time, and frames without a detection are filled.

Detectors answer each frame for itself, so crops tremble by a pixel or two even where nobody moves; every network after
them turns that into flicker. The similarity of each face is taken apart into centre, logarithm of the scale, and angle,
each is steadied by what its own noise calls for (`temporal.py`), and so are the landmarks inside the crop, which masks
follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .align import extract_crop
from .policies import LONGEST_GAP, MISSING, SMOOTHING
from .temporal import smooth_series, wide
from .tracks import choose_tracks, track_faces
from .types import FaceCrops
from .warp import invert_affine, transform_points

_TRUSTED = 4.0
"""Steps in frames up to which the movement before and after says how a missing face moved."""


@dataclass(frozen=True)
class TrackReport:
    """What was done to one track; frames count from 0."""

    track: int
    first: int
    last: int
    filled: tuple[int, ...]
    """Frames without a detection that have a crop now."""
    skipped: tuple[int, ...]
    """Frames between the first and the last that have none."""
    jitter_before: float
    jitter_after: float
    """See `jitter`."""


def unwrap(angles: Tensor) -> Tensor:
    """Angles [T] in radians with no jump of more than half a turn between neighbours."""
    step = angles.diff()
    turns = torch.round(step / math.tau)
    return torch.cat([angles[:1], angles[1:] - math.tau * turns.cumsum(0)])


def to_motion(matrices: Tensor, size: int) -> Tensor:
    """Similarities [T,2,3] as [T,4]: crop's centre in the photo (x, y), logarithm of the scale, unwrapped angle."""
    middle = matrices.new_full((len(matrices), 1, 2), size / 2)
    centre = transform_points(matrices, middle)[:, 0]
    right = matrices[:, :, 0]
    angle = unwrap(torch.atan2(right[:, 1], right[:, 0]))
    return torch.cat([centre, right.norm(dim=1).log()[:, None], angle[:, None]], 1)


def from_motion(motion: Tensor, size: int) -> Tensor:
    """The inverse of `to_motion`: [T,4] -> [T,2,3]."""
    scale = motion[:, 2].exp()
    a, b = scale * motion[:, 3].cos(), scale * motion[:, 3].sin()
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    start = motion[:, :2, None] - linear @ motion.new_full((2, 1), size / 2)
    return torch.cat([linear, start], 2)


def jitter(matrices: Tensor, frames: Tensor, size: int) -> float:
    """How much crops tremble: mean length of the second differences of their corners, in percent of the crop's side.

    Args:
        matrices: [T,2,3], of one face.
        frames: [T] int, sorted; only three frames in a row count.
        size: the crops' side in their own pixels.

    Returns:
        0 for steady movement, or where no three frames follow one another.
    """
    corners = matrices.new_tensor([[0, 0], [size, 0], [0, size], [size, size]])
    quads = transform_points(matrices, corners.expand(len(matrices), 4, 2))
    side = (quads[:, 1] - quads[:, 0]).norm(dim=-1)
    row = (frames.diff(n=1)[1:] == 1) & (frames.diff(n=1)[:-1] == 1)
    trembling = quads.diff(n=2, dim=0).norm(dim=-1).mean(1) / side[1:-1] if len(quads) > 2 else quads.new_zeros(0)
    return 100 * float(trembling[row.to(trembling.device)].mean()) if bool(row.any()) else 0.0


def fill_gaps(values: Tensor, frames: Tensor, missing: str) -> tuple[Tensor, Tensor]:
    """Values [T,C] at frames [T] (sorted), with the frames in between filled.

    Args:
        values: what was seen.
        frames: when.
        missing: "hold" repeats the last seen value; "interpolate" goes on to the next one as the movement before and
            after suggests; else nothing is filled.

    Returns:
        Values [T',C] and their frames [T'].
    """
    if missing not in ("hold", "interpolate") or not len(frames):
        return values, frames
    whole = torch.arange(int(frames[0]), int(frames[-1]) + 1, device=frames.device)
    before = torch.searchsorted(frames, whole, right=True) - 1
    if missing == "hold" or len(frames) < 2:
        return values[before], whole
    before = before.clamp(max=len(frames) - 2)
    step = frames.diff()
    secant = values.diff(dim=0) / step.to(values)[:, None]
    # The slope at a sighting is that of the parabola through it and its neighbours (Catmull and Rom's, on uneven
    # steps); with them a cubic joins two sightings.
    share = (step[1:] / (step[1:] + step[:-1])).to(values)[:, None]
    inner = share * secant[:-1] + (1 - share) * secant[1:]
    slope = torch.cat([secant[:1], inner, secant[-1:]])
    # What a face did before a long absence says little about where it was in the middle of it.
    trust = (_TRUSTED / step.to(values)).clamp(max=1)[before, None]
    gap = step[before].to(values)[:, None]
    u = (whole - frames[before]).to(values)[:, None] / gap
    bend_in, bend_out = ((slope[before + k] - secant[before]) * gap * trust for k in (0, 1))
    line = values[before] + u * gap * secant[before]
    return line + u * (1 - u) * ((1 - u) * bend_in - u * bend_out), whole


def smooth_faces(
    faces: FaceCrops,
    strength: float = SMOOTHING,
    missing: str = "interpolate",
    choice: str = "all",
    index: int = 0,
    longest_gap: int = LONGEST_GAP,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[FaceCrops, list[TrackReport]]:
    """Joins the faces of frames to tracks, smooths each, fills what is missing, and cuts the crops anew.

    A frame is missing to a track where it lies between the track's first frame and its last. What comes before and
    after is left alone: there the person may not be in the picture.

    Args:
        faces: of the frames of a video, in any order.
        strength: the most smoothing, in frames; 0 keeps what was detected (see `temporal.smooth_series`).
        missing: "interpolate", "hold", "skip" (the frame has no crop), or "error".
        choice: whom to keep, see `choose_tracks`.
        index: see `choose_tracks`.
        longest_gap: see `track_faces`.
        on_progress: called with (crops done, crops in all); what it raises stops the work.

    Returns:
        The faces, frame by frame and in each frame by track, with `track` set; a filled one has the score 0. And what
        was done to each track.

    Raises:
        ValueError: a frame is missing and `missing` is "error", or an argument is not one of its choices.
    """
    if missing not in MISSING:
        raise ValueError(f"Unknown policy {missing!r} for missing frames; choose one of {', '.join(MISSING)}.")
    size = faces.crops.shape[-1]
    # What says where the crops are is little, and needs more precision than every device has.
    places = ("crop_to_photo", "frame_index", "landmarks", "score")
    faces = faces.replace(**{name: getattr(faces, name).cpu() for name in places})
    track = track_faces(faces, longest_gap)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    reports = []
    for number in choose_tracks(faces, track, choice, index).tolist():
        members = torch.nonzero(track == number)[:, 0]
        members = members[torch.argsort(faces.frame_index[members])]
        seen = faces.frame_index[members]
        absent = sorted(set(range(int(seen[0]), int(seen[-1]) + 1)) - set(seen.tolist()))
        if absent and missing == "error":
            raise ValueError(
                f"Face {number + 1} is missing in {frame_list(absent)} of {len(faces.photos)}. Lower "
                "`min_confidence` where faces are detected, or set `missing` to interpolate, hold or skip."
            )
        detected, points = wide(faces.crop_to_photo[members]), wide(faces.landmarks[members])
        motion = _steady_motion(to_motion(detected, size), seen, strength)
        inside = transform_points(invert_affine(detected), points).flatten(1)
        smooth = torch.cat([motion, smooth_series(inside, seen, strength)], 1)
        smooth, frames = fill_gaps(smooth, seen, missing)
        matrices = from_motion(smooth[:, :4], size)
        landmarks = transform_points(matrices, smooth[:, 4:].reshape(-1, 5, 2))
        score = faces.score.new_zeros(len(frames))
        score[torch.searchsorted(frames, seen)] = faces.score[members]
        parts.append((frames, matrices, landmarks, score))
        done = () if len(frames) == len(seen) else tuple(absent)
        before, after = jitter(detected, seen, size), jitter(matrices, frames, size)
        left_out = () if done else tuple(absent)
        reports.append(TrackReport(number, int(seen[0]), int(seen[-1]), done, left_out, before, after))
    if not parts:
        return faces.replace(track=track), reports
    frame_index, matrices, landmarks, score = (torch.cat(part) for part in zip(*parts, strict=True))
    numbers = torch.cat([torch.full_like(p[0], r.track) for p, r in zip(parts, reports, strict=True)])
    order = torch.argsort(frame_index * (int(numbers.max()) + 1) + numbers)
    frame_index, matrices, numbers = frame_index[order], matrices[order].float(), numbers[order]
    crops = []
    for i, frame in enumerate(frame_index.tolist()):
        crops.append(extract_crop(faces.photos[frame], matrices[i], size))
        if on_progress is not None:
            on_progress(i + 1, len(frame_index))
    result = FaceCrops(
        torch.stack(crops),
        matrices,
        frame_index,
        landmarks[order].float(),
        score[order],
        faces.photos,
        numbers,
        faces.alpha,
    )
    return result, reports


def _steady_motion(motion: Tensor, frames: Tensor, strength: float) -> Tensor:
    """Motion [T,4] with its place, its scale and its angle steadied, each by its own noise."""
    return torch.cat([smooth_series(part, frames, strength) for part in motion.split((2, 1, 1), dim=1)], 1)


def frame_list(frames: list[int]) -> str:
    """Frames counted from 0 as people read them, counted from 1: "frames 3 to 5, 9"."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    named = ", ".join(f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in runs)
    return ("frame " if len(frames) == 1 else "frames ") + named


def report_text(reports: list[TrackReport], frames: int) -> str:
    """What `smooth_faces` did, a line for each track."""
    if not reports:
        return f"No face in {frames} frames."
    lines = [f"{len(reports)} face track{'s' if len(reports) > 1 else ''} in {frames} frames."]
    for r in reports:
        line = f"Face {r.track + 1}: {frame_list(list(range(r.first, r.last + 1)))}"
        line += f"; filled {frame_list(list(r.filled))}" if r.filled else ""
        line += f"; left out {frame_list(list(r.skipped))}" if r.skipped else ""
        lines.append(f"{line}; jitter {r.jitter_before:.2f} % -> {r.jitter_after:.2f} % of the crop's side.")
    return "\n".join(lines)

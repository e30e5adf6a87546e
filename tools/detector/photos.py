"""Photographs for the detector's training: aligned portraits as cut-outs beside the rendered ones, and backgrounds."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.picture_files import find_pictures
from ...detection.search import closeup_to_photo
from ...faces.masks import face_depth
from ...procedural.landmarks import FIVE_POINT_GROUPS, five_points
from ...procedural.scene import FaceSprites
from ...training.data.picture_files import read_picture

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
_LARGEST_BACKGROUND = 640


def read_portraits(folder: Path, size: int, like: FaceSprites, held_out: bool = False) -> FaceSprites:
    """The portraits of a folder as cut-outs.

    Args:
        folder: square pictures of one face each, and `faces.csv`, which has a row for each: its `file`, `held_out` (1:
            not to be trained on) and the columns `left_eye_x`, `left_eye_y` and so on of POINTS, in pixels.
        size: side of the cut-outs in pixels.
        like: rendered faces, whose mean outline is laid over each portrait's five landmarks.
        held_out: the held-out portraits instead of the others.

    Raises:
        ValueError: there is no such list, or it lacks a column.
    """
    table = folder / "faces.csv"
    if not table.is_file():
        raise ValueError(f"There is no faces.csv in {folder}; it lists the portraits and their landmarks.")
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row.get("held_out") == "1") == held_out]
    images, points = [], []
    for row in rows:
        picture = read_picture(folder / row["file"])
        try:
            five = torch.tensor([[float(row[f"{name}_x"]), float(row[f"{name}_y"])] for name in POINTS])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{table} lacks the landmarks of {row['file']} ({error}).") from error
        points.append(five * (size / picture.shape[-1]))
        small = F.interpolate(picture[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
        images.append(((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    if not images:
        raise ValueError(f"{table} lists no portrait with held_out = {int(held_out)}.")
    five = torch.stack(points)
    # Every other one is the whole tile with its own background, the rest are cut out round the head.
    alphas = torch.ones(len(images), size, size, dtype=torch.bool)
    alphas[::2] = face_depth(five[::2], size, "head") > 0
    looks = torch.full((len(images),), int(like.looks.max()) + 1)
    return FaceSprites(torch.stack(images), alphas, outline(five, like), looks)


def outline(five: Tensor, like: FaceSprites) -> Tensor:
    """68 landmarks [N,68,2] that average to the given five [N,5,2]: the mean of rendered faces, moved to fit."""
    own = five_points(like.landmarks)
    ahead = closeup_to_photo(own, 1)
    inverse = torch.linalg.inv(ahead[:, :, :2])
    upright = (like.landmarks - ahead[:, None, :, 2]) @ inverse.transpose(1, 2)
    mean = upright.mean(0)
    matrices = closeup_to_photo(five, 1)
    points = mean @ matrices[:, :, :2].transpose(1, 2) + matrices[:, None, :, 2]
    # The parts that are known move to where they are, each as a whole.
    for index, group in enumerate(FIVE_POINT_GROUPS):
        points[:, list(group)] += (five[:, index] - points[:, list(group)].mean(1))[:, None]
    return points


def read_backgrounds(folder: Path) -> Sequence[Tensor]:
    """The pictures of a folder, which show no faces, as uint8 [3,h,w] of at most 640 pixels a side."""
    pictures = []
    for path in find_pictures(folder):
        picture = read_picture(path)
        scale = min(1.0, _LARGEST_BACKGROUND / max(picture.shape[1:]))
        size = [max(1, round(side * scale)) for side in picture.shape[1:]]
        small = F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
        pictures.append(((small + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
    if not pictures:
        raise ValueError(f"There is no picture in {folder}.")
    return pictures


def with_portraits(rendered: FaceSprites, portraits: FaceSprites) -> FaceSprites:
    """Both sets of cut-outs, the rendered ones repeated to about a quarter: drawn faces are to be found too."""
    repeated = torch.arange(len(rendered)).repeat(max(1, len(portraits) // (3 * len(rendered))))
    names = ("images", "alphas", "landmarks", "looks")
    return FaceSprites(*(torch.cat([getattr(rendered, name)[repeated], getattr(portraits, name)]) for name in names))

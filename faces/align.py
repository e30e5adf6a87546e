"""From five landmarks to an upright face crop, by the rule the FFHQ data set was cut with, and the way back.

The rule (Karras et al., "A Style-Based Generator Architecture for GANs", arXiv 1812.04948, appendix A, after
"Progressive Growing of GANs", arXiv 1710.10196, appendix C) places a square on the eyes and the mouth; everything a
StyleGAN face network learned depends on it, so that inversion is only as good as this alignment.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from ..core.pictures import finite, to_floats
from .types import FaceCrops
from .warp import invert_affine, reflect_index, resample, scale_of, transform_points

if TYPE_CHECKING:
    from .types import Detection

log = logging.getLogger(__name__)

ORDERS = ("left_to_right", "largest")
ON_NO_FACE = ("error", "skip")

SMALLEST_PHOTO = 32
"""Shorter sides, in pixels, are what a missing face is put down to."""

LARGEST, FARTHEST = 16, 32
"""Widths of a photo that a crop may span, and within which it has to lie; a face that fills its photo needs three, and
nine at the largest margin."""
MOST_PIXELS = 1 << 29
"""Of the photo under a crop; they are in memory at once."""
_BLUR_SIDE = 0.02
"""Standard deviation of the blur beyond the photo's border, in crop sides (FFHQ)."""
_BLUR_RAMP = 0.1
"""Distance beyond the border, in crop sides, where the reflection is fully blurred."""
_FADE_RAMP = 0.4
"""Distance beyond the border, in crop sides, where the reflection has become the photo's median colour."""


def crop_to_photo_from_landmarks(landmarks: Tensor, size: int, margin: float = 1.0) -> Tensor:
    """The similarity that maps the coordinates of an FFHQ crop to those of the photo.

    Args:
        landmarks: [N,5,2] in photo pixels: the eye on the picture's left, the other eye, nose tip, left and right
            mouth corner (of an upright face; a tilted face keeps the order).
        size: side of the crop in pixels.
        margin: 1 is FFHQ's framing; 1.2 shows a fifth more around the face.

    Returns:
        [N,2,3] float32 with photo_xy = M @ [crop_x, crop_y, 1].

    Raises:
        ValueError: the landmarks are not [N,5,2], or fall together so that they span no square.
    """
    if landmarks.ndim != 3 or landmarks.shape[1:] != (5, 2):
        raise ValueError(f"Landmarks have shape {tuple(landmarks.shape)}; give five (x, y) points per face, [N,5,2].")
    if size < 1 or margin <= 0:
        raise ValueError(f"Crop size {size} and margin {margin} must both be positive.")
    points = landmarks.cpu().double()  # MPS has no double precision
    eye_left, eye_right, _, mouth_left, mouth_right = points.unbind(1)
    eye_centre = (eye_left + eye_right) / 2
    eye_to_eye = eye_right - eye_left
    eye_to_mouth = (mouth_left + mouth_right) / 2 - eye_centre
    right = eye_to_eye - _quarter_turn(eye_to_mouth)
    length = right.norm(dim=1, keepdim=True)
    half_side = torch.maximum(eye_to_eye.norm(dim=1) * 2.0, eye_to_mouth.norm(dim=1) * 1.8)[:, None] * margin
    if not bool(torch.isfinite(points).all()) or bool((length < 1e-6).any()) or bool((half_side < 1e-3).any()):
        raise ValueError("The five landmarks of a face fall together or are not numbers; detect the face again.")
    right = right / length * half_side
    down = _quarter_turn(right)
    corner = eye_centre + eye_to_mouth * 0.1 - right - down
    matrices = torch.stack([right * (2 / size), down * (2 / size), corner], dim=2).to(landmarks.device, torch.float32)
    if not bool(torch.isfinite(matrices).all()):
        raise ValueError("The five landmarks of a face lie farther away than any photo reaches; detect the face again.")
    return matrices


def _quarter_turn(vectors: Tensor) -> Tensor:
    """[N,2] vectors turned by 90 degrees from x towards y: (x, y) -> (-y, x)."""
    return torch.stack([-vectors[:, 1], vectors[:, 0]], dim=1)


def extract_crop(photo: Tensor, crop_to_photo: Tensor, size: int) -> Tensor:
    """Cuts one crop out of a photo, anti-aliased when it shrinks.

    Beyond the photo's border the picture is continued by reflection that grows blurred and then fades to the median
    colour, as in FFHQ, so that a network sees neither a hard edge nor a second face. Pixels inside the photo are
    never touched, but for those that are no numbers (NaN or infinite), which are filled from their neighbours.

    Args:
        photo: [3,H,W], -1..1, or uint8 in 0..255.
        crop_to_photo: [2,3].
        size: side of the crop in pixels.

    Returns:
        [3,size,size], -1..1.

    Raises:
        ValueError: the crop is so large, or so far away, that it would show next to nothing of the photo.
    """
    height, width = photo.shape[-2:]
    matrix = crop_to_photo.to(photo.device, torch.float32)
    corners = torch.tensor([[0, 0], [size, 0], [0, size], [size, size]], device=photo.device, dtype=torch.float32)
    quad = transform_points(matrix[None], corners[None])[0]
    step = float(scale_of(matrix[None]))
    side, away = float((quad.amax(0) - quad.amin(0)).max()), float(quad.abs().max())
    longer = max(height, width, SMALLEST_PHOTO)
    if side > LARGEST * longer or side**2 > MOST_PIXELS or away > FARTHEST * longer:
        raise ValueError(
            f"A face's crop would be {side:.0f} pixels wide and reach {away:.0f} pixels far, in a photo of {width} x "
            f"{height}: its landmarks cannot be right. Detect the face again."
        )
    # Halving by area before anything else keeps the work in proportion to the crop, not to the photo.
    shrink = 2 ** max(0, math.floor(math.log2(max(step / 2, 1))))
    spare = 4 * shrink
    left, top = (math.floor(float(v) / shrink) * shrink - spare for v in quad.amin(0))
    right, bottom = (math.ceil(float(v) / shrink) * shrink + spare for v in quad.amax(0))
    rows = reflect_index(top, bottom, height, photo.device)
    columns = reflect_index(left, right, width, photo.device)
    region = finite(to_floats(photo[:, rows][:, :, columns]))
    if shrink > 1:
        region = F.avg_pool2d(region[None], shrink)[0]
    if left < 0 or top < 0 or right > width or bottom > height:
        beyond = _distance_beyond(left, right, width, shrink, photo.device)[None, :].square()
        beyond = (beyond + _distance_beyond(top, bottom, height, shrink, photo.device)[:, None].square()).sqrt()
        region = _soften(region, beyond / (step * size), step * size / shrink)
    offset = matrix.new_tensor([left, top])
    to_region = torch.cat([matrix[:, :2], (matrix[:, 2] - offset)[:, None]], dim=1) / shrink
    return resample(region, to_region, (size, size))


def _distance_beyond(start: int, stop: int, length: int, step: int, device: torch.device) -> Tensor:
    """How far the pixels start, start+step, ... lie outside 0..length, in photo pixels: 0 inside."""
    centre = torch.arange(start, stop, step, device=device, dtype=torch.float32) + step / 2
    return torch.maximum(-centre, centre - length).clamp(min=0)


def _soften(region: Tensor, beyond: Tensor, side: float) -> Tensor:
    """Blurs and fades [3,h,w] where `beyond` [h,w], in crop sides, is positive; `side` is the crop's in its pixels."""
    sigma = max(side * _BLUR_SIDE, 0.5)
    reach = min(2 * math.ceil(2 * sigma) + 1, 2 * ((min(region.shape[-2:]) - 1) // 2) + 1)
    blurred = gaussian_blur2d(region[None], (reach, reach), (sigma, sigma))[0]
    inside = beyond == 0
    known = region[:, inside] if bool(inside.any()) else region.flatten(1)
    median = known.median(dim=1).values[:, None, None]
    region = torch.lerp(region, blurred, (beyond / _BLUR_RAMP).clamp(max=1)[None])
    fade = ((beyond - _BLUR_RAMP) / (_FADE_RAMP - _BLUR_RAMP)).clamp(0, 1)
    return torch.lerp(region, median.expand_as(region), fade[None])


def extract_crops(photos: Tensor, crop_to_photo: Tensor, size: int, frame_index: Tensor | None = None) -> Tensor:
    """Cuts several crops.

    Args:
        photos: [F,3,H,W] or one [3,H,W], as `extract_crop` takes them.
        crop_to_photo: [N,2,3].
        size: side of the crops in pixels.
        frame_index: [N], which photo each crop is cut from; all from the first when left out.

    Returns:
        [N,3,size,size], -1..1.
    """
    batch = photos if photos.ndim == 4 else photos[None]
    frames = [0] * len(crop_to_photo) if frame_index is None else [int(i) for i in frame_index]
    if not frames:
        return to_floats(batch.new_zeros(0, batch.shape[1], size, size))
    return torch.stack([extract_crop(batch[f], m, size) for f, m in zip(frames, crop_to_photo, strict=True)])


def order_detections(
    detections: Sequence[Detection],
    order: str = "left_to_right",
    max_faces: int = 0,
) -> list[Detection]:
    """The `max_faces` largest detections (0: all), sorted left to right by the box's centre, or largest first."""
    if order not in ORDERS:
        raise ValueError(f"Unknown face order {order!r}; choose one of {', '.join(ORDERS)}.")

    def area(found: Detection) -> float:
        x0, y0, x1, y1 = found.box.tolist()
        return (x1 - x0) * (y1 - y0)

    largest = sorted(detections, key=area, reverse=True)
    kept = largest[:max_faces] if max_faces > 0 else largest
    if order == "largest":
        return kept
    return sorted(kept, key=lambda found: float(found.box[0] + found.box[2]))


def align_faces(
    photos: Tensor,
    detect: Callable[[Tensor], Sequence[Detection]] | Sequence[Sequence[Detection]],
    size: int,
    on_no_face: str = "error",
    order: str = "left_to_right",
    max_faces: int = 0,
    margin: float = 1.0,
    on_progress: Callable[[int, int], None] | None = None,
    names: Sequence[str] | None = None,
) -> FaceCrops:
    """Finds and cuts all faces of some photos. A place that may show a face but not surely is left out, with a warning.

    Args:
        photos: [F,3,H,W], -1..1, or uint8 in 0..255.
        detect: photo [3,H,W] in -1..1 -> the faces in it (for instance `detect_faces` with its detector bound); or,
            where they are known already, the faces of each photo.
        size: side of the crops in pixels.
        on_no_face: "error" refuses a photo with no face; "skip" leaves it with none.
        order: "left_to_right" or "largest" within each photo; photos keep their order.
        max_faces: the most faces per photo, the largest ones; 0 means all.
        margin: see `crop_to_photo_from_landmarks`.
        on_progress: called with (photos done, photos in all); what it raises stops the work.
        names: what each photo is called in warnings; "Frame 1 of 8" and so on when left out.

    Returns:
        The crops; none at all (N = 0) when every photo was skipped.

    Raises:
        ValueError: a photo shows no face and `on_no_face` is "error", or an argument is not one of its choices.
    """
    if on_no_face not in ON_NO_FACE:
        raise ValueError(f"Unknown on_no_face {on_no_face!r}; choose one of {', '.join(ON_NO_FACE)}.")
    if photos.ndim != 4 or photos.shape[1] != 3:
        raise ValueError(f"Photos have shape {tuple(photos.shape)}; give [F,3,H,W] in -1..1.")
    if not callable(detect) and len(detect) != len(photos):
        raise ValueError(
            f"Faces were given for {len(detect)} pictures and there are {len(photos)}. Wire the same batch."
        )
    found: list[Detection] = []
    frames: list[int] = []
    doubts: list[str] = []
    for index, photo in enumerate(photos):
        seen = detect(to_floats(photo)) if callable(detect) else detect[index]
        faces = order_detections([face for face in seen if face.sure], order, max_faces)
        unsure = [face for face in seen if not face.sure]
        if unsure:
            name = names[index] if names else f"Frame {index + 1} of {len(photos)}"
            doubts.append(f"{name}: {_in_doubt(unsure)}")
        if not faces and on_no_face == "error":
            height, width = photo.shape[1:]
            if min(height, width) < SMALLEST_PHOTO:
                raise ValueError(
                    f"Frame {index + 1} of {len(photos)} is only {width} x {height} pixels, in which no face can be "
                    f"found. Give a picture of at least {SMALLEST_PHOTO} pixels a side."
                )
            seen_at = f" {_in_doubt(unsure)}" if unsure else ""
            raise ValueError(
                f"No face found in frame {index + 1} of {len(photos)}.{seen_at} "
                "Lower `min_confidence`, or set `on_no_face` to skip."
            )
        found += faces
        frames += [index] * len(faces)
        if on_progress is not None:
            on_progress(index + 1, len(photos))
    if doubts:
        others = f" The same in {len(doubts) - 1} more pictures." if len(doubts) > 1 else ""
        log.warning("%s It is left as it is; lower `min_confidence` to have it drawn.%s", doubts[0], others)
    device = photos.device
    landmarks = torch.stack([f.landmarks for f in found]) if found else torch.zeros(0, 5, 2)
    landmarks = landmarks.to(device, torch.float32)
    matrices = crop_to_photo_from_landmarks(landmarks, size, margin)
    frame_index = torch.tensor(frames, dtype=torch.int64, device=device)
    return FaceCrops(
        crops=extract_crops(photos, matrices, size, frame_index),
        crop_to_photo=matrices,
        frame_index=frame_index,
        landmarks=landmarks,
        score=torch.tensor([float(f.score) for f in found], dtype=torch.float32, device=device),
        photos=photos,
    )


def _in_doubt(unsure: Sequence[Detection]) -> str:
    """A sentence about places that may show a face."""
    best = max(unsure, key=lambda face: face.score)
    x0, y0, x1, y1 = best.box.tolist()
    count = f"one of {len(unsure)} places that" if len(unsure) > 1 else "a place that"
    return (
        f"There is {count} may show a face, {x1 - x0:.0f} pixels wide near ({(x0 + x1) / 2:.0f}, {(y0 + y1) / 2:.0f}), "
        f"too much hidden, cut off, turned away or small to be sure of (score {best.score:.2f})."
    )


def landmarks_in_crop(faces: FaceCrops) -> Tensor:
    """The five landmarks in the coordinates of their crops, [N,5,2]."""
    return transform_points(invert_affine(faces.crop_to_photo), faces.landmarks)


def reference_crops(
    pictures: Tensor, detect: Callable[[Tensor], Sequence[Detection]] | None, size: int, required: bool = False
) -> Tensor:
    """The main face of each picture of a style, cut out as `align_faces` does.

    Args:
        pictures: [B,3,H,W], -1..1; drawn ones are harder to find a face in than photographs.
        detect: as in `align_faces`; None where the pictures are aligned already.
        size: side of the crops in pixels.
        required: a picture in which no face is found is refused; else it is taken as aligned if it is square.

    Returns:
        [B,3,size,size], -1..1.

    Raises:
        ValueError: no face is found in a picture that needs one.
    """
    crops = []
    for number, picture in enumerate(pictures):
        faces = None if detect is None else align_faces(picture[None], detect, size, "skip", "largest", max_faces=1)
        if faces is not None and len(faces):
            crops.append(faces.crops)
            continue
        height, width = picture.shape[1:]
        which = f" {number + 1} of {len(pictures)}" if len(pictures) > 1 else ""
        if required or height != width:
            found = "is not square" if detect is None else "shows no face that could be found"
            raise ValueError(
                f"Reference picture{which} ({width} x {height}) {found}. Cut the face out by hand as a square that "
                "holds the whole head, and set `align` to off."
            )
        crops.append(F.interpolate(picture[None], (size, size), mode="bilinear", antialias=True, align_corners=False))
    return torch.cat(crops)

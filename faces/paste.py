"""Putting stylised crops back where they were cut, with no seam."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from kornia.color import lab_to_rgb, rgb_to_lab
from kornia.filters import gaussian_blur2d
from torch import Tensor

from ..core.pictures import are_numbers, fill, finite, to_floats
from .align import landmarks_in_crop
from .masks import border_window, face_depth, face_masks
from .types import FaceCrops
from .warp import invert_affine, resample, transform_points

_OWNERSHIP = 60.0
"""How sharply two overlapping faces part: each crop side of difference in depth changes the odds by e to this."""
_AT_ONCE = 1 << 24
"""Pixels of a photo that are blended at once, which takes 60 bytes each."""

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


def paste_faces(
    photos: Tensor,
    faces: FaceCrops,
    stylised: Tensor,
    feather: float = 0.1,
    colour_match: float = 0.0,
    region: str = "head",
    masks: Tensor | None = None,
    opacity: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Blends stylised crops into the photos they came from.

    Where the hulls of two faces overlap each pixel goes to the face it lies deeper in, so the result does not depend
    on the order of the faces and no face is covered by its neighbour's background.

    Args:
        photos: [F,3,H,W], -1..1, of the size the faces were found at.
        faces: the crops and where they were cut.
        stylised: [N,3,S',S'], -1..1, one per crop; S' may differ from the crops' size. Where it holds no numbers (NaN
            or infinite), the photo stays.
        feather: width of the falloff in crop sides, 0..0.5.
        colour_match: 0..1, how far the stylised colours are pulled to the photo's around the mask's edge.
        region: "face", "head" or "crop": what is replaced.
        masks: [N,S,S] in 0..1, used in place of the hull from the landmarks (still faded to 0 at the crop's border).
        opacity: [N,S',S'] in 0..1, the alpha of the stylised crops: the photo shows through.

    Returns:
        The photos [F,3,H,W], bit for bit the input where the mask is 0, and the masks [F,H,W] in 0..1 of what changed.

    Raises:
        ValueError: numbers or sizes that do not belong together.
    """
    parts = paste_parts(photos, faces, stylised, feather, colour_match, region, masks, opacity)
    results, changed = photos.clone(), photos.new_zeros(len(photos), *photos.shape[2:])
    for (frame, rows, columns), part, mask in parts:
        results[frame, :, rows, columns], changed[frame, rows, columns] = part, mask
    return results, changed


def paste_parts(
    photos: Tensor,
    faces: FaceCrops,
    stylised: Tensor,
    feather: float = 0.1,
    colour_match: float = 0.0,
    region: str = "head",
    masks: Tensor | None = None,
    opacity: Tensor | None = None,
) -> Iterator[tuple[tuple[int, slice, slice], Tensor, Tensor]]:
    """The parts of the photos that change, by the same arguments; the photos may be uint8 in 0..255.

    Yields:
        The place of a part (frame, rows, columns), what is there now [3,h,w] in -1..1, and its mask [h,w]. No two
        parts overlap.
    """
    count, size = len(faces.crops), faces.crops.shape[-1]
    if len(stylised) != count:
        raise ValueError(
            f"{len(stylised)} stylised pictures were given for {count} faces; give one per face, in the same order."
        )
    if photos.ndim != 4 or photos.shape[-2:] != faces.photos.shape[-2:] or len(photos) != len(faces.photos):
        raise ValueError(
            f"The photos are {tuple(photos.shape)} but the faces were cut from {tuple(faces.photos.shape)}; "
            "paste into the pictures that went into the align step."
        )
    if stylised.ndim != 4 or stylised.shape[1] != 3 or stylised.shape[-1] != stylised.shape[-2]:
        raise ValueError(f"Stylised crops have shape {tuple(stylised.shape)}; give square pictures [N,3,S,S].")
    if masks is not None and (masks.ndim != 3 or len(masks) != count or masks.shape[-1] != masks.shape[-2]):
        raise ValueError(f"Masks have shape {tuple(masks.shape)}; give one square mask per face, [{count},S,S].")
    if not 0 <= colour_match <= 1:
        raise ValueError(f"`colour_match` is {colour_match}; give a strength between 0 and 1.")

    landmarks = landmarks_in_crop(faces).to(photos.device)
    floating = to_floats(photos[:0])
    crop_masks = _crop_masks(landmarks, size, region, feather, masks)
    depth = face_depth(landmarks, size, "head").clamp(min=-0.5)
    pictures = stylised.to(floating)
    shown = are_numbers(pictures) if opacity is None else are_numbers(pictures) & (opacity[:, None].to(pictures) > 0)
    pictures = fill(pictures, shown)
    if colour_match > 0 and count:
        pictures = match_colour(pictures, finite(faces.crops.to(floating)), crop_masks, colour_match)
    if opacity is not None or not bool(shown.all()):
        gone = 1 - shown.to(crop_masks) * (1 if opacity is None else opacity[:, None].to(crop_masks))
        crop_masks = crop_masks * (1 - F.adaptive_max_pool2d(gone, crop_masks.shape[-2:])[:, 0])

    for frame, stored in enumerate(photos):
        members = [i for i in range(count) if int(faces.frame_index[i]) == frame]
        found = {i: _photo_box(faces.crop_to_photo[i], size, stored.shape[-2:]) for i in members}
        boxes = {i: box for i, box in found.items() if box is not None}
        for left, top, right, bottom in _apart(list(boxes.values())):
            photo = to_floats(stored[:, top:bottom, left:right])
            weight = photo.new_zeros(photo.shape[-2:])
            total = photo.new_zeros(photo.shape[-2:])
            colour = torch.zeros_like(photo)
            for i, (x0, y0, x1, y1) in boxes.items():
                y0, y1 = max(y0, top), min(y1, bottom)
                if y0 >= y1 or x0 >= right or x1 <= left:
                    continue
                extent = (y1 - y0, x1 - x0)
                to_crop = _photo_to_crop(faces.crop_to_photo[i].to(photos.device), x0, y0)
                mask = _warp_from_crop(crop_masks[i][None], to_crop, size, extent, "zeros")[0].clamp(0, 1)
                deep = _warp_from_crop(depth[i][None], to_crop, size, extent, "border")[0]
                owned = deep.mul_(_OWNERSHIP).exp_().mul_(mask)
                rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
                colour[:, rows, columns] += _warp_from_crop(pictures[i], to_crop, size, extent, "border").mul_(owned)
                total[rows, columns] += owned
                weight[rows, columns] = torch.maximum(weight[rows, columns], mask)
            covered = (weight > 0) & (total > 0)
            blended = torch.lerp(photo, colour.div_(total.clamp_(min=torch.finfo(total.dtype).tiny)), weight)
            del colour
            yield (frame, slice(top, bottom), slice(left, right)), blended.where(covered, photo), weight.mul_(covered)


def _apart(boxes: Sequence[Box]) -> Iterator[Box]:
    """Boxes around all of these that do not overlap, in parts of some rows."""
    apart: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        while near := [box for box in apart if x0 < box[2] and box[0] < x1 and y0 < box[3] and box[1] < y1]:
            apart = [box for box in apart if box not in near]
            lefts, tops, rights, bottoms = zip((x0, y0, x1, y1), *near, strict=True)
            x0, y0, x1, y1 = min(lefts), min(tops), max(rights), max(bottoms)
        apart.append((x0, y0, x1, y1))
    for x0, y0, x1, y1 in apart:
        rows = max(1, _AT_ONCE // (x1 - x0))
        yield from ((x0, top, x1, min(top + rows, y1)) for top in range(y0, y1, rows))


def _crop_masks(landmarks: Tensor, size: int, region: str, feather: float, given: Tensor | None) -> Tensor:
    """The masks [N,S,S] of all crops, 0 in their outermost pixels."""
    if given is None:
        return face_masks(landmarks, size, region, feather)
    masks = given.to(landmarks).nan_to_num(0.0).clamp(0, 1)
    return masks * border_window(masks.shape[-1], max(feather, 1.0 / masks.shape[-1]) / 2, masks.device)


def _photo_box(crop_to_photo: Tensor, size: int, extent: torch.Size) -> Box | None:
    """The part (x0, y0, x1, y1) of the photo that a crop covers, in whole pixels; None when there is none."""
    corners = torch.tensor([[0, 0], [size, 0], [0, size], [size, size]], dtype=torch.float32)
    quad = transform_points(crop_to_photo[None].float().cpu(), corners[None])[0]
    height, width = extent
    x0, y0 = (max(0, math.floor(float(v))) for v in quad.amin(0))
    x1, y1 = math.ceil(float(quad[:, 0].max())), math.ceil(float(quad[:, 1].max()))
    x1, y1 = min(x1, width), min(y1, height)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _photo_to_crop(crop_to_photo: Tensor, left: int, top: int) -> Tensor:
    """The [2,3] map from coordinates in a part of the photo that starts at (left, top) to the crop's."""
    inverse = invert_affine(crop_to_photo[None].float())[0]
    start = inverse[:, :2] @ inverse.new_tensor([left, top]) + inverse[:, 2]
    return torch.cat([inverse[:, :2], start[:, None]], dim=1)


def _warp_from_crop(picture: Tensor, to_crop: Tensor, size: int, extent: tuple[int, int], padding: str) -> Tensor:
    """Samples [C,S',S'] that covers a crop of `size` into a part of the photo; returns [C,*extent]."""
    return resample(picture, to_crop * (picture.shape[-1] / size), extent, padding_mode=padding)


def match_colour(stylised: Tensor, crops: Tensor, masks: Tensor, strength: float) -> Tensor:
    """Pulls the colours of stylised crops to the photo's, by the statistics around the mask's edge.

    Mean and standard deviation of each Lab channel are matched (Reinhard et al., "Color Transfer between Images",
    2001) over a ring that follows the edge of the mask, where a difference would be seen as a seam; the colours in the
    middle of the face, which are the style's own, follow the same map.

    Args:
        stylised: [N,3,S',S'], -1..1.
        crops: [N,3,S,S], -1..1.
        masks: [N,M,M] in 0..1.
        strength: 0 leaves the colours, 1 matches them fully.

    Returns:
        [N,3,S',S'], -1..1.
    """
    size = crops.shape[-1]
    small = F.interpolate(stylised, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    ring = F.interpolate(edge_ring(masks)[:, None], size=(size, size), mode="bilinear", align_corners=False)
    mean_from, deviation_from = _weighted_moments(rgb_to_lab((small.clamp(-1, 1) + 1) / 2), ring)
    mean_to, deviation_to = _weighted_moments(rgb_to_lab((crops.clamp(-1, 1) + 1) / 2), ring)
    # Flat or very busy rings would otherwise multiply noise: the contrast changes by at most half or double.
    gain = ((deviation_to + 1) / (deviation_from + 1)).clamp(0.5, 2)
    lab = rgb_to_lab((stylised.clamp(-1, 1) + 1) / 2)
    matched = lab_to_rgb((lab - mean_from) * gain + mean_to).clamp(0, 1) * 2 - 1
    return torch.lerp(stylised, matched, strength)


def edge_ring(masks: Tensor) -> Tensor:
    """Weights [N,S,S] in 0..1 that are 1 on the edge of masks [N,S,S] and fall off to both sides."""
    size = masks.shape[-1]
    sigma = max(0.04 * size, 0.5)
    reach = min(2 * math.ceil(2 * sigma) + 1, 2 * ((size - 1) // 2) + 1)
    soft = gaussian_blur2d(masks[:, None], (reach, reach), (sigma, sigma), border_type="replicate")[:, 0]
    return 4 * soft * (1 - soft)


def _weighted_moments(pictures: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, each [N,3,1,1], of [N,3,S,S] under weights [N,1,S,S]."""
    total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    mean = (pictures * weight).sum((2, 3), keepdim=True) / total
    variance = ((pictures - mean).square() * weight).sum((2, 3), keepdim=True) / total
    return mean, variance.sqrt()

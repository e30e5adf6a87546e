"""Paste-back: nothing changes where it should not, no seam where it does."""

import math

import pytest
import torch
from tolerances import assert_close, rounding

from facestylist.core.pictures import image_to_tensor, photos_of
from facestylist.faces.align import crop_to_photo_from_landmarks, extract_crops, landmarks_in_crop
from facestylist.faces.masks import REGIONS, face_masks
from facestylist.faces.paste import _OWNERSHIP, match_colour, paste_faces, paste_parts
from facestylist.faces.types import FaceCrops
from facestylist.pipeline.stylise import paste

FACE = torch.tensor([[40.0, 50.0], [72.0, 46.0], [58.0, 66.0], [46.0, 82.0], [70.0, 79.0]])

DEPTH = 40
"""Roundings in a row of a mask: axes and lengths from the landmarks, two powers and a root, a soft step."""


def picture(height: int, width: int, period: float = 12.0) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y, x = y / period, x / period
    return torch.stack([torch.sin(x + 0.3 * y), torch.cos(y), torch.sin(x) * torch.cos(0.7 * y)]) * 0.7


def crops_of(photos: torch.Tensor, landmarks: torch.Tensor, frames: list[int], size: int) -> FaceCrops:
    matrices = crop_to_photo_from_landmarks(landmarks, size)
    index = torch.tensor(frames)
    crops = extract_crops(photos, matrices, size, index)
    return FaceCrops(crops, matrices, index, landmarks, torch.ones(len(frames)), photos)


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("scale", [0.35, 1.0])
def test_identical_crop_changes_nothing(region: str, scale: float) -> None:
    photos = picture(170, 200)[None]
    faces = crops_of(photos, FACE[None] * scale + 30, [0], 160)
    pasted, masks = paste_faces(photos, faces, faces.crops, region=region)
    assert masks.amax() == 1 and (masks == 0).any()
    assert torch.equal(pasted[:, :, masks[0] == 0], photos[:, :, masks[0] == 0])
    change = (pasted - photos).abs().mean(1)[masks > 0] / 2
    assert change.mean() < 1 / 255
    assert change.max() < 4 / 255


def test_mask_lies_on_the_face_and_inside_the_crop() -> None:
    photos = picture(200, 240)[None]
    faces = crops_of(photos, FACE[None] + 50, [0], 96)
    for region in REGIONS:
        masks = face_masks(landmarks_in_crop(faces), 96, region, 0.08)[0]
        assert masks[0].max() == masks[-1].max() == masks[:, 0].max() == masks[:, -1].max() == 0
        assert masks.min() >= 0 and masks.max() == 1
        points = landmarks_in_crop(faces)[0].long()
        assert (masks[points[:, 1], points[:, 0]] > 0.99).all()
    face, head, crop = (face_masks(landmarks_in_crop(faces), 96, r, 0.08)[0] for r in REGIONS)
    assert face.sum() < 0.75 * head.sum() < 0.75 * crop.sum()
    assert (face <= head + rounding(8)).all() and (head <= crop + rounding(8)).all()
    # Not a square: the corners of the head's bounding box are empty.
    rows, columns = head.amax(1).nonzero().flatten(), head.amax(0).nonzero().flatten()
    assert head[rows[-1] - 6, columns[0] + 6] == 0 and head[rows[-1] - 6, columns[-1] - 6] == 0


def test_mask_turns_with_the_face() -> None:
    """Also where the landmarks do not belong to the crop's own alignment, and whatever they are the border is 0."""
    upright = torch.tensor([[[38.0, 46.0], [58.0, 46.0], [48.0, 57.0], [40.0, 66.0], [56.0, 66.0]]])
    turned = torch.stack([96 - upright[..., 1], upright[..., 0]], dim=-1)
    one, other = (face_masks(p, 96, "face")[0] for p in (upright, turned))
    # Over a feather of 0.1 the mask rises by 15 at most.
    assert_close(torch.rot90(one, -1), other, DEPTH, 1.5 / 0.1)
    stray = face_masks(upright * 5 - 200, 96, "head", 0.0)
    assert stray[:, 0].max() == stray[:, -1].max() == stray[:, :, 0].max() == stray[:, :, -1].max() == 0


def test_no_seam() -> None:
    """A very different crop blends in over the feather: no step between neighbours that one could see as an edge."""
    photos = torch.full((1, 3, 220, 220), -0.6)
    faces = crops_of(photos, FACE[None] + 60, [0], 128)
    pasted, masks = paste_faces(photos, faces, torch.full_like(faces.crops, 0.6), feather=0.15)
    side = float(faces.crop_to_photo[0, :, 0].norm()) * 128
    steepest = 1.5 * 1.2 / (0.15 * side)
    for axis in (2, 3):
        assert pasted.diff(dim=axis).abs().max() < 1.5 * steepest
    hard, _ = paste_faces(photos, faces, torch.full_like(faces.crops, 0.6), feather=0.0)
    assert hard.diff(dim=3).abs().max() > 3 * steepest


@pytest.mark.parametrize("size", [32, 512])
def test_stylised_size_may_differ(size: int) -> None:
    photos = picture(200, 200, 25.0)[None]
    faces = crops_of(photos, FACE[None] + 40, [0], 64)
    stylised = extract_crops(photos, crop_to_photo_from_landmarks(faces.landmarks, size), size)
    pasted, masks = paste_faces(photos, faces, stylised)
    assert ((pasted - photos).abs().mean(1)[masks > 0] / 2).mean() < 1.2 / 255


def test_shrinking_paste_does_not_alias() -> None:
    photos = torch.zeros(1, 3, 60, 60)
    faces = crops_of(photos, FACE[None] * 0.3 + 12, [0], 64)
    index = torch.arange(1024)
    fine = ((index[:, None] + index[None]) % 2 * 2.0 - 1).expand(1, 3, 1024, 1024)
    pasted, _ = paste_faces(photos, faces, fine)
    assert pasted.abs().max() < 0.03


def test_each_face_goes_to_its_own_frame() -> None:
    photos = torch.zeros(3, 3, 150, 150)
    faces = crops_of(photos, torch.stack([FACE, FACE + 20]), [2, 0], 48)
    stylised = torch.stack([torch.full((3, 48, 48), 1.0), torch.full((3, 48, 48), -1.0)])
    pasted, masks = paste_faces(photos, faces, stylised)
    assert pasted[0].min() < -0.99 and pasted[0].max() == 0
    assert pasted[1].abs().max() == 0 and masks[1].max() == 0
    assert pasted[2].max() > 0.99 and pasted[2].min() == 0


def test_overlapping_faces_keep_their_own_pixels_in_any_order() -> None:
    photos = torch.zeros(1, 3, 200, 260)
    landmarks = torch.stack([FACE + 40, FACE + torch.tensor([85.0, 50.0])])
    faces = crops_of(photos, landmarks, [0, 0], 64)
    stylised = torch.stack([torch.full((3, 64, 64), 1.0), torch.full((3, 64, 64), -1.0)])
    pasted, masks = paste_faces(photos, faces, stylised)
    swapped = FaceCrops(
        faces.crops.flip(0), faces.crop_to_photo.flip(0), faces.frame_index, landmarks.flip(0), faces.score, photos
    )
    again, _ = paste_faces(photos, swapped, stylised.flip(0))
    assert_close(pasted, again, DEPTH, 2 * _OWNERSHIP)
    for points, colour in zip(landmarks, (1.0, -1.0), strict=True):
        x, y = points.long().unbind(-1)
        # Colours 2 apart meet: a twentieth of the neighbour's would be off by 0.1.
        torch.testing.assert_close(pasted[0, 0, y, x], torch.full((5,), colour), atol=0.1, rtol=0)


def test_a_large_part_is_blended_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = picture(170, 350)[None]
    faces = crops_of(photos, torch.stack([FACE, FACE + 30, FACE + torch.tensor([200.0, 20.0])]), [0, 0, 0], 96)
    stylised = faces.crops.flip(1)
    places = [place for place, _, _ in paste_parts(photos, faces, stylised)]
    assert len(places) == 2, "those that overlap, and the other"
    whole = paste_faces(photos, faces, stylised)
    monkeypatch.setattr("facestylist.faces.paste._AT_ONCE", 5000)
    parts = list(paste_parts(photos, faces, stylised))
    assert len(parts) > 6 and all(part[0].numel() <= 5000 for _, part, _ in parts)
    times = torch.zeros_like(photos)
    for (frame, rows, columns), _, _ in parts:
        times[frame, :, rows, columns] += 1
    assert times.max() == 1
    for one, other in zip(paste_faces(photos, faces, stylised), whole, strict=True):
        # A place in the crop is told to a rounding of its 350 pixels, and a pixel's colours differ by less than 1.5.
        assert_close(one, other, 8 * 350)


def test_photos_of_bytes_and_of_floats_give_the_same() -> None:
    image = ((picture(170, 300).permute(1, 2, 0)[None] + 1) * 127.5).round().to(torch.uint8)
    stored = photos_of(image)
    faces = crops_of(stored, torch.stack([FACE, FACE + 30]), [0, 0], 96)
    floats = faces.replace(photos=image_to_tensor(image))
    assert stored.dtype == torch.uint8 and torch.equal(
        faces.crops, crops_of(floats.photos, faces.landmarks, [0, 0], 96).crops
    )
    drawn, masks = paste(faces, faces.crops.flip(1), 0.1, 0.5, "head")
    expected, expected_masks = paste(floats, faces.crops.flip(1), 0.1, 0.5, "head")
    assert drawn.dtype == torch.uint8 and torch.equal(drawn, (expected * 255).round().to(torch.uint8))
    assert torch.equal(masks, expected_masks) and torch.equal(drawn[masks == 0], image[masks == 0])


def test_crop_partly_outside_the_photo() -> None:
    photos = picture(100, 90)[None]
    faces = crops_of(photos, FACE[None] - 35, [0], 64)
    pasted, masks = paste_faces(photos, faces, torch.ones_like(faces.crops))
    assert torch.isfinite(pasted).all() and masks[0, 0].max() > 0
    far = crops_of(photos, FACE[None] + 500, [0], 64)
    unchanged, empty = paste_faces(photos, far, torch.ones_like(faces.crops))
    assert torch.equal(unchanged, photos) and empty.max() == 0


def test_no_faces_leaves_the_photos() -> None:
    photos = picture(50, 50)[None]
    faces = crops_of(photos, torch.zeros(0, 5, 2), [], 32)
    pasted, masks = paste_faces(photos, faces, torch.zeros(0, 3, 32, 32), colour_match=1.0)
    assert torch.equal(pasted, photos) and masks.shape == (1, 50, 50)


def test_given_mask_wins_but_not_at_the_border() -> None:
    photos = torch.zeros(1, 3, 160, 160)
    faces = crops_of(photos, FACE[None] + 20, [0], 64)
    given = torch.zeros(1, 64, 64)
    given[:, :20] = 1
    pasted, masks = paste_faces(photos, faces, torch.ones_like(faces.crops), masks=given)
    x, y = faces.landmarks[0].long().unbind(-1)
    assert masks[0, y, x].max() == 0
    assert masks.max() > 0.99 and pasted.max() > 0.99
    assert masks[0].diff(dim=0).abs().max() < 0.6


def test_colour_match_brings_the_ring_together() -> None:
    photos = picture(200, 200, 30.0)[None] * 0.3 + torch.tensor([0.3, -0.1, -0.3])[:, None, None]
    faces = crops_of(photos, FACE[None] + 40, [0], 64)
    masks = face_masks(landmarks_in_crop(faces), 64)
    shifted = (faces.crops * 0.6 - 0.25).clamp(-1, 1)
    matched = match_colour(shifted, faces.crops, masks, 1.0)
    half = match_colour(shifted, faces.crops, masks, 0.5)
    error, half_error, before = ((p - faces.crops).abs().mean() for p in (matched, half, shifted))
    assert error < 0.35 * before and error < half_error < before
    assert torch.equal(match_colour(shifted, faces.crops, masks, 0.0), shifted)


def test_arguments_that_do_not_belong_together() -> None:
    photos = picture(100, 100)[None]
    faces = crops_of(photos, FACE[None], [0], 32)
    with pytest.raises(ValueError, match="2 stylised pictures were given for 1 faces"):
        paste_faces(photos, faces, torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match="align step"):
        paste_faces(photos[:, :, 10:], faces, faces.crops)
    with pytest.raises(ValueError, match="feather"):
        paste_faces(photos, faces, faces.crops, feather=math.pi)
    with pytest.raises(ValueError, match="colour_match"):
        paste_faces(photos, faces, faces.crops, colour_match=2)
    with pytest.raises(ValueError, match="region"):
        paste_faces(photos, faces, faces.crops, region="nose")

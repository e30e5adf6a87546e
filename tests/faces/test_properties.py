"""What holds for faces of any place, size and turn, and for landmarks that are none."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tolerances import rounding
from torch import Tensor

from facestylist.faces.align import align_faces, crop_to_photo_from_landmarks, extract_crop
from facestylist.faces.masks import REGIONS, face_masks
from facestylist.faces.mesh import faces_of_mesh
from facestylist.faces.paste import paste_faces
from facestylist.faces.types import Detection
from facestylist.faces.warp import invert_affine, scale_of, transform_points

EPS = torch.finfo(torch.float32).eps
FACE = torch.tensor([[-16.0, -12.0], [16.0, -12.0], [1.0, 6.0], [-12.0, 20.0], [12.0, 20.0]])
HEIGHT, WIDTH, SIZE = 72, 96, 32
often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
seldom = settings(often, max_examples=20)
"""Where pictures are drawn."""

places = st.tuples(
    st.floats(0, 2 * math.pi),
    st.floats(0.4, 1.6),
    st.floats(10, WIDTH - 10),
    st.floats(10, HEIGHT - 10),
    st.integers(0, 2**31 - 1),
)
"""Turn, size, place, and the seed of what makes each face another."""
anything = st.one_of(
    st.floats(-50, 150),
    st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e-30, 1e7, 1e30, -1e30, 3e38]),
    st.floats(),
)


def face(place: tuple[float, float, float, float, int]) -> Tensor:
    angle, size, x, y, seed = place
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shape = FACE + 2 * torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
    return size * shape @ turn.T + torch.tensor([x, y])


def photo(seed: int) -> Tensor:
    """A smooth picture `[3, HEIGHT, WIDTH]` in -1..1."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear", align_corners=True)[0]


def found(*landmarks: Tensor) -> list[Detection]:
    return [Detection(torch.cat([points.amin(0), points.amax(0)]), points, 0.9) for points in landmarks]


@often
@given(places, st.floats(0.5, 2.0), st.sampled_from([1, 31, 256, 1024]))
def test_the_way_back_is_the_inverse(place: tuple, margin: float, size: int) -> None:
    matrix = crop_to_photo_from_landmarks(face(place)[None], size, margin)
    points = torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(place[4])) * size
    back = transform_points(invert_affine(matrix), transform_points(matrix, points))
    # A photo coordinate is rounded twice (product and sum) each way, and divided by the scale on the way back.
    largest = float(transform_points(matrix, points).abs().max()) + float(matrix[:, :, 2].abs().max()) + size
    assert (back - points).abs().max() <= 8 * EPS * largest * max(1.0, 1.0 / float(scale_of(matrix)))


@often
@given(places)
def test_the_map_is_a_similarity_that_holds_the_face(place: tuple) -> None:
    matrix = crop_to_photo_from_landmarks(face(place)[None], SIZE)[0].double()
    (a, b), (c, d) = matrix[:, :2].tolist()
    scale = math.hypot(a, c)
    assert abs(a - d) <= 4 * EPS * scale and abs(b + c) <= 4 * EPS * scale, "neither sheared nor mirrored"
    inside = transform_points(invert_affine(matrix[None]), face(place)[None].double())[0]
    assert bool(((inside > 0) & (inside < SIZE)).all())


TURNS = {
    "mirrored": (lambda p: p.flip(-1), lambda x: torch.stack([WIDTH - x[:, 0], x[:, 1]], 1)[[1, 0, 2, 4, 3]]),
    "turned by 90": (lambda p: p.rot90(1, (-2, -1)), lambda x: torch.stack([x[:, 1], WIDTH - x[:, 0]], 1)),
    "turned by 180": (lambda p: p.rot90(2, (-2, -1)), lambda x: torch.stack([WIDTH - x[:, 0], HEIGHT - x[:, 1]], 1)),
}


@pytest.mark.parametrize("how", TURNS)
@seldom
@given(places)
def test_a_turned_photo_gives_the_same_crop(how: str, place: tuple) -> None:
    turn, move = TURNS[how]
    picture, points = photo(place[4]), face(place)
    crop, other = (
        extract_crop(p, crop_to_photo_from_landmarks(x[None], SIZE)[0], SIZE)
        for p, x in ((picture, points), (turn(picture), move(points)))
    )
    if how == "mirrored":
        other = other.flip(-1)
    # Samples lie within a few roundings of a coordinate below 512; the picture changes by at most this per pixel. Blur
    # and median beyond the border come from the same pixels in another order, 512 in a row or column at most.
    steepest = max(float(picture.diff(dim=-1).abs().max()), float(picture.diff(dim=-2).abs().max()))
    assert (crop - other).abs().max() <= rounding(64, 512 * steepest) + rounding(2 * 512)


@often
@given(places, st.sampled_from([2, 3]))
def test_an_enlarged_photo_gives_the_same_map(place: tuple, factor: int) -> None:
    small, large = (crop_to_photo_from_landmarks(face(place)[None] * scale, SIZE) for scale in (1, factor))
    assert torch.allclose(small * factor, large, rtol=8 * EPS, atol=8 * EPS * WIDTH * factor)


@often
@given(st.lists(st.tuples(anything, anything), min_size=5, max_size=5))
def test_any_landmarks_give_a_finite_crop_or_a_sentence(points: list[tuple[float, float]]) -> None:
    landmarks = torch.tensor(points)
    picture = photo(0)[None]
    try:
        faces = align_faces(picture, [found(landmarks)], SIZE)
    except ValueError as error:
        assert str(error).endswith(".") and "landmarks" in str(error)
        return
    assert torch.isfinite(faces.crop_to_photo).all() and torch.isfinite(faces.crops).all()
    assert faces.crops.abs().max() <= 1
    pasted, masks = paste_faces(picture, faces, faces.crops)
    assert torch.isfinite(pasted).all() and torch.isfinite(masks).all()
    assert torch.equal(pasted * (masks == 0), picture * (masks == 0))


DEGENERATE = {
    "one point": FACE * 0 + 30,
    "nearly one point": FACE * 1e-5 + 30,
    "on a line": torch.tensor([[0.0, 0.0], [10, 0], [20, 0], [30, 0], [40, 0]]),
    "eyes on the mouth": FACE[[0, 1, 2, 0, 1]] + 40,
    "no number": FACE * math.nan,
    "endless": FACE * math.inf,
    "beyond float32": FACE * 1e37,
    "far away": FACE + 1e9,
    "a thousand photos wide": FACE * 1e5,
}


@pytest.mark.parametrize("how", DEGENERATE)
def test_degenerate_landmarks(how: str) -> None:
    picture = photo(1)[None]
    try:
        faces = align_faces(picture, [found(DEGENERATE[how])], SIZE)
    except ValueError as error:
        assert how not in ("on a line", "eyes on the mouth") and str(error).endswith(".")
    else:
        assert how in ("on a line", "eyes on the mouth", "nearly one point") and torch.isfinite(faces.crops).all()


@often
@given(places, st.sampled_from(REGIONS), st.floats(0, 0.5))
def test_masks_are_shares(place: tuple, region: str, feather: float) -> None:
    # Wherever the face lies in the crop, and beyond it.
    masks = face_masks(face(place)[None], SIZE, region, feather)
    assert bool(((masks >= 0) & (masks <= 1)).all())
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert not masks[0][border].any()


@seldom
@given(places, st.sampled_from(REGIONS), st.floats(0, 0.5), st.sampled_from([16, 32, 64]))
def test_pasting_what_was_cut_changes_little(place: tuple, region: str, feather: float, size: int) -> None:
    picture = photo(place[4])[None]
    faces = align_faces(picture, [found(face(place))], size)
    assume(float(scale_of(faces.crop_to_photo)) < 4)
    pasted, masks = paste_faces(picture, faces, faces.crops, feather, region=region)
    assert torch.equal(pasted[:, :, masks[0] == 0], picture[:, :, masks[0] == 0])
    # Between samples a step apart the picture changes by its slope times the step, here and on the way back.
    slope = float(picture.diff(dim=-1).abs().max()) + float(picture.diff(dim=-2).abs().max())
    assert (pasted - picture).abs().max() <= 2 * slope * max(1.0, float(scale_of(faces.crop_to_photo)))


meshes = st.sampled_from(
    [
        None,
        [],
        5,
        "x",
        [[1.0, 2.0]] * 468,
        [[1.0]] * 468,
        [[math.nan, 1.0]] * 468,
        [["a", 1]] * 468,
        [[10**400, 1]] * 468,
    ]
)
sizes = st.sampled_from([None, (64, 64), (0, 64), "64", (64,), (math.nan, 64), (10**400, 3), {"a": 1}, 7])
boxes = st.sampled_from([None, [1, 2, 3, 4], [1, 2], "box", [None] * 4])


@often
@given(meshes, sizes, boxes, st.sampled_from([0.5, None, "x", math.nan, [1]]), st.sampled_from([0, 1, 2]))
def test_foreign_meshes_are_read_or_refused(mesh: object, size: object, box: object, score: object, wrong: int) -> None:
    entry: object = {"landmarks_xy": mesh, "bbox_xyxy": box, "score": score}
    frames: object = [[[entry]], [[5]], [5]][wrong]
    try:
        faces = faces_of_mesh({"frames": frames, "image_size": size}, 64, 64)
    except ValueError as error:
        assert type(error) is ValueError and str(error).endswith("Face Landmarker.")
    else:
        assert all(torch.isfinite(each.landmarks).all() for frame in faces for each in frame)

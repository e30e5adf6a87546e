"""Close-ups of faces, and the search at all turns: what is kept, what is doubted, and what a turned photo changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tolerances import assert_close, rounding

from facestylist.detection.detectors import detect_faces
from facestylist.detection.embedded import EmbeddedDetector
from facestylist.detection.search import (
    CLOSEUP_SIDE,
    MIRROR_5,
    CloseupCutter,
    FaceSearch,
    closeup_to_photo,
    expected_place,
    face_boxes,
    first_of_each,
    measure,
    turned_closeups,
)
from facestylist.faces.warp import invert_affine, transform_points

ROOT = Path(__file__).resolve().parents[2]
FACE = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.0, 0.55], [-0.4, 1.1], [0.4, 1.1]])


def test_closeups_are_upright_and_of_one_size() -> None:
    for degrees, scale in ((0.0, 10.0), (75.0, 200.0), (-150.0, 3.0)):
        angle = torch.tensor(degrees).deg2rad()
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
        matrix = closeup_to_photo((FACE * scale @ turn.T + 77)[None], 100)
        expected = (FACE * 25 + torch.tensor([50.0, 40.0]))[None]
        # Sums over five points and two coordinates, and a product of such matrices with them.
        assert_close(transform_points(matrix, expected), (FACE * scale @ turn.T + 77)[None], 4 * 5)


def test_expected_place_is_the_mean_of_the_distribution() -> None:
    heat = torch.full((1, 5, 4, 8), -50.0)
    heat[:, :, 1, 2] = 5.0
    heat[:, 4, 3, 2] = 5.0
    places = expected_place(heat)[0]
    assert places[0].tolist() == pytest.approx([2.5 / 8, 1.5 / 4])
    assert places[4].tolist() == pytest.approx([2.5 / 8, 2.5 / 4])


def test_measuring_averages_the_picture_and_its_mirror_image() -> None:
    class Stub(torch.nn.Module):
        """Sees the left eye at x = 5/24 + 1/48 of whatever it is shown, brighter pictures being surer faces."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, closeups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            heat = torch.zeros(len(closeups), 5, 24, 24)
            for i, (x, y) in enumerate(((5, 9), (16, 9), (12, 14), (7, 19), (14, 19))):
                heat[:, i, y, x] = 60.0
            return heat, closeups.mean((1, 2, 3))

    face = (FACE * 24 + 60)[None]
    points, scores = measure(
        Stub(), CloseupCutter(torch.full((3, 120, 120), 0.5)), closeup_to_photo(face, CLOSEUP_SIDE), mirrored=True
    )
    places = transform_points(invert_affine(closeup_to_photo(face, CLOSEUP_SIDE)), points)[0] / 4
    near = rounding(24 * 24 + 4 * 5, float(points.abs().max()))  # means over the heat maps, maps of five points
    # The mirror image puts the left eye at 24 - 16.5 = 7.5 cells: halfway to 5.5 is 6.5.
    assert places[0].tolist() == pytest.approx([6.5, 9.5], abs=near)
    assert places[1].tolist() == pytest.approx([17.5, 9.5], abs=near)
    assert places[2].tolist() == pytest.approx([12.0, 14.5], abs=near)
    assert float(scores[0]) == pytest.approx(float(torch.tensor(0.5).sigmoid()), abs=rounding(3 * CLOSEUP_SIDE**2))


def test_the_same_face_is_reported_once() -> None:
    faces = torch.stack([FACE * 20 + 100, FACE * 22 + 104, FACE * 20 + 150, FACE * 80 + 150])
    assert first_of_each(faces).tolist() == [0, 2]
    assert first_of_each(faces[:0]).tolist() == []


def test_closeups_are_cut_where_their_maps_say() -> None:
    """A picture whose red is its x and whose green is its y, in pixels, at every scale and turn."""
    y, x = torch.meshgrid(torch.arange(900) + 0.5, torch.arange(900) + 0.5, indexing="ij")
    cut = CloseupCutter(torch.stack([x, y, x * 0]))
    middle = torch.tensor([[[CLOSEUP_SIDE / 2, CLOSEUP_SIDE / 2], [20.5, 30.5]]])
    for degrees, scale in ((0.0, 0.4), (35.0, 1.0), (170.0, 3.0), (-90.0, 5.5)):
        angle = torch.tensor(degrees).deg2rad()
        turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]) * scale
        matrix = torch.cat([turn, (450 - turn @ middle[0, 0])[:, None]], dim=1)[None]
        found = cut(matrix)[0, :2, 30, 20]
        torch.testing.assert_close(found, transform_points(matrix, middle)[0, 1], atol=0.02 * scale, rtol=0)
        again = turned_closeups(matrix, 1)
        assert torch.equal(transform_points(again, middle)[0, 0].round(), torch.tensor([450.0, 450.0]))
        torch.testing.assert_close(again[0, :, 0], matrix[0, :, 1])


def test_boxes_reach_from_forehead_to_chin_at_any_turn() -> None:
    box = face_boxes((FACE * 40 + 200)[None])[0]
    assert box.tolist() == pytest.approx([148, 140, 252, 278])
    upside_down = face_boxes((-FACE * 40 + 200)[None])[0]
    assert upside_down.tolist() == pytest.approx([148, 122, 252, 260])


COLOURS = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [1, -1, 1]])


def distance_to_colours(pictures: torch.Tensor) -> torch.Tensor:
    """[B,5,h,w]: how far each pixel of [B,3,h,w] is from each landmark's colour."""
    return (pictures[:, None] - COLOURS[None, :, :, None, None]).square().sum(2)


class Dots(torch.nn.Module):
    """Measures a face of five coloured dots; it is one where all are seen, the mouth below the eyes as in a face."""

    def __init__(self) -> None:
        super().__init__()
        self.sharpness = torch.nn.Parameter(torch.tensor(100.0))

    def forward(self, closeups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        off = distance_to_colours(closeups)
        places = expected_place(-self.sharpness * off)
        mirrored = places[:, 0, 0] > places[:, 1, 0]
        off = torch.where(mirrored[:, None, None, None], off[:, MIRROR_5], off)
        below = (places[:, 3:, 1].mean(1) - places[:, :2, 1].mean(1)) * 4
        seen = off.flatten(2).amin(-1).amax(-1) < 1
        return -self.sharpness * off, torch.where(seen & ((below - 1.1).abs() < 0.5), 6.0, -6.0)


def dotted(turn: float) -> torch.Tensor:
    """A black photo with a face of dots in (200, 140), 36 pixels between the eyes, turned by `turn` degrees."""
    photo = torch.full((3, 300, 420), -1.0)
    y, x = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(420) + 0.5, indexing="ij")
    for colour, (px, py) in zip(COLOURS, dots(turn).tolist(), strict=True):
        photo[:, ((x - px) ** 2 + (y - py) ** 2) < 30] = colour[:, None]
    return photo


def dots(turn: float) -> torch.Tensor:
    angle = torch.tensor(turn).deg2rad()
    rotation = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return (FACE - FACE.mean(0)) * 36 @ rotation.T + torch.tensor([200.0, 140.0])


class Upright:
    """Proposes the face of dots where it stands upright, or at any turn, and counts how often it is asked."""

    def __init__(self, score: float = 0.9, at_any_turn: bool = False) -> None:
        self.asked, self.score, self.at_any_turn = 0, score, at_any_turn
        self.last_was_upright = False

    def __call__(self, photo: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked += 1
        where = [(off < 0.5).nonzero().float().mean(0).flip(0) + 0.5 for off in distance_to_colours(photo[None])[0]]
        self.last_was_upright = bool(where[3][1] - where[0][1] > 25)
        if not (self.at_any_turn or self.last_was_upright):
            return torch.zeros(0, 5, 2), torch.zeros(0)
        return torch.stack(where)[None], torch.tensor([self.score])


@pytest.mark.parametrize(("turn", "asked"), [(0.0, 1), (90.0, 2), (180.0, 3), (270.0, 4)])
def test_other_turns_are_asked_until_a_face_is_sure(turn: float, asked: int) -> None:
    propose = Upright()
    search = FaceSearch(propose, Dots(), 640)
    # torch.rot90 turns against the clock, so what is turned by the clock stands upright after as many quarters.
    photo = dotted(turn)
    found = search.find(photo, 0.6)
    assert propose.asked == asked
    assert len(found) == 1 and found[0].sure
    torch.testing.assert_close(found[0].landmarks, dots(turn), atol=1.0, rtol=0)
    # What was found in one photo decides nothing in the next.
    search.find(photo, 0.6)
    assert propose.asked == 2 * asked


@pytest.mark.parametrize(("turn", "asked"), [(0.0, 1), (30.0, 1), (90.0, 2), (180.0, 2), (270.0, 2)])
def test_a_face_that_lies_shows_where_its_neighbours_are_upright(turn: float, asked: int) -> None:
    propose = Upright(at_any_turn=True)
    found = FaceSearch(propose, Dots(), 640).find(dotted(turn), 0.6)
    assert len(found) == 1 and found[0].sure
    assert propose.asked == asked and propose.last_was_upright


class Reversed(Upright):
    """Proposes the face on the other side of the eyes."""

    def __call__(self, photo: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
        points, scores = super().__call__(photo, floor)
        return points[:, :2].sum(1, keepdim=True) - points, scores


class Fooled(Dots):
    """Takes a face that is upside down for one with its mouth on the other side of the eyes, if not for a sure one."""

    def forward(self, closeups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        heat, logits = super().forward(closeups)
        places = expected_place(heat) * heat.shape[-1]
        seen = distance_to_colours(closeups).flatten(2).amin(-1).amax(-1) < 1
        reverse = seen & (places[:, 3:, 1].mean(1) < places[:, :2, 1].mean(1))
        for index in reverse.nonzero().flatten().tolist():
            rows = 2 * int(places[index, :2, 1].mean().round()) - torch.arange(heat.shape[-2]) - 1
            heat[index] = heat[index][:, rows.clamp(0, len(rows) - 1)]
            logits[index] = 4.0
        return heat, logits


def test_of_a_face_and_its_reverse_the_truer_one_counts() -> None:
    found = FaceSearch(Reversed(at_any_turn=True), Fooled(), 640).find(dotted(180.0), 0.6)
    assert len(found) == 1 and found[0].sure
    torch.testing.assert_close(found[0].landmarks, dots(180.0), atol=1.0, rtol=0)


def test_a_photo_without_a_face_is_asked_at_all_turns_and_stays_empty() -> None:
    propose = Upright()
    assert FaceSearch(propose, Dots(), 640).find(torch.full((3, 90, 120), -1.0), 0.6) == []
    assert propose.asked == 4


def test_a_face_that_stays_unsure_is_told_from_a_sure_one() -> None:
    photo = dotted(0.0)
    found = FaceSearch(Upright(0.35), Dots(), 640).find(photo, 0.6)
    assert [face.sure for face in found] == [False]
    assert 0.45 <= found[0].score < 0.6
    assert detect_faces(FaceSearch(Upright(0.35), Dots(), 640), photo, 0.6) == []
    assert len(detect_faces(FaceSearch(Upright(0.35), Dots(), 640), photo, 0.6, keep_unsure=True)) == 1


def photo_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 127.5 - 1


def turned(photo: torch.Tensor, points: torch.Tensor, quarters: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The photo after `quarters` of torch.rot90, and where its points are then."""
    for _ in range(quarters):
        points = torch.stack([points[..., 1], photo.shape[2] - points[..., 0]], dim=-1)
        photo = torch.rot90(photo, 1, (1, 2))
    return photo.contiguous(), points


SAMPLE_LANDMARKS = torch.tensor(
    [
        [[222.4, 267.4], [267.2, 276.6], [244.6, 296.7], [218.1, 308.0], [253.4, 315.3]],
        [[505.0, 233.9], [572.1, 223.0], [541.6, 268.4], [520.5, 294.8], [578.8, 285.4]],
    ]
)
"""Where the faces of the sample picture are, from the renderer."""


@settings(max_examples=8, deadline=None)
@given(quarters=st.integers(0, 3), scale=st.floats(0.5, 1.1), mirrored=st.booleans())
def test_turning_the_photo_turns_the_landmarks(quarters: int, scale: float, mirrored: bool) -> None:
    photo, points = photo_of(ROOT / "assets" / "rendered" / "sample.png"), SAMPLE_LANDMARKS
    if mirrored:
        photo, points = photo.flip(2), points[:, MIRROR_5] * torch.tensor([-1.0, 1.0])
        points = points + torch.tensor([float(photo.shape[2]), 0.0])
    size = tuple(round(side * scale) for side in photo.shape[1:])
    photo = torch.nn.functional.interpolate(photo[None], size, mode="bilinear", antialias=True)[0]
    photo, points = turned(photo, points * scale, quarters)
    found = detect_faces(EmbeddedDetector.load(), photo)
    assert len(found) == 2
    for face in found:
        errors = torch.stack([(face.landmarks - t).norm(dim=1).mean() / (t[1] - t[0]).norm() for t in points])
        # In eye distances; at a wrong turn it is more than one.
        assert float(errors.min()) < 0.1


def eyes_to_mouth(points: torch.Tensor) -> float:
    return float((points[:2].mean(0) - points[3:].mean(0)).norm())


def covered(kind: str) -> torch.Tensor:
    """The sample picture with a part of the right face hidden or cut off, its landmarks where they were."""
    photo = photo_of(ROOT / "assets" / "rendered" / "sample.png").clone()
    if kind == "eyes":
        photo[:, 205:250, 485:590] = -0.9
    elif kind == "left half":
        photo[:, 100:400, 400:540] = 0.2
    elif kind == "mouth":
        photo[:, 260:420, 440:640] = -0.2
    elif kind == "cut by the border":
        photo = photo[:, :, :545].contiguous()
    return photo


@pytest.mark.parametrize("kind", ["eyes", "left half", "mouth", "cut by the border"])
@pytest.mark.parametrize("quarters", [0, 1])
def test_part_of_a_face_is_no_smaller_face(kind: str, quarters: int) -> None:
    photo, points = turned(covered(kind), SAMPLE_LANDMARKS, quarters)
    found = detect_faces(EmbeddedDetector.load(), photo)
    assert len(found) in (1, 2)
    for face in found:
        errors = [float((face.landmarks - t).norm(dim=1).mean()) / eyes_to_mouth(t) for t in points]
        truth = points[errors.index(min(errors))]
        assert min(errors) < 0.5 and 0.6 < eyes_to_mouth(face.landmarks) / eyes_to_mouth(truth) < 1.7

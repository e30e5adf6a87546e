"""Detections: what two overlapping candidates become, the networks' coordinates, and the choice of detector."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tolerances import layers, rounding

from facestylist.detection import embedded as detector_module
from facestylist.detection.detectors import FirstThatFinds, detect_faces, load_detector
from facestylist.detection.embedded import (
    STRIDES,
    DetectorConfig,
    DetectorNetwork,
    EmbeddedDetector,
    cell_centres,
    decode,
    load_network,
    save_network,
)
from facestylist.detection.search import box_iou, fuse_overlapping
from facestylist.faces.types import Detection
from facestylist.faces.warp import invert_affine, resample, transform_points

TINY = DetectorConfig(stem=4, widths=(8, 8, 8), neck=8)
DATA = Path(os.environ.get("FACESTYLIST_TEST_DATA", "test-data"))
"""A folder with `yunet_final.pth` and `portraits/`, neither of them ours to ship."""
needs_data = pytest.mark.skipif(
    not (DATA / "yunet_final.pth").is_file(), reason="set FACESTYLIST_TEST_DATA to a folder with yunet_final.pth"
)


def tiny_network(seed: int = 0) -> DetectorNetwork:
    generator = torch.Generator().manual_seed(seed)
    network = DetectorNetwork(TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2, generator=generator)
    return network.eval()


def photo_of(name: str) -> torch.Tensor:
    pixels = np.array(Image.open(DATA / "portraits" / name).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def test_iou_of_known_boxes() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [10.0, 10.0, 12.0, 12.0]])
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(box_iou(boxes, boxes), expected)


def test_overlapping_candidates_become_one_weighted_face() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    landmarks = boxes[:, None, :2].repeat(1, 5, 1)
    scores = torch.tensor([0.6, 0.9, 0.7])
    fused, points, kept = fuse_overlapping(boxes, landmarks, scores)
    assert kept.tolist() == pytest.approx([0.9, 0.7])
    share = 0.81 / (0.81 + 0.36)
    assert fused[0].tolist() == pytest.approx([share, 0.0, 10 + share, 10.0])
    assert points[0, 0].tolist() == pytest.approx([share, 0.0])
    empty = fuse_overlapping(boxes[:0], landmarks[:0], scores[:0])
    assert [len(part) for part in empty] == [0, 0, 0]


def test_a_box_inside_another_is_the_same_face() -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [4.0, 4.0, 12.0, 12.0]])
    _, _, kept = fuse_overlapping(boxes, torch.zeros(2, 5, 2), torch.tensor([0.9, 0.8]))
    assert kept.tolist() == pytest.approx([0.9])


def test_decode_places_predictions_in_pixels() -> None:
    outputs = [torch.zeros(1, 15, 64 // s, 96 // s) for s in STRIDES]
    outputs[1][0, :, 1, 2] = torch.tensor([2.0, 0.5, -0.5, 1.0, 0.0, *[1.0, 2.0] * 5])
    logits, boxes, landmarks = decode(outputs)
    cell = 8 * 12 + 1 * 6 + 2
    assert float(logits[0, cell]) == 2
    centres, strides = cell_centres(64, 96)
    assert centres[cell].tolist() == [40.0, 24.0] and float(strides[cell]) == 16
    width, height = 16 * torch.e, 16.0
    assert boxes[0, cell].tolist() == pytest.approx([48 - width / 2, 16 - height / 2, 48 + width / 2, 16 + height / 2])
    assert landmarks[0, cell, 3].tolist() == [56.0, 56.0]


def test_grids_of_the_network_match_the_cells() -> None:
    outputs = tiny_network().finder(torch.zeros(2, 3, 96, 64))
    assert [tuple(o.shape) for o in outputs] == [(2, 15, 12, 8), (2, 15, 6, 4), (2, 15, 3, 2)]
    assert decode(outputs)[0].shape[1] == len(cell_centres(96, 64)[0])


def test_weights_survive_the_file(tmp_path: Path) -> None:
    network = tiny_network()
    save_network(network, tmp_path / "detector.safetensors", {"metrics": "{}"})
    loaded = load_network(tmp_path / "detector.safetensors")
    pictures = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for one, other in zip(network.finder(pictures), loaded.finder(pictures), strict=True):
        near = rounding(layers(network.finder), float(one.detach().abs().max()), torch.float16)
        assert torch.allclose(one, other, rtol=0, atol=near), "its weights are kept in half precision"
    assert list(tmp_path.iterdir()) == [tmp_path / "detector.safetensors"]


def test_wrong_files_are_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a face detector"):
        load_network(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="make assets"):
        load_network(tmp_path / "none.safetensors")


@pytest.mark.parametrize("shape", [(1, 1), (40, 700), (33, 65), (900, 31)])
def test_any_picture_size_works(shape: tuple[int, int]) -> None:
    photo = torch.rand(3, *shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for found in detect_faces(EmbeddedDetector(tiny_network()), photo, min_confidence=0.0, max_faces=3):
        assert torch.isfinite(found.box).all() and found.landmarks.shape == (5, 2)


def test_a_photo_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[3,H,W\]"):
        detect_faces(EmbeddedDetector(tiny_network()), torch.zeros(1, 3, 20, 20))


class Fixed:
    """A detector that always answers the same."""

    def __init__(self, count: int) -> None:
        self.count = count

    def find(self, photo: torch.Tensor, min_confidence: float) -> list[Detection]:
        return [Detection(torch.zeros(4), torch.zeros(5, 2), 0.9) for _ in range(self.count)]


def test_the_first_detector_that_finds_something_answers() -> None:
    photo = torch.zeros(3, 20, 20)
    assert len(FirstThatFinds([Fixed(0), Fixed(2), Fixed(5)]).find(photo, 0.5)) == 2
    assert len(detect_faces(Fixed(5), photo, max_faces=3)) == 3
    assert FirstThatFinds([Fixed(0)]).find(photo, 0.5) == []


def test_detectors_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    save_network(tiny_network(), tmp_path / "detector.safetensors")
    monkeypatch.setattr(detector_module, "ASSET", tmp_path / "detector.safetensors")
    with pytest.raises(ValueError, match="auto, yunet, embedded"):
        load_detector("mtcnn")
    with pytest.raises(FileNotFoundError, match="put `yunet_final.pth` into .*face_detection.* embedded"):
        load_detector("yunet", tmp_path)
    assert isinstance(load_detector("auto", tmp_path), EmbeddedDetector)
    (tmp_path / "face_detection").mkdir()
    torch.save({"not": torch.zeros(1)}, tmp_path / "face_detection" / "yunet_final.pth")
    with pytest.raises(ValueError, match="does not hold the weights of YuNet"):
        load_detector("yunet", tmp_path)


@needs_data
@pytest.mark.parametrize(("name", "count"), [("obama.jpg", 1), ("two_people.jpg", 2), ("astronaut.png", 1)])
def test_yunet_on_photographs(name: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "face_detection").mkdir()
    (tmp_path / "face_detection" / "yunet_final.pth").symlink_to((DATA / "yunet_final.pth").resolve())
    detector = load_detector("yunet", tmp_path)
    photo = photo_of(name)
    found = detect_faces(detector, photo)
    assert len(found) == count
    for face in found:
        eye_left, eye_right, nose, mouth_left, mouth_right = face.landmarks
        assert eye_left[0] < nose[0] < eye_right[0] and mouth_left[0] < mouth_right[0]
        assert max(eye_left[1], eye_right[1]) < nose[1] < min(mouth_left[1], mouth_right[1])
        assert (face.box[:2] < face.landmarks.amin(0)).all() and (face.box[2:] > face.landmarks.amax(0)).all()
    # A crop that the face fills is found too, by the second, smaller look.
    left, top, right, bottom = found[0].box.clamp(min=0).int().tolist()
    close = detect_faces(detector, photo[:, top:bottom, left:right])
    assert len(close) == 1
    eyes = float((found[0].landmarks[1] - found[0].landmarks[0]).norm())
    shift = close[0].landmarks + torch.tensor([left, top]) - found[0].landmarks
    assert float(shift.norm(dim=1).mean()) < 0.12 * eyes


SAMPLE_LANDMARKS = torch.tensor(
    [
        [[222.4, 267.4], [267.2, 276.6], [244.6, 296.7], [218.1, 308.0], [253.4, 315.3]],
        [[505.0, 233.9], [572.1, 223.0], [541.6, 268.4], [520.5, 294.8], [578.8, 285.4]],
    ]
)
"""Where the faces of the sample picture are, from the renderer."""


@pytest.mark.parametrize(("scale", "allowed"), [(1.0, 0.06), (0.4, 0.09), (1.6, 0.06)])
def test_the_shipped_detector_finds_the_sample_faces(scale: float, allowed: float, root: Path) -> None:
    picture = Image.open(root / "assets" / "rendered" / "sample.png").convert("RGB")
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    photo = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
    found = sorted(detect_faces(EmbeddedDetector.load(), photo), key=lambda face: float(face.box[0]))
    assert len(found) == 2
    truth = SAMPLE_LANDMARKS * scale
    for face, points in zip(found, truth, strict=True):
        error = (face.landmarks - points).norm(dim=1).mean() / (points[1] - points[0]).norm()
        assert float(error) < allowed


def test_the_shipped_detector_is_small() -> None:
    assert detector_module.ASSET.stat().st_size < 1_000_000


@pytest.mark.parametrize("turn", [-40.0, 25.0])
def test_the_shipped_detector_follows_a_turned_picture(turn: float, root: Path) -> None:
    photo = (
        torch.from_numpy(np.array(Image.open(root / "assets" / "rendered" / "sample.png"))).permute(2, 0, 1).float()
        / 127.5
        - 1
    )
    angle = torch.tensor(turn).deg2rad()
    cos, sin = float(angle.cos()), float(angle.sin())
    # Turned about the middle of the larger face; the background is continued by its border.
    x, y = SAMPLE_LANDMARKS[1].mean(0).tolist()
    to_photo = torch.tensor([[cos, sin, x - 256 * cos - 256 * sin], [-sin, cos, y + 256 * sin - 256 * cos]])
    turned = resample(photo, to_photo, (512, 512))
    expected = transform_points(invert_affine(to_photo[None]), SAMPLE_LANDMARKS[1:])[0]
    found = detect_faces(EmbeddedDetector.load(), turned)
    errors = [float((face.landmarks - expected).norm(dim=1).mean()) for face in found]
    eye_distance = 68.0
    assert min(errors) < 0.08 * eye_distance

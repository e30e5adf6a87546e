"""The detector's training: which cell learns what, scenes that come back, and a run that learns and resumes."""

import csv
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from tolerances import assert_close, rounding

from facestylist.core.callbacks import Callbacks
from facestylist.detection.embedded import DetectorConfig, load_network
from facestylist.faces.types import Detection
from facestylist.faces.warp import transform_points
from facestylist.procedural.degrade import degrade
from facestylist.procedural.landmarks import five_points
from facestylist.procedural.scene import (
    FaceSprites,
    SceneConfig,
    compose_scene,
    composite,
    face_box,
    mirror,
    render_sprites,
)
from facestylist.tools.detector.losses import assign_cells, detector_losses, generalised_iou
from facestylist.tools.detector.photos import POINTS, read_portraits, with_portraits
from facestylist.tools.detector.run import DetectorTask, train_detector
from facestylist.tools.detector.scenes import cut_closeups, hardest_mistakes
from facestylist.tools.detector.scores import evaluate_detector
from facestylist.tools.detector.settings import DetectorTrainingConfig
from facestylist.training.kit.step import Step

TINY = DetectorConfig(stem=4, widths=(8, 8, 8), neck=8)
SHORT = DetectorTrainingConfig(
    steps=6,
    batch_size=2,
    closeups=2,
    faces=4,
    held_out_faces=2,
    face_size=32,
    scene_size=64,
    pool=24,
    refresh=2,
    evaluation_scenes=2,
    compiled=False,
)


@pytest.fixture(scope="module")
def sprites() -> FaceSprites:
    return render_sprites(4, torch.Generator().manual_seed(1), ["photo"], size=48, supersample=1)


def test_scenes_come_back_and_differ_by_seed(sprites: FaceSprites, global_rng_untouched: None) -> None:
    config = SceneConfig(height=96, width=128)
    scenes = [compose_scene(sprites, config, torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(scenes[0].image, scenes[1].image) and torch.equal(scenes[0].boxes, scenes[1].boxes)
    assert not torch.equal(scenes[0].image, scenes[2].image)
    assert scenes[0].image.shape == (3, 96, 128) and scenes[0].image.abs().max() <= 1


def test_scenes_have_faces_of_all_sizes_and_some_have_none(sprites: FaceSprites) -> None:
    generator = torch.Generator().manual_seed(0)
    config = SceneConfig(height=128, width=128, max_faces=3)
    scenes = [compose_scene(sprites, config, generator) for _ in range(80)]
    boxes = torch.cat([s.boxes for s in scenes])
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    assert 2 < sum(len(s.boxes) == 0 for s in scenes) < 30
    assert sides.min() < 20 and sides.max() > 80
    points = torch.cat([s.landmarks for s in scenes])
    off = rounding(16, 128)
    assert ((points >= boxes[:, None, :2] - off) & (points <= boxes[:, None, 2:] + off)).all()
    angles = torch.atan2(*(points[:, 1] - points[:, 0]).flip(1).unbind(1)).rad2deg()
    assert angles.abs().max() > 20 and angles.abs().median() < 25


def test_landmarks_lie_on_the_eyes(sprites: FaceSprites) -> None:
    """Painting the landmarks into the sprite and composing it puts the paint where the scene says they are."""
    marked = sprites.images[:1].clone() * 0
    points = five_points(sprites.landmarks[:1])[0]
    x, y = points[0].long()
    marked[0, :, y, x] = 255
    matrix = torch.tensor([[1.8, -0.9, 40.0], [0.9, 1.8, 7.0]])
    canvas = composite(torch.zeros(3, 160, 160), marked[0].float() / 255, torch.ones(48, 48), matrix)
    total = canvas[0].sum()
    rows = (canvas[0].sum(1) * (torch.arange(160) + 0.5)).sum() / total
    columns = (canvas[0].sum(0) * (torch.arange(160) + 0.5)).sum() / total
    expected = transform_points(matrix[None], torch.tensor([[[x + 0.5, y + 0.5]]]))[0, 0]
    assert float(columns) == pytest.approx(float(expected[0]), abs=0.05)
    assert float(rows) == pytest.approx(float(expected[1]), abs=0.05)


def test_mirrored_faces_keep_their_order(sprites: FaceSprites) -> None:
    turned = mirror(sprites)
    assert torch.equal(turned.images, sprites.images.flip(-1))
    points = five_points(turned.landmarks)
    assert (points[:, 0, 0] < points[:, 1, 0]).all() and (points[:, 3, 0] < points[:, 4, 0]).all()
    torch.testing.assert_close(mirror(turned).landmarks, sprites.landmarks)
    other_eye = five_points(sprites.landmarks)[:, 1]
    torch.testing.assert_close(points[:, 0], other_eye * torch.tensor([-1, 1]) + torch.tensor([48, 0]))


def test_sprites_survive_the_file(sprites: FaceSprites, tmp_path: Path) -> None:
    sprites.save(tmp_path / "faces.npz")
    loaded = FaceSprites.load(tmp_path / "faces.npz")
    assert torch.equal(loaded.images, sprites.images) and torch.equal(loaded.alphas, sprites.alphas)
    assert torch.equal(loaded.landmarks, sprites.landmarks) and torch.equal(loaded.looks, sprites.looks)


def test_degrading_keeps_the_picture_recognisable(sprites: FaceSprites) -> None:
    picture = torch.nn.functional.interpolate(sprites.images[:1].float() / 255, size=96, mode="bilinear")[0]
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        worse = degrade(picture, generator)
        pair = torch.stack([picture.mean(0).flatten(), worse.mean(0).flatten()])
        assert worse.shape == picture.shape and torch.corrcoef(pair)[0, 1] > 0.8


def test_face_box_holds_the_forehead() -> None:
    points = torch.zeros(68, 2)
    points[17:27] = torch.tensor([0.0, -10.0])
    points[8] = torch.tensor([0.0, 30.0])
    assert face_box(points).tolist() == pytest.approx([0.0, -28.0, 0.0, 30.0])


def test_cells_in_charge() -> None:
    small = torch.tensor([[100.0, 100.0, 116.0, 116.0]])
    large = torch.tensor([[20.0, 30.0, 180.0, 190.0]])
    points = torch.zeros(1, 5, 2)
    score, box, _, size = assign_cells([(small, points), (large, points), (small[:0], points[:0])], 256, 256)
    levels = score.split([32 * 32, 16 * 16, 8 * 8], dim=1)
    assert [int((level[0] == 1).sum()) > 0 for level in levels] == [True, False, False]
    assert [int((level[1] == 1).sum()) > 0 for level in levels] == [False, False, True]
    assert (score[2] == 0).all()
    assert (box[0][score[0] == 1] == small[0]).all() and (size[1][score[1] == 1] == 160).all()
    # Every face has a cell, wherever its middle falls.
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        side = 10 * 20 ** float(torch.rand((), generator=generator))
        corner = torch.rand(2, generator=generator) * (256 - side)
        boxes = torch.cat([corner, corner + side])[None]
        assert (assign_cells([(boxes, points)], 256, 256)[0] == 1).any()


def test_mistakes_are_cut_out_for_the_second_look(sprites: FaceSprites) -> None:
    pictures = torch.zeros(2, 3, 64, 64)
    pictures[0, 0, 40:48, 40:48] = 1.0
    outputs = [torch.zeros(2, 15, 64 // s, 64 // s) for s in (8, 16, 32)]
    outputs[0][0, 0, 5, 5] = 6.0  # takes the red square for a face ...
    outputs[0][1, 0, 2, 2] = 9.0  # ... and finds one that is there, at its size
    outputs[0][1, 3:5, 2, 2] = math.log(2)
    outputs[0][1, 0, 6, 6] = 3.0
    for output in outputs:
        output[:, 5:] = torch.tensor([-0.5, 0, 0.5, 0, 0, 0.55, -0.4, 1.1, 0.4, 1.1])[None, :, None, None]
    none = (torch.zeros(0, 4), torch.zeros(0, 5, 2))
    faces = [none, (torch.tensor([[12.0, 12.0, 28.0, 28.0]]), torch.zeros(1, 5, 2))]
    mistakes = hardest_mistakes(pictures, outputs, faces, 5)
    closeups = mistakes.pictures
    assert closeups.shape == (2, 3, 96, 96) and mistakes.present.tolist() == [0, 0]
    assert not mistakes.measured.any()
    assert closeups[0, 0, 30:60, 40:56].mean() > 0.3 and closeups[1].abs().max() == 0


def test_a_face_of_half_the_size_is_a_mistake_where_there_is_one() -> None:
    outputs = [torch.zeros(1, 15, 64 // s, 64 // s) for s in (8, 16, 32)]
    truth = (torch.tensor([[8.0, 8.0, 56.0, 56.0]]), torch.zeros(1, 5, 2))
    outputs[0][0, 0, 3, 3] = 9.0  # a box of 8 pixels in a face of 48
    outputs[2][0, 0, 0, 0] = 9.5
    outputs[2][0, 3:5] = 0.5  # one of 53 pixels is right
    for output in outputs:
        output[:, 5:] = torch.tensor([-0.5, 0, 0.5, 0, 0, 0.55, -0.4, 1.1, 0.4, 1.1])[None, :, None, None]
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, :, 24:32, 24:32] = 1.0
    assert hardest_mistakes(picture, outputs, [truth], 1).pictures[0, 0, 36:60, 40:56].mean() > 0.5


def test_closeups_say_what_is_upright_centred_and_of_the_right_size(sprites: FaceSprites) -> None:
    """The labels, judged again from the landmarks: a face is upright, or the close-up is not called one."""
    generator = torch.Generator().manual_seed(3)
    config = SceneConfig(height=96, width=96, empty=0, turned=1.0)
    scenes = [compose_scene(sprites, config, generator) for _ in range(60)]
    faces = [(scene.boxes, scene.landmarks) for scene in scenes]
    cut = cut_closeups(torch.stack([scene.image for scene in scenes]), faces, generator)
    eyes, mouth = cut.places[:, :2].mean(1), cut.places[:, 3:].mean(1)
    tilt = torch.atan2(eyes[:, 0] - mouth[:, 0], mouth[:, 1] - eyes[:, 1]).rad2deg().abs()
    size = (mouth - eyes).norm(dim=1) / 0.275
    face = cut.present == 1
    assert 15 < int(face.sum()) < 50 and int((cut.present == 0).sum()) > 8
    assert (tilt[face] < 45).all() and ((size[face] > 0.55) & (size[face] < 1.8)).all()
    assert (face <= cut.measured).all() and ((cut.places[cut.measured] > 0) & (cut.places[cut.measured] < 1)).all()


def portraits_folder(folder: Path, sprites: FaceSprites) -> Path:
    """The rendered faces as if they were portraits, the last one held out."""
    folder.mkdir()
    columns = [f"{name}_{axis}" for name in POINTS for axis in "xy"]
    rows = []
    for i, (image, points) in enumerate(zip(sprites.images, five_points(sprites.landmarks), strict=True)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
        row = {"file": f"{i}.png", "held_out": int(i == len(sprites) - 1)}
        rows.append(row | dict(zip(columns, points.flatten().tolist(), strict=True)))
    with (folder / "faces.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "held_out", *columns])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_portraits_become_cut_outs_with_their_own_landmarks(sprites: FaceSprites, tmp_path: Path) -> None:
    folder = portraits_folder(tmp_path / "portraits", sprites)
    portraits = read_portraits(folder, 24, sprites)
    assert len(portraits) == 3 and len(read_portraits(folder, 24, sprites, held_out=True)) == 1
    assert_close(five_points(portraits.landmarks), five_points(sprites.landmarks[:3]) / 2, 24)
    # The outline that is laid over them is near the true one, which the renderer knows.
    off = (portraits.landmarks - sprites.landmarks[:3] / 2).norm(dim=-1).mean()
    assert float(off) < 0.1 * 24
    both = with_portraits(sprites.select(slice(0, 1)), read_portraits(folder, 48, sprites))
    assert both.looks.tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"no faces\.csv"):
        read_portraits(tmp_path, 24, sprites)


def test_photos_backgrounds_and_earlier_weights_are_trained_with(sprites: FaceSprites, tmp_path: Path) -> None:
    folder = portraits_folder(tmp_path / "portraits", sprites)
    first = tmp_path / "first.safetensors"
    train_detector(SHORT, None, None, looks=["photo"], output=first, network_config=TINY)
    result = train_detector(
        SHORT, None, None, looks=["photo"], network_config=TINY, photos=folder, backgrounds=folder, start=first
    )
    assert "portraits/recall" in result.metrics
    with pytest.raises(ValueError, match="other widths"):
        train_detector(SHORT, None, None, looks=["photo"], start=first)


def test_giou_of_known_boxes() -> None:
    one = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 3)
    other = torch.tensor([[0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 4.0, 2.0], [6.0, 0.0, 8.0, 2.0]])
    assert generalised_iou(one, other).tolist() == pytest.approx([1.0, 0.0, -0.5])


def test_perfect_predictions_cost_nothing() -> None:
    boxes = torch.tensor([[40.0, 50.0, 90.0, 120.0]])
    points = torch.rand(1, 5, 2, generator=torch.Generator().manual_seed(0)) * 40 + 50
    score, _, _, _ = assign_cells([(boxes, points)], 128, 128)
    outputs = []
    start = 0
    for stride in (8, 16, 32):
        side = 128 // stride
        y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
        place = torch.stack([x, y]) * stride
        cells = score[:, start : start + side * side].reshape(1, 1, side, side)
        start += side * side
        middle = (torch.tensor([65.0, 85.0])[:, None, None] - place) / stride
        extent = (torch.tensor([50.0, 70.0]) / stride).log()[:, None, None].expand(2, side, side)
        marks = (points[0].reshape(10)[:, None, None] - place.repeat(5, 1, 1)) / stride
        sure = torch.where(cells == 1, 20.0, -20.0)
        outputs.append(torch.cat([sure, middle[None], extent[None], marks[None]], dim=1))
    losses = detector_losses(outputs, [(boxes, points)])
    assert all(float(loss) < rounding(16, 128) for loss in losses.values()), "by places in a scene of 128 pixels"
    outputs[1][:, 5:] += 1
    assert float(detector_losses(outputs, [(boxes, points)])["landmarks"]) > 0.05


def test_losses_of_pictures_without_faces_are_finite() -> None:
    outputs = [torch.zeros(2, 15, 64 // s, 64 // s, requires_grad=True) for s in (8, 16, 32)]
    losses = detector_losses(outputs, [(torch.zeros(0, 4), torch.zeros(0, 5, 2))] * 2)
    sum(losses.values()).backward()
    assert all(math.isfinite(float(loss)) for loss in losses.values())


def test_training_learns(sprites: FaceSprites) -> None:
    config = DetectorTrainingConfig(
        steps=24, batch_size=6, closeups=4, scene_size=64, pool=24, refresh=1, learning_rate=2e-2, faces=4
    )
    task = DetectorTask(config, sprites, TINY)
    rows = [task.step(Step(step, config.steps)) for step in range(1, 25)]
    for term, share in {"score": 0.85, "box": 0.85, "landmarks": 0.8, "closeup_landmarks": 0.75}.items():
        first, last = (sum(row[term] for row in part) for part in (rows[:6], rows[-6:]))
        assert last < share * first, term


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, global_rng_untouched: None) -> None:
    whole = train_detector(SHORT, None, tmp_path / "whole", looks=["photo"], network_config=TINY)
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count > 3

    train_detector(SHORT, Callbacks(should_stop=stop), tmp_path / "parts", looks=["photo"], network_config=TINY)
    output = tmp_path / "detector.safetensors"
    resumed = train_detector(
        SHORT, None, tmp_path / "parts", resume=True, looks=["photo"], output=output, network_config=TINY
    )
    assert len(resumed.history) == len(whole.history) == 6
    for one, other in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert whole.metrics == resumed.metrics
    assert load_network(output).config == TINY


class Oracle:
    """Finds exactly what a scene says, moved by `shift` pixels; `extra` adds a false face."""

    def __init__(self, shift: float = 0.0, extra: bool = False) -> None:
        self.shift, self.extra = shift, extra
        self.scenes: list[tuple[torch.Tensor, torch.Tensor]] = []

    def find(self, photo: torch.Tensor, min_confidence: float) -> list[Detection]:
        boxes, landmarks = self.scenes.pop(0)
        found = [Detection(b, p + self.shift, 0.9) for b, p in zip(boxes, landmarks, strict=True)]
        return found + [Detection(torch.tensor([-9.0, -9.0, -8.0, -8.0]), torch.zeros(5, 2), 0.7)] * self.extra


@pytest.mark.parametrize(("shift", "extra"), [(0.0, False), (2.0, True)])
def test_evaluation_counts(sprites: FaceSprites, shift: float, extra: bool) -> None:
    seen = Oracle(shift, extra)
    truth: list[tuple[torch.Tensor, torch.Tensor]] = []
    blind = Oracle()
    blind.scenes = [(torch.zeros(0, 4), torch.zeros(0, 5, 2))] * 4
    none = evaluate_detector(blind, sprites, 4, 5, on_scene=lambda s, f: truth.append((s.boxes, s.landmarks)))
    assert none["recall"] == 0 and none["false_positives"] == 0 and none["landmark_error"] == math.inf
    seen.scenes = truth
    metrics = evaluate_detector(seen, sprites, 4, 5)
    assert metrics["recall"] == 1 and metrics["false_positives"] == float(extra)
    assert (metrics["landmark_error"] == 0) == (shift == 0)

"""Trains the embedded face detector on composed scenes of rendered faces, and measures it on people it never saw."""

from __future__ import annotations

import copy
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..faces.align import crop_to_photo_from_landmarks
from ..faces.warp import invert_affine, resample, transform_points
from ..models.detection import FaceDetector, box_iou
from ..models.detector import (
    CLOSEUP_SIDE,
    MIRROR_5,
    STRIDES,
    DetectorConfig,
    DetectorNetwork,
    EmbeddedDetector,
    cell_centres,
    closeup_to_photo,
    decode,
    expected_place,
    save_network,
)
from ..procedural.looks import LOOKS
from ..procedural.scene import ComposedScene, FaceSprites, SceneConfig, compose_scene, render_sprites
from .config import check_fields, setting, to_mapping
from .ema import ExponentialMovingAverage
from .loop import Callbacks, require_finite, train
from .randomness import at_step

log = logging.getLogger(__name__)

TERMS = ("score", "box", "landmarks", "closeup_score", "closeup_heat", "closeup_landmarks")

_LEVEL_RANGES = ((0.0, 44.0), (28.0, 100.0), (64.0, math.inf))
"""Face sizes in pixels each stride answers for; they overlap so that no size falls between two strides."""
_POSITIVE_RADIUS = 0.18
"""Cells this close to the middle of a face, in face sizes, answer for it; those up to twice as far are left free."""
_CLOSE_SCENE = SceneConfig(height=160, width=160, max_faces=2, empty=0.08, smallest=24.0, largest=0.9, portrait=0.5)
"""Scenes close-ups are cut from."""
_HEAT_WIDTH = 1.0
"""Standard deviation of a landmark's target distribution, in cells."""


@dataclass(frozen=True)
class DetectorTrainingConfig:
    """Settings of the detector's training."""

    seed: int = setting(0, "Every random choice follows from it.", min=0, max=2**31 - 1, step=1)
    steps: int = setting(3000, "Training iterations.", min=1, max=1_000_000, step=100)
    batch_size: int = setting(16, "Scenes per iteration.", min=1, max=256, step=1)
    closeups: int = setting(32, "Close-ups of faces per iteration.", min=1, max=1024, step=1)
    learning_rate: float = setting(4e-3, "Peak learning rate; it warms up and falls as a cosine.", min=1e-6, max=1.0)
    weight_decay: float = setting(1e-4, "Decay of the weights.", min=0.0, max=1.0, advanced=True)
    ema_decay: float = setting(0.998, "Decay of the weights' running average.", min=0.0, max=0.99999, advanced=True)
    faces: int = setting(6000, "Rendered faces the scenes are composed of.", min=2, max=1_000_000, step=100)
    held_out_faces: int = setting(400, "Rendered faces kept for measuring.", min=2, max=100_000, step=50)
    face_size: int = setting(128, "Side of the rendered faces.", min=32, max=1024, step=4, unit="pixels")
    scene_size: int = setting(256, "Side of the scenes.", min=64, max=1024, step=32, unit="pixels")
    pool: int = setting(
        768, "Scenes kept at hand; each is used several times before a new one takes its place.",
        min=1, max=100_000, step=64, advanced=True,
    )  # fmt: skip
    refresh: int = setting(
        5, "New scenes per iteration for either network; the rest of the batch comes from the pool.",
        min=1, max=256, step=1, advanced=True,
    )  # fmt: skip
    evaluation_scenes: int = setting(200, "Held-out scenes for the final numbers.", min=1, max=100_000, step=50)
    compiled: bool = setting(True, "Compile the renderer (needs a C++ compiler on a CPU).")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class DetectorResult:
    """What the training gives."""

    network: DetectorNetwork
    """The averaged weights, in evaluation mode."""
    history: list[dict[str, float]]
    """Losses, one row per step."""
    metrics: dict[str, float]
    """Of `evaluate_detector` on held-out people."""


def train_detector(
    config: DetectorTrainingConfig,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    looks: Sequence[str] | None = None,
    output: Path | None = None,
    network_config: DetectorConfig | None = None,
) -> DetectorResult:
    """Renders the faces (once per run folder), trains, measures, and writes the weights file.

    Args:
        config: all settings.
        callbacks: progress, previews and interruption; the rendering reports progress too, with no losses.
        run_dir: holds the rendered faces and the training's state; None keeps nothing.
        resume: continue what the folder holds.
        looks: names of the looks to learn, all when left out.
        output: where the weights go; None writes none.
        network_config: widths of the network.

    Returns:
        The network and its metrics on people and scenes it never saw.
    """
    callbacks = callbacks or Callbacks()
    names = list(looks or LOOKS)
    sprites = _sprites(config, names, config.faces, config.seed, run_dir, "faces", callbacks)
    held_out = _sprites(config, names, config.held_out_faces, config.seed + 1, run_dir, "held-out", callbacks)
    task = DetectorTask(config, sprites, network_config)
    settings = {**to_mapping(config), "looks": names}
    history = train(task, config.steps, callbacks, run_dir, resume, settings, snapshot_interval=250)
    network = task.average.eval()
    detector = EmbeddedDetector(network)
    metrics = evaluate_detector(detector, held_out, config.evaluation_scenes, config.seed + 2)
    for index, look in enumerate(names):
        own = held_out.select((held_out.looks == index).nonzero().flatten())
        if len(own) == 0:
            continue
        found = evaluate_detector(detector, own, config.evaluation_scenes // len(names) + 1, config.seed + 3)
        metrics |= {f"{look}/{name}": found[name] for name in ("recall", "landmark_error")}
    log.info("held-out scenes: %s", metrics)
    if output is not None:
        about = {"metrics": json.dumps(metrics), "training": json.dumps(settings)}
        save_network(network, output, about)
    return DetectorResult(network, history, metrics)


def _sprites(
    config: DetectorTrainingConfig,
    looks: Sequence[str],
    count: int,
    seed: int,
    run_dir: Path | None,
    name: str,
    callbacks: Callbacks,
) -> FaceSprites:
    """Rendered faces, from the run folder when they are there already."""
    path = None
    if run_dir is not None:
        path = run_dir / f"{name}-{count}-{config.face_size}-{seed}-{'-'.join(looks)}.npz"
        if path.is_file():
            return FaceSprites.load(path)

    def report(done: int, total: int) -> None:
        if callbacks.on_progress is not None:
            callbacks.on_progress(done, total, {})

    generator = torch.Generator().manual_seed(seed)
    sprites = render_sprites(
        count, generator, looks, config.face_size, compiled=config.compiled, on_progress=report
    )
    if path is not None:
        sprites.save(path)
    return sprites


class DetectorTask:
    """One training of the detector, for `loop.train`."""

    terms: tuple[str, ...] = TERMS

    def __init__(
        self, config: DetectorTrainingConfig, sprites: FaceSprites, network_config: DetectorConfig | None = None
    ) -> None:
        self.config = config
        self.generator = torch.Generator().manual_seed(config.seed)
        # PyTorch's initialisers draw from the global generator: it is set aside while they do.
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(config.seed)
            self.network = DetectorNetwork(network_config).train()
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.network, self.average, config.ema_decay)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate,
        )
        scene = SceneConfig(height=config.scene_size, width=config.scene_size)
        self.scenes = ScenePool(sprites, scene, config.pool, config.refresh, 2 * config.seed)
        self.closeups = ScenePool(sprites, _CLOSE_SCENE, config.pool, config.refresh, 2 * config.seed + 1)

    def step(self, step: int) -> dict[str, float]:
        """See `loop.Task.step`."""
        config = self.config
        warm_up = min(1.0, step / max(1, min(100, config.steps // 10)))
        rate = config.learning_rate * warm_up * (0.01 + 0.99 * (1 + math.cos(math.pi * step / config.steps)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        pictures, faces = self.scenes.batch(step, config.batch_size, self.generator)
        outputs = self.network.finder(pictures.contiguous(memory_format=torch.channels_last))
        found = detector_losses(outputs, faces)
        mistakes = hardest_mistakes(pictures, outputs, faces, max(1, config.closeups // 4))
        pictures, faces = self.closeups.batch(step, config.closeups, self.generator)
        closeups, places, present = cut_closeups(pictures, faces, self.generator)
        closeups, places, present = (torch.cat(p) for p in zip(mistakes, (closeups, places, present), strict=True))
        heat, logits = self.network.measurer(closeups.contiguous(memory_format=torch.channels_last))
        close = closeup_losses(heat, logits, places, present)
        numbers = require_finite({**found, **close})
        (found["score"] + 2.0 * found["box"] + 4.0 * found["landmarks"]).backward()
        (close["closeup_score"] + close["closeup_heat"] + 20.0 * close["closeup_landmarks"]).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.ema.update()
        return numbers

    def preview(self) -> Tensor:
        """The newest scenes."""
        pictures = [self.scenes.scene(i).image for i in range(4)]
        return (torch.cat(pictures, dim=2) + 1) / 2

    def state_dict(self) -> dict[str, Any]:
        """See `loop.Task.state_dict`; scenes are drawn again from their numbers."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "updates": self.ema.updates,
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `loop.Task.load_state_dict`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.ema.updates = state["updates"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])


class ScenePool:
    """Composed scenes at hand: at step n the newest `size` of the first `size // 8 + n * refresh` scenes.

    Composing costs more than a training step, so each scene is used several times, mirrored at random. Scene number i
    depends on the seed and i alone: a resumed run finds the same ones.
    """

    def __init__(self, sprites: FaceSprites, config: SceneConfig, size: int, refresh: int, seed: int) -> None:
        self._sprites, self._config, self._size, self._refresh, self._seed = sprites, config, size, refresh, seed
        self._kept: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def scene(self, number: int) -> ComposedScene:
        """Scene number `number`, composed or remembered."""
        if number not in self._kept:
            generator = at_step(self._seed, number)
            composed = compose_scene(self._sprites, self._config, generator)
            pixels = ((composed.image + 1) * 127.5).round().to(torch.uint8)
            self._kept[number] = (pixels, composed.boxes, composed.landmarks)
        pixels, boxes, landmarks = self._kept[number]
        return ComposedScene(pixels.float() / 127.5 - 1, boxes, landmarks)

    def batch(self, step: int, count: int, generator: torch.Generator) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Pictures [count,3,H,W] in -1..1 and, for each, boxes [K,4] and landmarks [K,5,2]."""
        stop = max(1, self._size // 8) + step * self._refresh
        start = max(0, stop - self._size)
        for number in [n for n in self._kept if n < start]:
            del self._kept[number]
        numbers = torch.randint(start, stop, (count,), generator=generator).tolist()
        flips = torch.rand(count, generator=generator) < 0.5
        pictures, faces = [], []
        for number, flip in zip(numbers, flips, strict=True):
            scene = self.scene(number)
            pictures.append(scene.image.flip(-1) if flip else scene.image)
            faces.append(_mirrored(scene, self._config.width) if flip else (scene.boxes, scene.landmarks))
        return torch.stack(pictures), faces


def _mirrored(scene: ComposedScene, width: int) -> tuple[Tensor, Tensor]:
    """Boxes and landmarks of the mirrored scene."""
    boxes = torch.stack(
        [width - scene.boxes[:, 2], scene.boxes[:, 1], width - scene.boxes[:, 0], scene.boxes[:, 3]], dim=1
    )
    swapped = scene.landmarks[:, MIRROR_5]
    return boxes, torch.stack([width - swapped[..., 0], swapped[..., 1]], dim=-1)


def assign_cells(
    faces: Sequence[tuple[Tensor, Tensor]], height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which cell answers for which face.

    Args:
        faces: boxes [K,4] and landmarks [K,5,2] of each picture.
        height: of the pictures.
        width: of the pictures.

    Returns:
        For every cell: target score [B,C] (1 for a face, 0 for none, -1 where either will do), box [B,C,4],
        landmarks [B,C,5,2] and the face's size [B,C].
    """
    centres, strides = cell_centres(height, width)
    ranges = torch.tensor(_LEVEL_RANGES)[torch.log2(strides / STRIDES[0]).long()]
    low, high = ranges.unbind(1)
    cells = len(centres)
    score = torch.zeros(len(faces), cells)
    box = torch.zeros(len(faces), cells, 4)
    points = torch.zeros(len(faces), cells, 5, 2)
    size = torch.ones(len(faces), cells)
    for i, (boxes, landmarks) in enumerate(faces):
        if len(boxes) == 0:
            continue
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
        distance = torch.cdist(centres, middle)
        in_charge = (side >= low[:, None]) & (side < high[:, None])
        radius = torch.maximum(_POSITIVE_RADIUS * side[None], 0.75 * strides[:, None])
        relative = torch.where(in_charge, distance / radius, torch.full_like(distance, math.inf))
        nearest, chosen = relative.min(1)
        score[i] = torch.where(nearest < 1, 1.0, torch.where(nearest < 2, -1.0, 0.0))
        box[i], points[i], size[i] = boxes[chosen], landmarks[chosen], side[chosen]
    return score, box, points, size


def detector_losses(outputs: list[Tensor], faces: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The three terms: focal score loss (Lin et al., 2017), 1 - GIoU (Rezatofighi et al., 2019), landmark distance."""
    height, width = (side * STRIDES[0] for side in outputs[0].shape[-2:])
    target, box, points, size = assign_cells(faces, height, width)
    logits, boxes, landmarks = decode(outputs)
    positive = target == 1
    count = positive.sum().clamp(min=1)
    labelled = target >= 0
    entropy = F.binary_cross_entropy_with_logits(logits, target.clamp(min=0), reduction="none")
    missed = (logits.sigmoid() - target).abs()
    weight = torch.where(positive, 0.6, 0.4) * missed.square()
    losses = {"score": 4 * (weight * entropy * labelled).sum() / count}
    overlap = generalised_iou(boxes[positive], box[positive])
    losses["box"] = (1 - overlap).sum() / count
    error = (landmarks[positive] - points[positive]) / size[positive][:, None, None]
    losses["landmarks"] = F.smooth_l1_loss(error, torch.zeros_like(error), beta=0.01, reduction="sum") / (count * 5)
    return losses


def cut_closeups(
    pictures: Tensor, faces: Sequence[tuple[Tensor, Tensor]], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One close-up of each scene, as inexact as the first look will be, or of a place where there is no face.

    Args:
        pictures: [B,3,H,W], -1..1.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        generator: draws the faces and the errors.

    Returns:
        Close-ups [B,3,S,S], landmarks [B,5,2] in 0..1 of the close-up's side, and whether there is a face [B].
    """
    closeups, places = [], torch.zeros(len(pictures), 5, 2)
    present = torch.zeros(len(pictures))
    for i, (boxes, landmarks) in enumerate(faces):
        draw = torch.randn(5, generator=generator).clamp(-2.5, 2.5)
        chosen = int(torch.randint(max(1, len(boxes)), (1,), generator=generator))
        elsewhere = len(boxes) == 0 or float(torch.rand((), generator=generator)) < 0.15
        if elsewhere:
            extent = torch.tensor([float(side) for side in pictures.shape[:1:-1]])
            centre = torch.rand(2, generator=generator) * extent
            side = 12 * 10 ** float(torch.rand((), generator=generator))
            points = centre + (torch.tensor([[-0.5, 0], [0.5, 0], [0, 0.55], [-0.4, 1.1], [0.4, 1.1]]) * side)
            angle, scale, shift = float(draw[0]), 1.0, torch.zeros(2)
        else:
            points = landmarks[chosen]
            angle, scale = 0.12 * float(draw[0]), math.exp(0.12 * float(draw[1]))
            shift = draw[2:4] * 0.12
        matrix = closeup_to_photo(points[None], CLOSEUP_SIDE)[0]
        turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
        middle = torch.full((2,), CLOSEUP_SIDE / 2)
        # Shifts are in eye distances, a quarter of the close-up's side.
        start = middle + shift * CLOSEUP_SIDE / 4 - turn @ middle
        matrix = torch.cat([matrix[:, :2] @ turn, (matrix[:, :2] @ start + matrix[:, 2])[:, None]], dim=1)
        closeups.append(resample(pictures[i], matrix, (CLOSEUP_SIDE, CLOSEUP_SIDE)))
        if elsewhere:
            centre = transform_points(matrix[None], middle[None, None])[0, 0]
            far = (boxes[:, :2] + boxes[:, 2:]) / 2 - centre
            reach = (boxes[:, 2:] - boxes[:, :2]).amax(1) * 0.6
            # Close to a face it is neither one nor none: -1 leaves it out.
            present[i] = -1.0 if bool((far.norm(dim=1) < reach).any()) else 0.0
        else:
            present[i] = 1.0
            places[i] = transform_points(invert_affine(matrix[None]), points[None])[0] / CLOSEUP_SIDE
    return torch.stack(closeups), places, present


@torch.no_grad()
def hardest_mistakes(
    pictures: Tensor, outputs: list[Tensor], faces: Sequence[tuple[Tensor, Tensor]], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Close-ups of what the finder takes for faces most wrongly, for the measurer to turn down.

    Args:
        pictures: [B,3,H,W], -1..1.
        outputs: the finder's for them.
        faces: boxes [K,4] and landmarks [K,5,2] of each.
        count: how many at most, one per picture.

    Returns:
        Like `cut_closeups`, with no face in any of them.
    """
    logits, boxes, landmarks = decode([output.detach() for output in outputs])
    middles = (boxes[..., :2] + boxes[..., 2:]) / 2
    for i, (truth, _) in enumerate(faces):
        if len(truth):
            reach = (truth[:, 2:] - truth[:, :2]).amax(1)
            near = torch.cdist(middles[i], (truth[:, :2] + truth[:, 2:]) / 2) < 0.8 * reach
            logits[i] = logits[i].masked_fill(near.any(1), -math.inf)
    worst, cells = logits.max(1)
    chosen = worst.argsort(descending=True)[:count]
    matrices = closeup_to_photo(landmarks[chosen, cells[chosen]], CLOSEUP_SIDE)
    closeups = [resample(pictures[i], m, (CLOSEUP_SIDE, CLOSEUP_SIDE)) for i, m in zip(chosen, matrices, strict=True)]
    return torch.stack(closeups), torch.zeros(len(chosen), 5, 2), torch.zeros(len(chosen))


def closeup_losses(heat: Tensor, logits: Tensor, places: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Score, cross-entropy of the landmarks' distributions, and distance of their means in sides of the close-up."""
    known = (present >= 0).float()
    score = F.binary_cross_entropy_with_logits(logits, present.clamp(min=0), reduction="none")
    face = present == 1
    count = face.sum().clamp(min=1)
    height, width = heat.shape[-2:]
    x = (torch.arange(width) + 0.5)[None, None, None, :] - places[..., 0, None, None] * width
    y = (torch.arange(height) + 0.5)[None, None, :, None] - places[..., 1, None, None] * height
    target = (-(x.square() + y.square()) / (2 * _HEAT_WIDTH**2)).flatten(2).softmax(-1)
    entropy = -(target * heat.flatten(2).log_softmax(-1)).sum(-1).mean(1)
    error = F.smooth_l1_loss(expected_place(heat), places, beta=0.005, reduction="none").sum(-1).mean(1)
    return {
        "closeup_score": (score * known).sum() / known.sum().clamp(min=1),
        "closeup_heat": (entropy * face).sum() / count,
        "closeup_landmarks": (error * face).sum() / count,
    }


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """GIoU of corresponding boxes [K,4]: [K] in -1..1."""
    shared = (torch.minimum(boxes[:, 2:], others[:, 2:]) - torch.maximum(boxes[:, :2], others[:, :2])).clamp(min=0)
    hull = torch.maximum(boxes[:, 2:], others[:, 2:]) - torch.minimum(boxes[:, :2], others[:, :2])
    shared, hull = shared.prod(1), hull.prod(1).clamp(min=1e-6)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    union = (areas - shared).clamp(min=1e-6)
    return shared / union - (hull - union) / hull


def evaluate_detector(
    detector: FaceDetector,
    sprites: FaceSprites,
    scenes: int,
    seed: int,
    min_confidence: float = 0.6,
    on_scene: Callable[[ComposedScene, list[Any]], None] | None = None,
) -> dict[str, float]:
    """Measures a detector on composed scenes.

    Args:
        detector: what to measure.
        sprites: faces of people it was not trained on.
        scenes: how many scenes, of several sizes and shapes, with faces from 20 pixels up.
        seed: draws the scenes.
        min_confidence: see `detect_faces`.
        on_scene: called with each scene and what was found in it.

    Returns:
        `recall`, `false_positives` per scene, `landmark_error` (mean distance of the five points in eye distances),
        its 90th percentile `landmark_error_p90`, `landmark_error_48` for faces of 48 pixels or more, and
        `crop_error`: how far the corners of the aligned crop lie from the true ones, in eye distances.
    """
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    generator = torch.Generator().manual_seed(seed)
    shapes = ((256, 256), (384, 512), (640, 448), (720, 960))
    errors: list[float] = []
    crop_errors: list[float] = []
    sides: list[float] = []
    truths = false_positives = 0
    for number in range(scenes):
        height, width = shapes[number % len(shapes)]
        scene = compose_scene(sprites, SceneConfig(height=height, width=width, smallest=20.0, max_tilt=45.0), generator)
        found = detector.find(scene.image, min_confidence)
        truths += len(scene.boxes)
        taken = torch.zeros(len(found), dtype=torch.bool)
        overlap = box_iou(scene.boxes, torch.stack([f.box for f in found])) if found else None
        for i in range(len(scene.boxes)):
            if overlap is None:
                break
            best = int(torch.where(taken, -1.0, overlap[i]).argmax())
            if bool(taken[best]) or float(overlap[i, best]) < 0.4:
                continue
            taken[best] = True
            truth, points = scene.landmarks[i : i + 1], found[best].landmarks[None]
            eyes = float((truth[0, 1] - truth[0, 0]).norm())
            sides.append(float((scene.boxes[i, 2:] - scene.boxes[i, :2]).prod().sqrt()))
            errors.append(float((points - truth).norm(dim=-1).mean()) / eyes)
            quads = [transform_points(crop_to_photo_from_landmarks(p, 1), corners) for p in (points, truth)]
            crop_errors.append(float((quads[0] - quads[1]).norm(dim=-1).mean()) / eyes)
        false_positives += int((~taken).sum())
        if on_scene is not None:
            on_scene(scene, found)
    measured = torch.tensor(errors)
    large = measured[torch.tensor(sides) >= 48]
    return {
        "recall": len(errors) / max(1, truths),
        "false_positives": false_positives / max(1, scenes),
        "landmark_error": float(measured.mean()) if errors else math.inf,
        "landmark_error_p90": float(measured.quantile(0.9)) if errors else math.inf,
        "landmark_error_48": float(large.mean()) if len(large) else math.inf,
        "crop_error": float(torch.tensor(crop_errors).mean()) if errors else math.inf,
        "faces": float(truths),
    }

"""Trains the embedded face detector on composed scenes of rendered faces, and measures it on people it never saw."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.settings import to_mapping
from ...detection.embedded import DetectorConfig, DetectorNetwork, EmbeddedDetector, load_network, save_network
from ...procedural.looks import LOOKS
from ...procedural.scene import FaceSprites, SceneConfig, render_sprites
from ...training.kit.ema import ExponentialMovingAverage
from ...training.kit.fingerprint import fingerprint
from ...training.kit.loop import train
from ...training.kit.schedule import warm_up_cosine
from ...training.kit.state import State
from ...training.kit.step import Step, Update
from .losses import closeup_losses, detector_losses
from .photos import read_backgrounds, read_portraits, with_portraits
from .scenes import Closeups, ScenePool, cut_closeups, hardest_mistakes
from .scores import evaluate_detector
from .settings import DetectorTrainingConfig

log = logging.getLogger(__name__)

TERMS = ("score", "box", "landmarks", "closeup_score", "closeup_heat", "closeup_landmarks")

_HARD: dict[str, Any] = {"turned": 0.4, "hidden": 0.3, "inside": 0.5, "overlap": 0.35}
"""Scenes have faces as they come: turned, half hidden, cut by the border, one head before another."""
_CLOSE_SCENE = SceneConfig(
    height=160, width=160, max_faces=2, empty=0.08, smallest=24.0, largest=0.9, portrait=0.5, **_HARD
)
"""Scenes close-ups are cut from."""


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
    photos: Path | None = None,
    backgrounds: Path | None = None,
    start: Path | None = None,
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
        photos: a folder of portraits to learn from as well (see `read_portraits`).
        backgrounds: a folder of pictures without faces.
        start: weights to go on from, in place of new ones.

    Returns:
        The network and its metrics on people and scenes it never saw.
    """
    callbacks = callbacks or Callbacks()
    names = list(looks or LOOKS)
    sprites = _sprites(config, names, config.faces, config.seed, run_dir, "faces", callbacks)
    held_out = _sprites(config, names, config.held_out_faces, config.seed + 1, run_dir, "held-out", callbacks)
    portraits = None if photos is None else read_portraits(photos, config.face_size, sprites)
    if portraits is not None:
        sprites = with_portraits(sprites, portraits)
    task = DetectorTask(config, sprites, network_config, read_backgrounds(backgrounds) if backgrounds else ())
    if start is not None:
        task.begin_with(load_network(start))
    settings = {**to_mapping(config), "looks": names}
    settings |= {} if portraits is None else {"portraits": len(portraits)}
    settings |= {} if backgrounds is None else {"backgrounds": len(task.backgrounds)}
    settings |= {} if start is None else {"start": start.name}
    shown = {"network": repr(network_config), "faces": fingerprint(vars(sprites), list(task.backgrounds))}
    started = {} if start is None else {"start": fingerprint(task.network)}
    history = train(task, config.steps, callbacks, run_dir, resume, settings | shown | started, snapshot_interval=250)
    network = task.average.eval()
    detector = EmbeddedDetector(network)
    metrics = evaluate_detector(detector, held_out, config.evaluation_scenes, config.seed + 2)
    for index, look in enumerate(names):
        own = held_out.select((held_out.looks == index).nonzero().flatten())
        if len(own) == 0:
            continue
        found = evaluate_detector(detector, own, config.evaluation_scenes // len(names) + 1, config.seed + 3)
        metrics |= {f"{look}/{name}": found[name] for name in ("recall", "landmark_error")}
    if photos is not None:
        others = read_portraits(photos, config.face_size, held_out, held_out=True)
        found = evaluate_detector(detector, others, config.evaluation_scenes, config.seed + 4)
        metrics |= {f"portraits/{name}": value for name, value in found.items()}
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
    sprites = render_sprites(count, generator, looks, config.face_size, compiled=config.compiled, on_progress=report)
    if path is not None:
        sprites.save(path)
    return sprites


class DetectorTask:
    """One training of the detector, for `loop.train`."""

    terms: tuple[str, ...] = TERMS

    def __init__(
        self,
        config: DetectorTrainingConfig,
        sprites: FaceSprites,
        network_config: DetectorConfig | None = None,
        backgrounds: Sequence[Tensor] = (),
    ) -> None:
        self.config = config
        self.backgrounds = backgrounds
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
        # Scenes are drawn again from their numbers.
        self.state = State(network=self.network, ema=self.ema, optimiser=self.optimiser, random=self.generator)
        scene = SceneConfig(height=config.scene_size, width=config.scene_size, **_HARD)
        self.scenes = ScenePool(sprites, scene, config.pool, config.refresh, 2 * config.seed, backgrounds)
        self.closeups = ScenePool(sprites, _CLOSE_SCENE, config.pool, config.refresh, 2 * config.seed + 1, backgrounds)

    def begin_with(self, network: DetectorNetwork) -> None:
        """Takes over trained weights."""
        if network.config != self.network.config:
            raise ValueError("The weights to start from are of a network with other widths.")
        self.network.load_state_dict(network.state_dict())
        self.average.load_state_dict(network.state_dict())

    def step(self, at: Step) -> dict[str, float]:
        """See `loop.Task.step`."""
        config = self.config
        pictures, faces = self.scenes.batch(at.number, config.batch_size, self.generator)
        outputs = self.network.finder(pictures.contiguous(memory_format=torch.channels_last))
        found = detector_losses(outputs, faces)
        mistakes = hardest_mistakes(pictures, outputs, faces, max(1, config.closeups // 4))
        closeups = Closeups.join(
            [mistakes, cut_closeups(*self.closeups.batch(at.number, config.closeups, self.generator), self.generator)]
        )
        heat, logits = self.network.measurer(closeups.pictures.contiguous(memory_format=torch.channels_last))
        close = closeup_losses(heat, logits, closeups)
        loss = found["score"] + 2.0 * found["box"] + 4.0 * found["landmarks"]
        loss = loss + (close["closeup_score"] + close["closeup_heat"] + 20.0 * close["closeup_landmarks"])
        warm_up = max(1, min(100, at.total // 10))
        rate = config.learning_rate * warm_up_cosine(at.number, at.total, warm_up, floor=0.01)
        parameters = list(self.network.parameters())
        numbers = at.apply({**found, **close}, Update("detector", self.optimiser, parameters, loss, rate, clip=10.0))
        self.ema.update()
        return numbers

    def preview(self) -> Tensor:
        """The newest scenes."""
        pictures = [self.scenes.scene(i).image for i in range(4)]
        return (torch.cat(pictures, dim=2) + 1) / 2

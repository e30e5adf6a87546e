"""`make assets`: trains everything in `assets/` from nothing, stage by stage, resumable at any point.

Each finished stage leaves a file in the work folder and is skipped the next time; the running one continues from its
last saved state.
"""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import os
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.callbacks import Callbacks
from ...core.files import write_atomically
from ...models import checkpoints
from ...models.discriminator import Discriminator
from ...models.encoder import Encoder
from ...models.generator import Generator
from ...models.types import FaceEncoder, FaceGenerator
from ...procedural import Renderer, can_compile, sample_z
from ...training.kit.fingerprint import fingerprint
from ...training.kit.loop import interrupting, train
from ...training.kit.run_folder import SETTINGS, check_settings, write_settings
from .config import EmbeddedConfig
from .dataset import HELD_OUT_SEED, SHARD_SIZE, FaceData, available_seeds, load_shards, render_shard
from .encoder import EncoderTask
from .generator import MappingTask, PairedTask, ParameterMapping, grow
from .polish import PolishTask
from .styles import train_styles

log = logging.getLogger(__name__)

FREE_TO_CHANGE = ("compiled", "style_images", "style_steps", "style_pair_steps")
"""Settings that may change while the work folder stays; what a style was made with, its `recipe` tells."""
START_LR, GROW_LR, FULL_LR = 1.2e-2, 8e-3, 6e-3


class Training:
    """One run of `make assets`.

    Args:
        config: sizes and lengths.
        work_dir: rendered faces, states, finished stages, `results.json`.
        assets_dir: where the finished networks go.
        callbacks: progress, previews and interruption of every stage; a `should_stop` that says yes raises
            KeyboardInterrupt after the state has been saved.
    """

    def __init__(
        self, config: EmbeddedConfig, work_dir: Path, assets_dir: Path, callbacks: Callbacks | None = None
    ) -> None:
        self.config, self.work, self.assets = config, work_dir, assets_dir
        self.callbacks = interrupting(callbacks or Callbacks())
        self.data_dir = work_dir / "data"
        work_dir.mkdir(parents=True, exist_ok=True)
        assets_dir.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------ helpers
    def results(self) -> dict[str, Any]:
        """What each finished stage measured."""
        path = self.work / "results.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _note(self, stage: str, numbers: dict[str, Any]) -> None:
        text = json.dumps(self.results() | {stage: numbers}, indent=2)
        write_atomically(self.work / "results.json", lambda file: file.write(text.encode()))

    def _stage(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.work / f"{name}.pt"
        if not path.exists():
            log.info("Stage %s", name)
            # Initial weights come from the global generator. Seeded anew for each stage, they are the same whether the
            # stages before it ran just now or are files of an earlier run.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed((zlib.crc32(name.encode()) + self.config.seed) % 2**32)
                weights = run()
            write_atomically(path, lambda file: torch.save(weights, file))
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return loaded

    def _train(self, name: str, task: Any, steps: int, *before_it: Any) -> None:
        """Trains a stage; `before_it` are the weights of the stages that it builds on."""
        before, started = self.results().get(name, {}), time.monotonic()
        identity = {"stage": name, **self._settings(), "before_it": fingerprint(before_it)}
        if hasattr(task, "data"):
            identity["faces"] = fingerprint(task.data.images, task.data.labels)
        spent = 0.0 if "steps" in before else before.get("minutes", 0.0)  # by the interrupted runs this one continues

        def minutes() -> float:
            return round(spent + (time.monotonic() - started) / 60, 1)

        try:
            history = train(
                task,
                steps,
                self.callbacks,
                self.work / f"run-{name}",
                resume=True,
                settings=identity,
                snapshot_interval=250,
                preview_interval=500,
            )
        except BaseException:
            self._note(name, {"minutes": minutes()})
            raise
        numbers = task.measure() if hasattr(task, "measure") else dict(history[-1])
        self._note(name, {"steps": steps, "minutes": minutes()} | numbers)

    def _settings(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self.config).items() if name not in FREE_TO_CHANGE}

    def _held_out(self, size: int) -> FaceData:
        return load_shards(self.data_dir, size, [HELD_OUT_SEED], render_size=self.config.resolution)

    def _training_data(self, size: int) -> FaceData:
        seeds = available_seeds(self.data_dir, self.config.resolution)
        return load_shards(self.data_dir, size, seeds, render_size=self.config.resolution)

    def _teacher(self, start: dict[str, Any]) -> ParameterMapping:
        """The frozen mapping that sees parameters, as the start left it."""
        teacher = ParameterMapping(self.config.w_dim).requires_grad_(False)
        teacher.load_state_dict(start["mapping"])
        return teacher

    # ------------------------------------------------------------------ stages
    def render(self) -> None:
        """Renders the shards, one process per core, and says how long it took."""
        before, started = len(available_seeds(self.data_dir, self.config.resolution)), time.monotonic()
        jobs = [(HELD_OUT_SEED, self.config.held_out)]
        count = SHARD_SIZE if self.config.shards > 1 else min(SHARD_SIZE, 8 * self.config.batch)
        jobs += [(seed, count) for seed in range(1, self.config.shards + 1)]
        compiled = self.config.compiled and can_compile()
        arguments = [(self.data_dir, seed, self.config.resolution, n, compiled) for seed, n in jobs]
        if len(jobs) < 4 or (os.cpu_count() or 1) == 1:
            for job in arguments:
                _render_job(*job)
        else:
            with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
                try:
                    for done, _ in enumerate(pool.map(_render_job, *zip(*arguments, strict=True)), 1):
                        if self.callbacks.on_progress:
                            self.callbacks.on_progress(done, len(jobs), {})
                except BaseException:
                    # Left to themselves they would first finish what they are at, for minutes.
                    for worker in multiprocessing.active_children():
                        worker.terminate()
                    raise
        if len(available_seeds(self.data_dir, self.config.resolution)) > before:
            minutes = round((time.monotonic() - started) / 60, 1)
            self._note("render", {"faces": count * self.config.shards, "minutes": minutes})

    def start(self) -> dict[str, Any]:
        """Supervised start at the small resolution."""
        size = self.config.start_resolution
        generator, mapping = Generator(self.config.generator(size)), ParameterMapping(self.config.w_dim)
        data, held_out = self._training_data(size), self._held_out(size)
        task = PairedTask(generator, mapping, data, self.config, START_LR, held_out=held_out)
        self._train("start", task, self.config.start_steps)
        return {name: task.average[name].state_dict() for name in ("synthesis", "mapping")}

    def mapping(self, start: dict[str, Any]) -> dict[str, Any]:
        """The shipped mapping network, regressed on the one that sees parameters."""
        target = self._teacher(start)
        mapping = Generator(self.config.generator(self.config.start_resolution)).mapping
        task = MappingTask(mapping, target, self.config)
        self._train("mapping", task, self.config.mapping_steps, start)
        return task.average.state_dict()

    def grow(self, start: dict[str, Any]) -> dict[str, Any]:
        """Doubles the resolution and trains the new block alone."""
        small = Generator(self.config.generator(self.config.start_resolution))
        small.synthesis.load_state_dict(start["synthesis"])
        mapping = self._teacher(start)
        large = grow(small, self.config)
        size = self.config.resolution
        task = PairedTask(
            large,
            mapping,
            self._training_data(size),
            self.config,
            GROW_LR,
            train_mapping=False,
            last_block_only=True,
            held_out=self._held_out(size),
        )
        self._train("grow", task, self.config.grow_steps, start)
        return task.average["synthesis"].state_dict()

    def full(self, synthesis: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
        """All of the generator at full resolution; W stays as it is."""
        generator = Generator(self.config.generator())
        generator.synthesis.load_state_dict(synthesis)
        size = self.config.resolution
        task = PairedTask(
            generator,
            self._teacher(start),
            self._training_data(size),
            self.config,
            FULL_LR,
            train_mapping=False,
            held_out=self._held_out(size),
        )
        self._train("full", task, self.config.full_steps, synthesis, start)
        return task.average["synthesis"].state_dict()

    def polish(self, synthesis: dict[str, Any], mapping: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
        """The discriminator, and the adversarial polish with the mapping network that is shipped."""
        generator = Generator(self.config.generator())
        generator.synthesis.load_state_dict(synthesis)
        generator.mapping.load_state_dict(mapping)
        size, alone, steps = self.config.resolution, self.config.discriminator_steps, self.config.polish_steps
        task = PolishTask(
            generator,
            Discriminator(self.config.discriminator()),
            self._teacher(start),
            self._training_data(size),
            self.config,
            self._held_out(size),
            alone,
        )
        self._train("polish", task, alone + steps, synthesis, mapping, start)
        return {"generator": task.average.state_dict(), "discriminator": task.discriminator.state_dict()}

    def save_generator(self, weights: dict[str, Any], name: str = "generator.safetensors") -> FaceGenerator:
        """Writes and reads back the generator with its discriminator and mean latent."""
        generator, discriminator = Generator(self.config.generator()), Discriminator(self.config.discriminator())
        generator.load_state_dict(weights["generator"])
        discriminator.load_state_dict(weights["discriminator"])
        generator.eval().requires_grad_(False)
        with torch.no_grad():
            generator.mean_latent.copy_(mean_latent(generator))
        faces = FaceGenerator(
            generator=generator,
            discriminator=discriminator.eval().requires_grad_(False),
            style="photo",
            provenance={"source": "trained by this project on faces it renders itself", "licence": "MIT"},
        )
        checkpoints.save_generator(faces, self.assets / name, self._metadata("generator"), half=True)
        return checkpoints.load_generator(self.assets / name)

    def _encoder(
        self, name: str, weights: dict[str, Any] | None, generator: Generator, start: dict[str, Any], steps: int
    ) -> dict[str, Any]:
        encoder, teacher = Encoder(self.config.encoder()), self._teacher(start)
        with torch.no_grad():
            w = teacher(sample_z(4096, torch.Generator().manual_seed(self.config.seed)))
            encoder.mean_latent.copy_(w.mean(0))
            encoder.latent_std.copy_(w.std(0).clamp(min=1e-3))
        if weights is not None:
            encoder.load_state_dict(weights)
        size = self.config.resolution
        task = EncoderTask(
            encoder,
            generator,
            teacher,
            self._training_data(size),
            self.config,
            self._held_out(size),
            with_pictures=weights is not None,
        )
        self._train(name, task, steps, weights, generator, start)
        return task.average.state_dict()

    def codes(self, synthesis: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
        """The encoder's first half: codes alone."""
        generator = Generator(self.config.generator())
        generator.synthesis.load_state_dict(synthesis)
        return self._encoder("codes", None, generator, start, self.config.code_steps)

    def encoder(self, codes: dict[str, Any], source: FaceGenerator, start: dict[str, Any]) -> dict[str, Any]:
        """Its second half: the picture that the finished generator makes of the codes."""
        generator = copy.deepcopy(source.generator)
        return self._encoder("encoder", codes, generator, start, self.config.encoder_steps)

    def save_encoder(self, weights: dict[str, Any], source: FaceGenerator) -> None:
        """Writes the encoder."""
        network = Encoder(self.config.encoder())
        network.load_state_dict(weights)
        encoder = FaceEncoder(
            network=network.eval().requires_grad_(False),
            resolution=self.config.resolution,
            num_ws=source.num_ws,
            w_dim=source.w_dim,
            provenance={"source": "trained by this project on faces it renders itself"},
        )
        checkpoints.save_encoder(encoder, self.assets / "encoder.safetensors", self._metadata("encoder"), half=True)

    def _metadata(self, part: str) -> dict[str, str]:
        return {
            "licence": "MIT; rendered faces, no photographs were used",
            "training": json.dumps({"config": asdict(self.config), "results": self.results()}),
            "part": part,
        }

    def run(self) -> None:
        """Every stage in order.

        Raises:
            CannotResume: the work folder was begun with other settings.
        """
        if (self.work / SETTINGS).exists():
            check_settings(self.work, self._settings())
        else:
            write_settings(self.work, self._settings())
        with torch.random.fork_rng(devices=[]):  # networks draw initial weights even when others are loaded over them
            self.render()
            start = self._stage("start", self.start)
            mapping = self._stage("mapping", lambda: self.mapping(start))
            synthesis = self._stage("grow", lambda: self.grow(start))
            full = self._stage("full", lambda: self.full(synthesis, start))
            polished = self._stage("polish", lambda: self.polish(full, mapping, start))
            source = self.save_generator(polished)
            codes = self._stage("codes", lambda: self.codes(full, start))
            self.save_encoder(self._stage("encoder", lambda: self.encoder(codes, source, start)), source)
            encoder = checkpoints.load_encoder(self.assets / "encoder.safetensors")
            train_styles(source, encoder, self.config, self.work, self.assets, self.callbacks)


def _render_job(folder: Path, seed: int, size: int, count: int, compiled: bool) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        render_shard(folder, seed, size, count=count, renderer=Renderer(compiled))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def mean_latent(generator: Generator, samples: int = 20_000) -> Tensor:
    """Mean w over seeded z of root mean square 1, `[w_dim]`."""
    z = sample_z(samples, torch.Generator().manual_seed(0))
    mapping: nn.Module = generator.mapping
    return torch.cat([mapping(part) for part in z.split(2000)]).mean(0)


def train_embedded(
    config: EmbeddedConfig | None = None,
    callbacks: Callbacks | None = None,
    work_dir: Path = Path(".work/embedded"),
    assets_dir: Path = Path("assets"),
) -> dict[str, Any]:
    """Trains and writes generator, discriminator, encoder and styles; returns what each stage measured."""
    training = Training(config or EmbeddedConfig(), work_dir, assets_dir, callbacks)
    training.run()
    return training.results()

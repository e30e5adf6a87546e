"""`train-base`: stage by stage, resumable at any point, within a budget of time.

Each finished stage leaves a file in the run's folder and is skipped the next time; the running one continues from its
last saved state. How many steps a stage has is measured when it begins, and noted in `plan.json`: a resumed run ends
where this one would have.
"""

from __future__ import annotations

import copy
import json
import logging
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.files import write_atomically
from ...models.checkpoints import save_encoder, save_generator
from ...models.discriminator import Discriminator
from ...models.dlib import DlibConfig, DlibFace
from ...models.encoder import Encoder
from ...models.generator import Generator
from ...models.identity import IdentityNetwork
from ...models.types import FaceEncoder, FaceGenerator
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch
from ..kit.fingerprint import fingerprint, settings_of
from ..kit.kept import CannotResume
from ..kit.loop import interrupting, train
from ..kit.run_folder import SETTINGS, check_settings, write_settings
from .autoencoder import AutoencoderTask, grown
from .card import write_card
from .losses import LossNetworks
from .mapping import fill_mapping, whiten
from .measures import nearest
from .people import descriptors
from .polish import PolishTask
from .portraits import Portraits
from .settings import ENCODER_SIZE, POLISH_SHARE, BaseTrainingConfig

log = logging.getLogger(__name__)

FEWEST_STEPS, MEASURED_STEPS, PREVIEW_STEPS = 20, 3, 50
SAMPLES = 256
"""Faces of the mapping network that are compared with those learned from."""


@dataclass(frozen=True)
class BaseResult:
    """What the training gives."""

    generator: FaceGenerator
    encoder: FaceEncoder
    figures: dict[str, dict[str, float]]
    """Of each stage, and of the samples."""


class BaseTraining:
    """One run of `train-base`.

    Args:
        portraits: to learn from.
        held_out: of other people, to measure on.
        config: all settings.
        run_dir: states, finished stages, `results.json`.
        loss_networks: what compares; an identity network of dlib's kind also begins the encoder's second branch.
        device: where to compute, where no launcher decides it.
        callbacks: progress, previews and interruption of every stage.
        processes: those that train together.
        start: a base to go on from, its generator with the discriminator: it decides all sizes, and only the polish is
            done, for all of the time. None begins from nothing.

    Raises:
        CannotResume: the folder holds a run of something else.
        ValueError: the batch cannot be divided evenly, or the base to go on from is none.
    """

    def __init__(
        self,
        portraits: Portraits,
        held_out: Portraits,
        config: BaseTrainingConfig,
        run_dir: Path,
        loss_networks: LossNetworks | None = None,
        device: torch.device | None = None,
        callbacks: Callbacks | None = None,
        processes: Processes = SINGLE_PROCESS,
        start: tuple[FaceGenerator, FaceEncoder] | None = None,
    ) -> None:
        if start is not None:
            parts_of(*start)
        self.start = start
        check_batch(config.batch_size, processes.count, f"{processes.count} processes")
        self.portraits, self.held_out, self.config, self.run_dir = portraits, held_out, config, run_dir
        self.loss_networks = loss_networks or LossNetworks()
        self.device = processes.device or device or torch.device("cpu")
        self.callbacks, self.processes = interrupting(callbacks or Callbacks()), processes
        self.identity = {
            **settings_of(config),
            "portraits": fingerprint(portraits.images, held_out.images),
            "identity": fingerprint(self.loss_networks.identity) if self.loss_networks.identity is not None else None,
            "perceptual": type(self.loss_networks.perceptual).__name__,
            "start": None
            if start is None
            else fingerprint(start[0].generator, start[0].discriminator, start[1].network),
        }
        refused = processes.once(self._refusal)
        if refused is not None:
            raise CannotResume(refused)

    def _refusal(self) -> str | None:
        """Why the folder cannot be gone on with, if so."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            (check_settings if (self.run_dir / SETTINGS).exists() else write_settings)(self.run_dir, self.identity)
        except CannotResume as error:
            return str(error)
        return None

    # ------------------------------------------------------------------ stages
    def run(self) -> BaseResult:
        """Every stage in order."""
        minutes = self.config.minutes
        if self.start is not None:
            encoder, generator, discriminator = copy.deepcopy(parts_of(*self.start))
        else:
            weights: dict[str, Any] = {}
            for size in self.config.sizes:
                weights = self._stage(f"{size}px", self._autoencoder, size, weights, self.config.stage_minutes(size))
            with self._own_random_numbers("networks"):
                encoder, generator = self._new_encoder(), Generator(self.config.generator(self.config.size))
                discriminator = Discriminator(self.config.discriminator())
            self._whiten("whitened", encoder, generator, weights)
            minutes *= POLISH_SHARE
        polished = self._stage("polish", self._polish, encoder, generator, discriminator, minutes)
        self._whiten("finished", encoder, generator, polished)
        discriminator.load_state_dict(polished["discriminator"])
        return self._result(encoder, generator, discriminator)

    def _whiten(self, name: str, encoder: Encoder, generator: Generator, weights: Mapping[str, Any]) -> None:
        """Loads both networks, in the basis that samples are drawn in."""
        whitened = self._once(name, lambda: self._whitened(encoder, generator, weights))
        encoder.load_state_dict(whitened["encoder"])
        generator.load_state_dict(whitened["generator"])

    def _whitened(self, encoder: Encoder, generator: Generator, weights: Mapping[str, Any]) -> dict[str, Any]:
        """Encoder and generator in the basis that samples are drawn in. Kept: in rounding, bases differ widely."""
        encoder.load_state_dict(weights["encoder"])
        generator.load_state_dict(weights["generator"])
        whiten(encoder, generator, self._codes(encoder.eval()))
        fill_mapping(generator.mapping)
        return {"encoder": encoder.state_dict(), "generator": generator.state_dict()}

    def _new_encoder(self) -> Encoder:
        face = self.loss_networks.identity
        known = isinstance(face, DlibFace) and face.config == DlibConfig()
        encoder = Encoder(self.config.encoder(known))
        torch.nn.init.normal_(encoder.out.weight, std=encoder.config.hidden**-0.5)
        if encoder.face is not None and face is not None:
            encoder.face.load_state_dict({name: value.detach().cpu() for name, value in face.state_dict().items()})
        return encoder

    def _autoencoder(self, size: int, before: dict[str, Any]) -> AutoencoderTask:
        encoder, generator = self._new_encoder(), Generator(self.config.generator(size))
        if before:
            encoder.load_state_dict(before["encoder"])
            small = Generator(self.config.generator(size // 2))
            small.load_state_dict(before["generator"])
            generator = grown(small, self.config, size)
        return AutoencoderTask(
            encoder, generator, self.portraits, self.held_out, self.loss_networks, self.config, self.device
        )

    def _polish(self, encoder: Encoder, generator: Generator, discriminator: Discriminator) -> PolishTask:
        return PolishTask(
            encoder,
            generator,
            discriminator,
            self.portraits,
            self.held_out,
            self.loss_networks,
            self.config,
            self.device,
            alone=self.start is None,
        )

    # ------------------------------------------------------------------ helpers
    def results(self) -> dict[str, Any]:
        """What each finished stage measured."""
        path = self.run_dir / "results.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _note(self, name: str, numbers: Mapping[str, Any]) -> None:
        text = json.dumps(self.results() | {name: numbers}, indent=2)
        write_atomically(self.run_dir / "results.json", text.encode())

    @contextmanager
    def _own_random_numbers(self, name: str) -> Iterator[None]:
        """Initial weights come from the global generator: it is set aside, and seeded anew under each name."""
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed((zlib.crc32(name.encode()) + self.config.seed) % 2**32)
            yield

    def _stage(self, name: str, make: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """The weights of a stage: those of its file, or trained. The last argument is its time in minutes."""
        path, processes = self.run_dir / f"{name}.pt", self.processes
        if not processes.once(path.exists):
            log.info("Stage %s", name)
            before, started = self.results().get(name, {}), time.monotonic()
            spent = 0.0 if "steps" in before else before.get("minutes", 0.0)  # by interrupted runs this one continues
            with self._own_random_numbers(name):
                task = make(*arguments[:-1])
            steps = self._steps(name, task, arguments[-1])
            done: dict[str, Any] = {}
            try:
                history = train(
                    task,
                    steps,
                    self.callbacks,
                    self.run_dir / name,
                    resume=True,
                    settings=self.identity | {"stage": name},
                    preview_interval=max(PREVIEW_STEPS, steps // 10),
                    processes=processes,
                )
                if processes.is_main:
                    done = {"steps": int(history[-1]["step"])} | task.measure()
            finally:
                if processes.is_main:
                    self._note(name, {"minutes": round(spent + (time.monotonic() - started) / 60, 1)} | done)
            if processes.is_main:
                _save(task.result(), path)
        return self._once(name, dict)

    def _once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The weights in a file of the run, which the first process makes where there is none; in all processes."""
        path = self.run_dir / f"{name}.pt"

        def weights() -> dict[str, Any]:
            if not path.exists():
                _save(make(), path)
            return dict(torch.load(path, map_location="cpu", weights_only=True))

        return dict(self.processes.once(weights))

    def _steps(self, name: str, task: Any, minutes: float) -> int:
        """How many steps fit into the time."""
        path = self.run_dir / "plan.json"
        plan = json.loads(path.read_text(encoding="utf-8")) if self.processes.is_main and path.exists() else {}
        known = self.processes.broadcast(plan.get(name))
        if known is not None:
            return int(known)
        before, times = copy.deepcopy(task.state.state_dict()), [0.0]
        # A polish first has steps that are cheaper: of those that are measured, the last are of the dearer kind.
        clock = Callbacks(on_progress=lambda *_: times.append(time.monotonic()))
        train(task, MEASURED_STEPS, clock, processes=self.processes)
        task.state.load_state_dict(before)
        seconds = min(b - a for a, b in zip(times[1:], times[2:], strict=False)) if self.processes.is_main else 1.0
        steps: int = self.processes.broadcast(max(FEWEST_STEPS, round(minutes * 60 / seconds)))
        if self.processes.is_main:
            write_atomically(path, json.dumps(plan | {name: steps}, indent=2).encode())
        return steps

    @torch.no_grad()
    def _codes(self, encoder: Encoder) -> Tensor:
        """w of everybody who was learned from, `[N, w_dim]`."""
        encoder = encoder.to(self.device)
        portraits = self.portraits.at(encoder.config.resolution)
        codes = [encoder(part.to(self.device))[:, 0].cpu() for part in portraits.parts()]
        encoder.cpu()
        return torch.cat(codes)

    def _result(self, encoder: Encoder, generator: Generator, discriminator: Discriminator) -> BaseResult:
        generator, encoder = generator.cpu().eval().requires_grad_(False), encoder.cpu().eval().requires_grad_(False)
        figures = self.results()
        if self.loss_networks.identity is not None and self.processes.is_main:
            figures["samples"] = self._samples(generator, self.loss_networks.identity)
            self._note("samples", figures["samples"])
        provenance = {"source": "trained by train-base"}
        faces = FaceGenerator(
            generator=generator,
            discriminator=discriminator.eval().requires_grad_(False),
            style="photo",
            provenance=provenance,
        )
        config = encoder.config
        reader = FaceEncoder(encoder, config.resolution, config.num_ws, config.w_dim, provenance)
        return BaseResult(faces, reader, figures)

    @torch.no_grad()
    def _samples(self, generator: Generator, identity: IdentityNetwork) -> dict[str, float]:
        """Whether samples hand back the people they were learned from: distances to the nearest of them, median."""
        generator = generator.to(self.device)
        z = torch.randn(SAMPLES, generator.config.z_dim, generator=torch.Generator().manual_seed(self.config.seed))
        drawn = torch.cat([generator(part.to(self.device)).clamp(-1, 1).cpu() for part in z.split(16)])
        generator.cpu()
        known = descriptors(identity, self.portraits.images)
        made, others = descriptors(identity, drawn), descriptors(identity, self.held_out.images)
        apart = torch.cdist(made, made).fill_diagonal_(torch.inf)
        return {
            "nearest_learned": nearest(known, made),
            "nearest_learned_of_held_out": nearest(known, others),
            "nearest_sample": float(apart.amin(1).median()),
        }


def parts_of(generator: FaceGenerator, encoder: FaceEncoder) -> tuple[Encoder, Generator, Discriminator]:
    """The three networks of a base.

    Raises:
        ValueError: they are not those of a base.
    """
    reader, discriminator = encoder.network, generator.discriminator
    layers = generator.generator.config.mapping_layers
    if not isinstance(reader, Encoder) or not reader.config.one_code or discriminator is None or layers != 2:
        raise ValueError(
            "The base to go on from has to be one that `train-base` made, or portraits: its generator with the "
            "discriminator, and its encoder, which gives one code a face."
        )
    if (encoder.num_ws, encoder.w_dim) != (generator.num_ws, generator.w_dim) or encoder.resolution != ENCODER_SIZE:
        raise ValueError("The encoder to go on from is not the generator's. Give the two that were made together.")
    return reader, generator.generator, discriminator


def _save(weights: dict[str, Any], path: Path) -> None:
    write_atomically(path, lambda file: torch.save(weights, file))


def save_base(result: BaseResult, out: Path, config: BaseTrainingConfig, half: bool = True) -> list[Path]:
    """Writes `generator.safetensors`, `encoder.safetensors` and `card.md` into a folder."""
    about = {"training": {"settings": settings_of(config), "figures": result.figures}}
    save_generator(result.generator, out / "generator.safetensors", about, half=half)
    save_encoder(result.encoder, out / "encoder.safetensors", about, half=half)
    return [out / "generator.safetensors", out / "encoder.safetensors", write_card(result.figures, out / "card.md")]

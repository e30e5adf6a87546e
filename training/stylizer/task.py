"""The fast stylizer's training: one step, its preview and its state, for the loop of `training/kit/loop.py`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.callbacks import Callbacks
from ...core.sheets import comparison_grid
from ...models.checkpoints import ORIGIN
from ...models.media.cel import DRAWING
from ...models.stylizer import DIRECT_GAIN, MAX_LEVEL, FastStylizer, FastStylizerConfig
from ...models.types import FaceStylizer
from ..data.inputs import digest
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch, round_robin_batches
from ..kit.ema import ExponentialMovingAverage
from ..kit.fingerprint import fingerprint, settings_of
from ..kit.loop import train
from ..kit.schedule import warm_up_cosine
from ..kit.state import State
from ..kit.step import Step, Update
from ..losses.adversarial import discriminator_loss, generator_loss
from .dataset import Batch, Source
from .settings import AUTOMATIC_MEDIUM, StylizerConfig

CHANNELS, HEAD = (16, 32, 64, 96), 32
PREVIEW_PICTURES = 4
WARM_UP = 50


@dataclass(frozen=True)
class StylizerResult:
    """What a training gives."""

    stylizer: FaceStylizer
    history: list[dict[str, float]]
    """A row of numbers per step."""


def train_stylizer(
    config: StylizerConfig,
    source: Source,
    medium: str = "none",
    provenance: Mapping[str, str] | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    device: torch.device | str = "cpu",
    processes: Processes = SINGLE_PROCESS,
    start: FaceStylizer | None = None,
    shown: Mapping[str, Any] | None = None,
) -> StylizerResult:
    """Trains a fast stylizer on the batches of a source.

    Args:
        config: its settings; `medium` "auto" there stands for the argument here.
        source: from `rendered_pair_batches` or `pair_batches`.
        medium: what the source lays out.
        provenance: entries for the file.
        callbacks, run_dir, resume: see `loop.train`.
        device: where to train.
        processes: where several train together, see `distributed`; all are given the same of everything else.
        start: a stylizer to go on from, whose medium and width hold; None for a new network.
        shown: whatever else decides the batches of `source`, from `dataset.shown_pictures` and its like; a run is
            resumed only with the same.

    Raises:
        ValueError: `start` draws with another medium.
    """
    check_batch(config.batch_size, processes.count, f"{processes.count} processes")
    with torch.inference_mode(False), torch.enable_grad():
        task = StylizerTask(config, source, medium, device, start, round_robin_batches(source, processes))
        settings = run_identity(config, medium, start, shown)
        history = train(
            task,
            config.steps,
            callbacks,
            run_dir,
            resume,
            settings,
            config.snapshot_interval,
            config.preview_interval,
            processes,
        )
    network = task.average.to("cpu").eval().requires_grad_(False)
    entries = {"steps": str(len(history)), "medium": medium, **(provenance or {})}
    if start is not None:
        entries = merged_provenance(entries, start)
    return StylizerResult(FaceStylizer(network, config.style_name, entries), history)


def run_identity(
    config: StylizerConfig, medium: str, start: FaceStylizer | None, shown: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What decides the course of a run, see `identity`; the arguments are those of `train_stylizer`."""
    settings = settings_of(config) | {"laid": medium, **(shown or {})}
    if start is not None:
        del settings["width"]
        settings["start"] = fingerprint(start.network)
    return settings


def merged_provenance(entries: Mapping[str, str], start: FaceStylizer) -> dict[str, str]:
    """Entries of a stylizer that went on from `start`: its licence and all else, and both lessons."""
    before = {name: value for name, value in start.provenance.items() if name not in ORIGIN}
    lessons = [known["learnt_from"] for known in (before, entries) if known.get("learnt_from")]
    began = {"started_from": f"{start.style} {digest(start.network.state_dict().values())}".strip()}
    return {**before, **entries, **({"learnt_from": "; then ".join(lessons)} if lessons else {}), **began}


def chosen_medium(config: StylizerConfig, automatic: str) -> str:
    """The medium that the settings ask for, `automatic` where they leave it open."""
    return automatic if config.medium == AUTOMATIC_MEDIUM else config.medium


class PatchDiscriminator(nn.Module):
    """Logits `[N, 1, H/4, W/4]`: does each patch of some 30 pixels look like the style? (Isola et al. 2017)"""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, 1, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        return self.layers(pictures)


class StylizerTask:
    """See `loop.Task`. `shards` gives this process's shard of each batch of `source`, None all of it."""

    terms: tuple[str, ...] = ("pixel", "gradient", "adversarial", "discriminator")

    def __init__(
        self,
        config: StylizerConfig,
        source: Source,
        medium: str,
        device: torch.device | str,
        start: FaceStylizer | None = None,
        shards: Source | None = None,
    ) -> None:
        self.config, self.source, self.device = config, source, torch.device(device)
        self._shards = shards or source
        fast: Any = {"device": self.device, "memory_format": torch.channels_last}
        self.network = new_network(config, medium) if start is None else continued_network(start, medium)
        self.network.to(**fast)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.network, self.average, config.ema_decay)
        self.parameters = list(self.network.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, config.learning_rate, betas=(0.9, 0.99))
        self.critic: PatchDiscriminator | None = None
        judge: dict[str, Any] = {}
        if config.adversarial_weight > 0:
            self.critic = seeded_network(PatchDiscriminator, config.seed + 1).to(**fast)
            self.critic_parameters = list(self.critic.parameters())
            self.critic_optimiser = torch.optim.Adam(self.critic_parameters, 2e-4, betas=(0.5, 0.99))
            judge = {"critic": self.critic, "critic_optimiser": self.critic_optimiser}
        # Pictures follow from the step's number.
        self.state = State(network=self.network, ema=self.ema, optimiser=self.optimiser, **judge)

    def step(self, at: Step) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config, updates = self.config, []
        batch = self._shards(at.number)
        parts = batch.input, batch.level, batch.fields, batch.target
        *inputs, target = (t.to(self.device) for t in parts)
        prediction = self.network(*inputs)
        terms = {"pixel": (prediction - target).abs().mean(), "gradient": gradient_distance(prediction, target)}
        loss = config.pixel_weight * terms["pixel"] + config.gradient_weight * terms["gradient"]
        if self.critic is not None and at.number > config.adversarial_start * config.steps:
            fake, real = self.critic(prediction.detach()), self.critic(target)
            terms["discriminator"] = discriminator_loss(fake, real)
            terms["adversarial"] = generator_loss(self.critic(prediction))
            loss = loss + config.adversarial_weight * terms["adversarial"]
            critic = self.critic_optimiser, self.critic_parameters, terms["discriminator"]
            updates.append(Update("discriminator", *critic))
        rate = config.learning_rate * warm_up_cosine(at.number, at.total, WARM_UP, floor=0.02)
        updates.append(Update("stylizer", self.optimiser, self.parameters, loss, rate, clip=1.0))
        numbers = at.apply(terms, *updates)
        self.ema.update()
        return numbers

    @torch.no_grad()
    def preview(self) -> Tensor:
        """The first pictures of batch 0: input, prediction and target, one above the other."""
        batch: Batch = self.source(0)
        some = slice(0, PREVIEW_PICTURES)
        prediction = self.average(*(t[some].to(self.device) for t in (batch.input, batch.level, batch.fields)))
        return comparison_grid(batch.input[some], prediction.cpu(), batch.target[some])


def new_network(config: StylizerConfig, medium: str) -> FastStylizer:
    """With weights that follow from the seed."""
    channels = tuple(max(4, round(c * config.width)) for c in CHANNELS)
    architecture = FastStylizerConfig(medium, channels, max(8, round(HEAD * config.width)))
    network: FastStylizer = seeded_network(lambda: FastStylizer(architecture), config.seed)
    if medium == "cel":
        initialise_from_medium(network, DRAWING)
    return network


def continued_network(start: FaceStylizer, medium: str) -> FastStylizer:
    """A copy to be trained on."""
    known = start.network.config.medium
    if known != medium:
        raise ValueError(
            f"The stylizer to start from draws with the medium '{known}', this training with '{medium}'. "
            f"Set `medium` to {known}, or start from a new network."
        )
    return copy.deepcopy(start.network).float().train().requires_grad_(True)


def initialise_from_medium(network: FastStylizer, drawing: slice) -> None:
    """Lets a new network give back three channels of its medium, a drawing made by rule, and learn on from there.

    As far as the level asks: half of the way from the picture to the drawing at level 1, all of it from level 2.
    """
    levels = torch.linspace(0, MAX_LEVEL, 61)
    share = (levels / MAX_LEVEL)[:, None]
    with torch.no_grad():
        code = network.embed(torch.cat([share, share * share, (1 - share) ** 2], 1))
        # Below level 1 the network fades its change by itself.
        target = (levels / 2).clamp(0.5, 1.0)[:, None]
        known = torch.cat([code, torch.ones_like(share)], 1).double()
        small = 1e-4 * torch.eye(known.shape[1], dtype=torch.double)
        fitted = torch.linalg.solve(known.T @ known + small, known.T @ target.double())[:, 0].float() / DIRECT_GAIN
        weight, bias = network.direct.weight.unflatten(0, (3, -1)), network.direct.bias.view(3, -1)
        for colour in range(3):
            # The first entry is a constant; the picture's channels come before the medium's.
            for entry, sign in ((1 + colour, -1.0), (4 + drawing.start + colour, 1.0)):
                weight[colour, entry] = sign * fitted[:-1]
                bias[colour, entry] = sign * fitted[-1]
        # What random layers would add to the drawing would have to be unlearned first.
        network.head2.weight.mul_(0.02)


def gradient_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the steps from each pixel to its right and lower neighbours."""
    difference = a - b
    across = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    return across + (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()


def seeded_network(make: Callable[[], Any], seed: int) -> Any:
    """A network with weights drawn from a generator of its own (He et al. 2015); small ones stay small."""
    generator = torch.Generator().manual_seed(seed)
    # Layers draw their first weights from the global generator, which is not ours to move.
    with torch.random.fork_rng(devices=()):
        network = make()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 1:
                weight.zero_()
            elif weight.ndim > 2 or name.startswith("embed"):
                std = math.sqrt(2 / weight[0].numel())
                weight.copy_(torch.randn(weight.shape, generator=generator) * std)
            elif name.startswith("direct"):
                weight.zero_()
            elif weight.ndim == 2:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.01)
        for name, module in network.named_modules():
            if name == "head2":
                module.weight.mul_(0.1)
            if hasattr(module, "scale"):
                module.scale.fill_(0.3)
    return network

"""The adversarial polish of a base: what a reconstruction leaves soft becomes crisp, and samples look like people.

The encoder stays as it is. A discriminator first learns alone against the frozen generator, then both go on together:
on portraits and their reconstructions, and on faces that nobody has, from the mapping network and between two people.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.discriminator import Discriminator
from ...models.encoder import Encoder
from ...models.generator import Generator
from ..distributed import ALONE, Processes
from ..ema import ExponentialMovingAverage
from ..embedded.polish import SharedAugmentation
from ..loop import require_finite
from ..optimiser import MuonAndAdam
from ..precision import autocast
from ..randomness import at_step
from .autoencoder import draw, random_noise, schedule, shrunk
from .losses import Judges, centre_weights, reconstruction_loss, reconstruction_terms
from .measures import COLUMNS, PREVIEWED, comparison, measure
from .portraits import Portraits
from .settings import ENCODER_SIZE, BaseTrainingConfig

ALONE_SHARE = 0.2
"""Of the steps, for the discriminator by itself."""
FEATURES, FEATURE_LAYERS = 0.4, 3
R1_GAMMA, R1_INTERVAL = 0.5, 16
GENERATOR_RATE, DISCRIMINATOR_RATE = 0.2, 1.0
"""In parts of the learning rate."""
MADE_UP_SHARE = 0.5
"""Faces that nobody has, in parts of the batch."""
BETAS, MOMENTUM, EMA_DECAY = (0.0, 0.99), 0.9, 0.995


class PolishTask:
    """See `loop.Task`; the arguments are those of `AutoencoderTask`, the generator's mapping network being filled."""

    terms = ("pixel", "chroma", "edges", "perceptual", "identity", "discriminator", "adversarial", "features", "r1")
    steps = 1
    """How many there will be."""

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        discriminator: Discriminator,
        portraits: Portraits,
        held_out: Portraits,
        judges: Judges,
        config: BaseTrainingConfig,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> None:
        self.size = generator.config.resolution
        self.config, self.device, self.processes = config, device, processes
        seen = max(self.size, ENCODER_SIZE)
        self.portraits, self.held_out, self.judges = portraits.at(seen), held_out.at(seen), judges.to(device)
        self.weights = centre_weights(self.size).to(device)
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
        self.encoder = encoder.eval().requires_grad_(False).to(**layout)
        self.generator = generator.train().requires_grad_(True).to(**layout)
        self.generator.mapping.requires_grad_(False)
        self.discriminator = discriminator.train().requires_grad_(True).to(**layout)
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.generator, self.average, EMA_DECAY)
        self.drawing = list(generator.synthesis.parameters())
        self.critic = list(discriminator.parameters())
        self.optimise_generator = MuonAndAdam(self.drawing, BETAS, MOMENTUM)
        self.optimise_discriminator = MuonAndAdam(self.critic, BETAS, MOMENTUM)

    def step(self, step: int) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config, processes = self.config, self.processes
        random = at_step(config.seed, step)
        alone = round(self.steps * ALONE_SHARE)
        together = step > alone
        # Not bent: resampling softens, and what a true picture's pixels are like is to be learned here.
        pictures = self.portraits.batch(config.batch_size, random, 0.0, processes, self.device)
        z = torch.randn(config.batch_size, self.generator.config.z_dim, generator=random)
        between = torch.rand(config.batch_size, 1, generator=random)
        noise = random_noise(self.generator, config.batch_size, random, processes)
        augment = SharedAugmentation(config.batch_size, self.size, random, processes)
        z, between = (processes.share(x).to(self.device) for x in (z, between))
        truth = shrunk(pictures, self.size)
        made_up = max(2, round(len(pictures) * MADE_UP_SHARE))
        mapped = torch.arange(len(pictures), device=self.device)[:, None] % 2 == 0
        with autocast(config.precision, self.device):
            with torch.no_grad():
                w = self.encoder(shrunk(pictures, ENCODER_SIZE))[:, 0]
                mixed = torch.lerp(w, w.roll(1, 0), between)
                others = torch.where(mapped, self.generator.mapping(z), mixed)[:made_up]
            with torch.set_grad_enabled(together):
                drawn = draw(self.generator, torch.cat([w, others]), [torch.cat([n, n[:made_up]]) for n in noise])
            drawn, invented = drawn[: len(w)], drawn[len(w) :]
            real, real_features = self._judged(augment(truth))
            fake, fake_features = self._judged(augment(drawn))
            invented_logits, _ = self._judged(augment(invented))
            terms = {"discriminator": F.softplus(-real).mean() + 0.5 * F.softplus(fake).mean()
                     + 0.5 * F.softplus(invented_logits).mean()}  # fmt: skip
            if together:
                parts = reconstruction_terms(drawn, truth, pictures, self.weights, self.judges)
                adversarial = F.softplus(-fake).mean() + 0.5 * F.softplus(-invented_logits).mean()
                layers = zip(real_features[:FEATURE_LAYERS], fake_features[:FEATURE_LAYERS], strict=True)
                matching = torch.stack([(a.detach().float() - b.float()).abs().mean() for a, b in layers]).mean()
                terms |= parts | {"adversarial": adversarial, "features": matching}
        gradients_d = torch.autograd.grad(terms["discriminator"], self.critic, retain_graph=together)
        if step % R1_INTERVAL == 0:
            seen = augment(truth).detach().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.discriminator(seen).sum(), seen, create_graph=True)
            terms["r1"] = slope.square().sum((1, 2, 3)).mean()
            extra = torch.autograd.grad(terms["r1"] * (R1_GAMMA / 2 * R1_INTERVAL), self.critic, allow_unused=True)
            gradients_d = tuple(a if b is None else a + b for a, b in zip(gradients_d, extra, strict=True))
        gradients_g: tuple[Tensor, ...] = ()
        if together:
            loss = reconstruction_loss(parts, config) + FEATURES * matching + config.adversarial_weight * adversarial
            gradients_g = torch.autograd.grad(loss, self.drawing)
        numbers = require_finite(processes.mean_of_terms(terms))
        self._update(self.critic, gradients_d)
        self.optimise_discriminator.step(
            config.learning_rate * DISCRIMINATOR_RATE * schedule(step, self.steps)
        )
        if together:
            self._update(self.drawing, gradients_g)
            rate = schedule(step - alone, self.steps - alone)
            self.optimise_generator.step(config.learning_rate * GENERATOR_RATE * rate)
            self.ema.update()
        return numbers

    def _judged(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, features = self.discriminator(pictures, return_features=True)
        return logits.float(), features

    def _update(self, parameters: list[Any], gradients: tuple[Tensor, ...]) -> None:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.processes.average_gradients(parameters)

    @torch.no_grad()
    def reconstructed(self, portraits: Portraits, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` portraits at this resolution, and what the averaged generator makes of them."""
        truths, drawn = [], []
        for part in portraits.parts(count):
            with autocast(self.config.precision, self.device):
                w = self.encoder(shrunk(part.to(self.device), ENCODER_SIZE))[:, 0]
                drawn.append(draw(self.average, w).clamp(-1, 1).cpu())
            truths.append(shrunk(part, self.size))
        return torch.cat(truths), torch.cat(drawn)

    @torch.no_grad()
    def samples(self, count: int, seed: int = 0) -> Tensor:
        """`[count, 3, S, S]` in -1..1, of z."""
        z = torch.randn(count, self.average.config.z_dim, generator=torch.Generator().manual_seed(seed))
        with autocast(self.config.precision, self.device):
            parts = [draw(self.average, self.average.mapping(part.to(self.device))) for part in z.split(16)]
        return torch.cat(parts).clamp(-1, 1).cpu()

    def measure(self) -> dict[str, float]:
        """How well people come back whom nothing was learned from, see `measures.measure`."""
        truth, drawn = self.reconstructed(self.held_out, len(self.held_out))
        return measure(drawn, truth, self.judges.identity)

    def preview(self) -> Tensor:
        """Held-out people, below each what is drawn of them; below all, samples."""
        truth, drawn = self.reconstructed(self.held_out, PREVIEWED)
        return comparison(truth, drawn, self.samples(COLUMNS))

    def result(self) -> dict[str, Any]:
        """The averaged generator and the discriminator."""
        return {"generator": self.average.state_dict(), "discriminator": self.discriminator.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        """See `loop.Task.state_dict`; portraits follow from the step's number."""
        return {
            "generator": self.generator.state_dict(), "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(), "updates": self.ema.updates,
            "optimise_generator": self.optimise_generator.state_dict(),
            "optimise_discriminator": self.optimise_discriminator.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `loop.Task.load_state_dict`."""
        for name in ("generator", "average", "discriminator", "optimise_generator", "optimise_discriminator"):
            getattr(self, name).load_state_dict(state[name])
        self.ema.updates = state["updates"]

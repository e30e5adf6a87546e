"""The adversarial polish of a base: what a reconstruction leaves soft becomes crisp, and samples look like people.

A discriminator first learns alone, then it, the encoder and the generator go on together: on portraits and their
reconstructions, and on faces that nobody has, from the mapping network and between two people.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.discriminator import Discriminator
from ...models.encoder import Encoder
from ...models.generator import Generator
from ..data.augment import SharedAugmentation
from ..kit.optimiser import MuonAndAdam
from ..kit.precision import autocast
from ..kit.randomness import at_step
from ..kit.state import State
from ..kit.step import Step, Update
from ..losses.adversarial import r1_penalty
from ..losses.reconstruction import feature_distance
from .autoencoder import AutoencoderTask, draw, random_noise, schedule, shrunk
from .losses import LossNetworks, reconstruction_loss, reconstruction_terms
from .measures import COLUMNS, PREVIEWED, comparison
from .portraits import Portraits
from .settings import ENCODER_SIZE, BaseTrainingConfig

ALONE_SHARE, ALONE_STEPS = 0.2, 150
"""For the discriminator by itself: of the steps, and at most."""
FEATURE_WEIGHT = 0.4
R1_GAMMA, R1_INTERVAL = 0.5, 16
RATE = 0.25
"""Of encoder and generator, in parts of the learning rate."""
MADE_UP_SHARE = 0.25
"""Faces that nobody has, in parts of the batch."""
BETAS, MOMENTUM = (0.0, 0.99), 0.9


class PolishTask(AutoencoderTask):
    """See `AutoencoderTask`; the generator's mapping network is filled, and a discriminator of its resolution joins,
    which learns `alone` at first where it is new."""

    terms = (*AutoencoderTask.terms, "discriminator", "adversarial", "features", "r1")
    ema_decay = 0.995
    reader_rate = 3.2

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        discriminator: Discriminator,
        portraits: Portraits,
        held_out: Portraits,
        loss_networks: LossNetworks,
        config: BaseTrainingConfig,
        device: torch.device,
        alone: bool = True,
    ) -> None:
        self.alone = alone
        super().__init__(encoder, generator, portraits, held_out, loss_networks, config, device)
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
        self.discriminator = discriminator.train().requires_grad_(True).to(**layout)
        self.d_parameters = list(discriminator.parameters())
        self.optimise_discriminator = MuonAndAdam(self.d_parameters, BETAS, MOMENTUM)
        self.state = State(
            both=self.state, discriminator=self.discriminator, optimise_discriminator=self.optimise_discriminator
        )

    def step(self, at: Step) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config, count, step = self.config, self.config.batch_size, at.number
        random = at_step(config.seed, step)
        alone = min(round(at.total * ALONE_SHARE), ALONE_STEPS) if self.alone else 0
        together = step > alone
        # Not bent: resampling softens, and what a true picture's pixels are like is to be learned here.
        pictures = self.portraits.batch(count, random, 0.0, self.device, at.shard)
        z = torch.randn(count, self.generator.config.z_dim, generator=random)
        between = torch.rand(count, 1, generator=random)
        noise = random_noise(self.generator, count, random, at.shard)
        augment = SharedAugmentation(count, self.size, random, at.shard)
        z, between = (at.shard(x).to(self.device) for x in (z, between))
        target = shrunk(pictures, self.size)
        made_up = max(2, round(len(pictures) * MADE_UP_SHARE))
        mapped = torch.arange(len(pictures), device=self.device)[:, None] % 2 == 0
        with autocast(config.precision, self.device):
            with torch.set_grad_enabled(together):
                w = self.encoder(shrunk(pictures, ENCODER_SIZE))[:, 0]
                people = w.detach()
                mixed = torch.lerp(people, people.roll(1, 0), between)
                others = torch.where(mapped, self.generator.mapping(z), mixed)[:made_up]
                prediction = draw(self.generator, torch.cat([w, others]), [torch.cat([n, n[:made_up]]) for n in noise])
            prediction, invented = prediction[: len(w)], prediction[len(w) :]
            real, real_features = self._judged(augment(target))
            fake, fake_features = self._judged(augment(prediction))
            invented_logits, _ = self._judged(augment(invented))
            terms = {
                "discriminator": F.softplus(-real).mean()
                + 0.5 * F.softplus(fake).mean()
                + 0.5 * F.softplus(invented_logits).mean()
            }
            if together:
                parts = reconstruction_terms(prediction, target, pictures, self.weights, self.loss_networks)
                adversarial = F.softplus(-fake).mean() + 0.5 * F.softplus(-invented_logits).mean()
                matching = feature_distance(
                    [layer.float() for layer in fake_features], [layer.detach().float() for layer in real_features]
                ).mean()
                terms |= parts | {"adversarial": adversarial, "features": matching}
        d_gradients = torch.autograd.grad(terms["discriminator"], self.d_parameters, retain_graph=together)
        if step % R1_INTERVAL == 0:
            terms["r1"] = r1_penalty(self.discriminator, augment(target))
            extra = torch.autograd.grad(
                terms["r1"] * (R1_GAMMA / 2 * R1_INTERVAL), self.d_parameters, allow_unused=True
            )
            d_gradients = tuple(a if b is None else a + b for a, b in zip(d_gradients, extra, strict=True))
        rate = config.learning_rate * schedule(step, at.total)
        updates = [Update("discriminator", self.optimise_discriminator, self.d_parameters, d_gradients, rate)]
        if together:
            loss = reconstruction_loss(parts, config) + FEATURE_WEIGHT * matching
            loss = loss + config.adversarial_weight * adversarial
            rate = config.learning_rate * RATE * schedule(step - alone, at.total - alone)
            updates.append(self._update(loss, rate))
        numbers = at.apply(terms, *updates)
        if together:
            self._move_averages()
        return numbers

    def _judged(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits, features = self.discriminator(pictures, return_features=True)
        return logits.float(), features

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """`[count, 3, S, S]` in -1..1, of z."""
        generator = self.average["generator"]
        z = torch.randn(count, generator.config.z_dim, generator=torch.Generator().manual_seed(0))
        with autocast(self.config.precision, self.device):
            parts = [draw(generator, generator.mapping(part.to(self.device))) for part in z.split(16)]
        return torch.cat(parts).clamp(-1, 1).cpu()

    def preview(self) -> Tensor:
        """Held-out people, below each what is drawn of them; below all, samples."""
        target, prediction, _ = self.reconstructed(self.held_out, PREVIEWED)
        return comparison(target, prediction, self.samples(COLUMNS))

    def result(self) -> dict[str, Any]:
        """The averaged encoder and generator, and the discriminator."""
        return super().result() | {"discriminator": self.discriminator.state_dict()}

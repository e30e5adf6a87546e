"""The adversarial polish of the embedded generator: what a regression leaves soft becomes crisp.

A discriminator is first trained against the frozen generator, then both go on together, the generator slowly and still
held to the true picture of each face (pixel and feature matching). The mapping network is not touched.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.sheets import grid
from ...models.discriminator import Discriminator
from ...models.generator import Generator
from ...training.data.augment import SharedAugmentation
from ...training.kit.ema import ExponentialMovingAverage
from ...training.kit.optimiser import MuonAndAdam
from ...training.kit.state import State
from ...training.kit.step import Step, Update
from ...training.losses.distances import measure
from .config import EmbeddedConfig
from .dataset import FaceData
from .generator import autocast, cosine, sampling_weights
from .supervision import reconstruction_loss, reconstruction_terms

ADVERSARIAL, FEATURES, R1_GAMMA, R1_INTERVAL = 0.2, 1.5, 0.3, 16
GENERATOR_LR, DISCRIMINATOR_LR, MOMENTUM = 4e-4, 4e-3, 0.9


def _interleave(real: Tensor, fake: Tensor, group: int) -> Tensor:
    """One batch of both in which no group of the minibatch standard deviation mixes them."""
    rows = [x.reshape(group, -1, *x.shape[1:]) for x in (real, fake)]
    return torch.cat(rows, 1).flatten(0, 1)


def _separate(both: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Undoes `_interleave`."""
    real, fake = both.reshape(group, -1, *both.shape[1:]).chunk(2, 1)
    return real.flatten(0, 1), fake.flatten(0, 1)


class PolishTask:
    """A `Task`: `alone` steps for the discriminator, then the others for both.

    `teacher` maps z to w exactly (a `ParameterMapping`); `generator.mapping` is its learned copy, which is shipped.
    """

    terms = ("discriminator", "r1", "pixel", "chroma", "edges", "adversarial", "features")

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        teacher: nn.Module,
        data: FaceData,
        config: EmbeddedConfig,
        held_out: FaceData,
        alone: int,
    ) -> None:
        self.config, self.data, self.held_out, self.alone = config, data, held_out, alone
        self.teacher = teacher
        self.generator = generator.train()
        self.generator.synthesis.requires_grad_(True)
        self.generator.mapping.requires_grad_(False)  # W stays as it is: the encoder is trained on it meanwhile
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.discriminator = discriminator.train().requires_grad_(True)
        self.discriminator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(generator).requires_grad_(False).eval()
        self.ema = ExponentialMovingAverage(self.generator, self.average, 0.995)
        self.g_parameters = list(generator.synthesis.parameters())
        self.optimise_g = MuonAndAdam(self.g_parameters, (0.0, 0.99), MOMENTUM)
        self.d_parameters = list(discriminator.parameters())
        self.optimise_d = MuonAndAdam(self.d_parameters, (0.0, 0.99), MOMENTUM)
        self.random = torch.Generator().manual_seed(config.seed + 2)
        self.state = State(
            generator=self.generator,
            discriminator=self.discriminator,
            ema=self.ema,
            optimise_g=self.optimise_g,
            optimise_d=self.optimise_d,
            random=self.random,
        )
        self.weights = sampling_weights(data)
        self.group = max(g for g in range(1, 5) if config.batch % g == 0)

    def _draw(self, z: Tensor) -> Tensor:
        # Exact pairs come from the teacher's w; every fourth face from the network that is shipped.
        shipped = (torch.arange(len(z)) % 4 == 0)[:, None]
        with torch.no_grad():
            w_plus = self.generator.broadcast(torch.where(shipped, self.generator.mapping(z), self.teacher(z)))
        picture: Tensor = self.generator.synthesis(w_plus, noise="random", generator=self.random)
        return picture

    def step(self, at: Step) -> dict[str, float]:
        step = at.number
        train_generator = step > self.alone
        decay = cosine(max(step - self.alone, 1), at.total - self.alone, warm_up=50, floor=0.1)
        decay_d = decay if step > self.alone + 50 else min(1.0, step / 50)
        index = torch.multinomial(self.weights, self.config.batch, True, generator=self.random)
        truth = self.data.images[index].float() / 127.5 - 1
        shared = SharedAugmentation(self.config.batch, truth.shape[-1], self.random)

        # One pass of the discriminator serves both networks; each takes its own gradient of it.
        with autocast(self.config.precision):
            with torch.set_grad_enabled(train_generator):
                picture = self._draw(self.data.z[index])
            both = _interleave(shared(truth), shared(picture.contiguous()), self.group)
            logits, features = self.discriminator(both, return_features=True)
        real, fake = _separate(logits.float(), self.group)
        loss_d = F.softplus(-real).mean() + F.softplus(fake).mean()
        gradients_d = torch.autograd.grad(loss_d, self.d_parameters, retain_graph=train_generator)
        terms = {"discriminator": loss_d}
        updates: list[Update] = []
        if train_generator:
            parts = reconstruction_terms(picture, truth, self.data.labels[index])
            adversarial = F.softplus(-fake).mean()
            matching = logits.new_zeros(())
            for feature in features[:3]:
                feature_real, feature_fake = _separate(feature.float(), self.group)
                matching = matching + (feature_fake - feature_real.detach()).abs().mean()
            loss_g = reconstruction_loss(parts) + ADVERSARIAL * adversarial + FEATURES * matching
            gradients_g = torch.autograd.grad(loss_g, self.g_parameters)
            updates.append(Update("generator", self.optimise_g, self.g_parameters, gradients_g, GENERATOR_LR * decay))
            terms |= parts | {"adversarial": adversarial, "features": matching}
        if step % R1_INTERVAL == 0:
            pictures = shared(truth).requires_grad_(True)
            (slope,) = torch.autograd.grad(self.discriminator(pictures).sum(), pictures, create_graph=True)
            penalty = slope.square().sum((1, 2, 3)).mean()
            extra = torch.autograd.grad(penalty * R1_GAMMA / 2 * R1_INTERVAL, self.d_parameters, allow_unused=True)
            gradients_d = tuple(a if b is None else a + b for a, b in zip(gradients_d, extra, strict=True))
            terms["r1"] = penalty
        critic = self.optimise_d, self.d_parameters, gradients_d
        losses = at.apply(terms, Update("discriminator", *critic, DISCRIMINATOR_LR * decay_d), *updates)
        if train_generator:
            self.ema.update()
        return losses

    @torch.no_grad()
    def pictures(self, data: FaceData, count: int) -> tuple[Tensor, Tensor]:
        """(made by the averaged generator, truth)"""
        with autocast(self.config.precision):
            made = torch.cat([self.average(z).float() for z in data.z[:count].split(32)])
        return made, data.images[:count].float() / 127.5 - 1

    def measure(self, count: int = 128) -> dict[str, float]:
        """`supervision.measure` on held-out faces."""
        return measure(*self.pictures(self.held_out, count))

    def preview(self) -> Tensor:
        made, truth = self.pictures(self.held_out, 24)
        return grid(torch.cat([torch.cat([t, m]) for t, m in zip(truth.split(8), made.split(8), strict=True)]), 8)

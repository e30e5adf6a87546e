"""The embedded encoder: aligned picture -> W+, from faces whose w is known."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ...core.sheets import grid
from ...models.encoder import Encoder
from ...models.generator import Generator
from ...procedural import sample_z
from ...training.encoder.task import degrade_photos
from ...training.kit.ema import ExponentialMovingAverage
from ...training.kit.optimiser import MuonAndAdam
from ...training.kit.state import State
from ...training.kit.step import Step, Update
from ...training.losses.distances import measure
from .config import EmbeddedConfig
from .dataset import FaceData
from .generator import autocast, cosine
from .supervision import reconstruction_loss, reconstruction_terms

CODES_LR, PICTURES_LR = 1.5e-3, 5e-4


class EncoderTask:
    """A `Task`: the codes of rendered and generated faces, and with `with_pictures` the decoded picture too.

    `teacher` maps z to w exactly (a `ParameterMapping`).
    terms: `codes` squared error relative to the variance of w; `pixel`, `chroma`, `edges` of the decoded picture.
    """

    terms = ("codes", "pixel", "chroma", "edges")

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        teacher: nn.Module,
        data: FaceData,
        config: EmbeddedConfig,
        held_out: FaceData,
        with_pictures: bool,
    ) -> None:
        self.config, self.data, self.held_out, self.live = config, data, held_out, encoder.train()
        self.teacher, self.with_pictures = teacher, with_pictures
        self.lr = PICTURES_LR if with_pictures else CODES_LR
        self.live.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(encoder).requires_grad_(False).eval()
        self.ema = ExponentialMovingAverage(self.live, self.average, 0.998)
        self.generator = copy.deepcopy(generator).requires_grad_(False).eval()
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = MuonAndAdam(encoder.parameters(), (0.9, 0.99))
        self.random = torch.Generator().manual_seed(config.seed + 3)
        self.state = State(live=self.live, ema=self.ema, optimiser=self.optimiser, random=self.random)
        with torch.no_grad():
            w = self.teacher(sample_z(2048, torch.Generator().manual_seed(config.seed)))
            self.variance = (w - w.mean(0)).square().mean()

    def step(self, at: Step) -> dict[str, float]:
        own = at.number % 4 == 0  # every fourth batch is the generator's own, layers mixed from two people
        with_pictures = self.with_pictures and not own
        index = torch.randint(0, len(self.data), (self.config.batch,), generator=self.random)
        with torch.no_grad():
            if own:
                z = sample_z(2 * self.config.batch, self.random)
                a, b = self.teacher(z).chunk(2)
                crossover = int(torch.randint(1, self.generator.num_ws, (), generator=self.random))
                target = self.generator.style_mix(a, b, crossover)
                with autocast(self.config.precision):
                    truth = self.generator.synthesis(target, noise="const").float().clamp(-1, 1)
            else:
                target = self.generator.broadcast(self.teacher(self.data.z[index]))
                truth = self.data.images[index].float() / 127.5 - 1
            seen = truth if with_pictures else degrade_photos(truth, self.random)
        with autocast(self.config.precision):
            codes = self.live(seen).float()
        terms = {"codes": (codes - target).square().mean() / self.variance}
        loss = terms["codes"]
        if with_pictures:
            with autocast(self.config.precision):
                picture = self.generator.synthesis(codes, noise="const")
            parts = reconstruction_terms(picture, truth, self.data.labels[index])
            loss = 0.1 * loss + reconstruction_loss(parts)
            terms |= parts
        rate = self.lr * cosine(at.number, at.total)
        losses = at.apply(terms, Update("encoder", self.optimiser, self.optimiser.parameters, loss, rate))
        self.ema.update()
        return losses

    @torch.no_grad()
    def pictures(self, data: FaceData, count: int) -> tuple[Tensor, Tensor]:
        """(decoded from the averaged encoder's codes, truth)"""
        truth = data.images[:count].float() / 127.5 - 1
        with autocast(self.config.precision):
            codes = [self.average(x).float() for x in truth.split(32)]
            made = [self.generator.synthesis(c, noise="const").float() for c in codes]
        return torch.cat(made), truth

    def measure(self, count: int = 128) -> dict[str, float]:
        """`supervision.measure` of held-out faces through the encoder."""
        return measure(*self.pictures(self.held_out, count))

    def preview(self) -> Tensor:
        made, truth = self.pictures(self.held_out, 24)
        return grid(torch.cat([torch.cat([t, m]) for t, m in zip(truth.split(8), made.split(8), strict=True)]), 8)

"""The embedded generator, from nothing: a supervised start, growth, and a learned mapping from z.

Every rendered face comes with its parameters, so the generator can begin as a regression: parameters -> a small
network -> w -> picture. The shipped mapping network, z -> w, is then regressed on that network and tuned with the
generator on pictures; nothing of the parameters remains in what is shipped.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ...core.sheets import grid
from ...models.generator import Generator
from ...models.ops import EqualLinear
from ...procedural import Label, features, parameters_from_z, sample_z
from ...training.kit.ema import ExponentialMovingAverage
from ...training.kit.optimiser import MuonAndAdam
from ...training.kit.schedule import warm_up_cosine
from ...training.kit.state import State
from ...training.kit.step import Step, Update
from ...training.losses.distances import measure
from .config import EmbeddedConfig
from .dataset import FaceData
from .supervision import reconstruction_loss, reconstruction_terms

MAPPING_LR = 4e-3


def autocast(precision: str) -> AbstractContextManager[Any]:
    """CPU autocast to bfloat16 for "bf16", nothing for "fp32"."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def cosine(step: int, steps: int, warm_up: int = 100, floor: float = 0.03) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to `floor`."""
    return warm_up_cosine(step, steps, warm_up, floor=floor, start=0.02)


class ParameterMapping(nn.Module):
    """z -> face parameters (known, not learned) -> standardised -> four learned layers -> w. Used in training only."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, w_dim: int, layers: int = 4) -> None:
        super().__init__()
        rows = features(parameters_from_z(sample_z(20_000, torch.Generator().manual_seed(424242))))
        self.register_buffer("mean", rows.mean(0))
        self.register_buffer("deviation", rows.std(0) + 1e-3)
        sizes = [rows.shape[1]] + [w_dim] * (layers - 1)
        self.layers = nn.ModuleList(EqualLinear(size, w_dim, activate=True) for size in sizes)

    def forward(self, z: Tensor) -> Tensor:
        """`z [N, Z_DIM]` -> `w [N, w_dim]`"""
        x = ((features(parameters_from_z(z)) - self.mean) / self.deviation).clamp(-3, 3)
        for layer in self.layers:
            x = layer(x)
        return x


def sampling_weights(data: FaceData) -> Tensor:
    """How often to show each face: rare attributes (glasses, beards, open mouths, dyed hair) more often."""
    pixels = data.labels.shape[-1] ** 2 / 4096

    def shows(label: Label, count: float) -> Tensor:
        return (data.labels == int(label)).flatten(1).sum(1) > count * pixels

    hair = parameters_from_z(data.z)["hair"]
    dyed = (hair.max(1).values - hair.min(1).values) > 0.35
    weights = 1 + 2.0 * shows(Label.GLASSES, 12) + 0.5 * shows(Label.BEARD, 30) + 1.0 * shows(Label.MOUTH, 8)
    return weights + 2.0 * dyed


class PairedTask:
    """Supervised training of mapping and synthesis on (z, picture) pairs; a `Task` for `training.loop.train`.

    Args:
        generator: its synthesis network is trained (all of it, or the last block alone).
        mapping: what turns z into w: a `ParameterMapping`, or the generator's own mapping network.
        train_mapping: False leaves it as it is.
    """

    terms = ("pixel", "chroma", "edges")

    def __init__(
        self,
        generator: Generator,
        mapping: nn.Module,
        data: FaceData,
        config: EmbeddedConfig,
        lr: float,
        train_mapping: bool = True,
        last_block_only: bool = False,
        held_out: FaceData | None = None,
    ) -> None:
        self.config, self.data, self.held_out, self.lr = config, data, held_out, lr
        self.live = nn.ModuleDict({"synthesis": generator.synthesis, "mapping": mapping})
        self.live.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.live["mapping"].requires_grad_(train_mapping)
        if last_block_only:
            self.live["synthesis"].requires_grad_(False)
            generator.synthesis.blocks[-1].requires_grad_(True)
        self.average = copy.deepcopy(self.live).requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.live, self.average, 0.998)
        self.optimiser = MuonAndAdam(self.live.parameters())
        self.random = torch.Generator().manual_seed(config.seed)
        self.state = State(live=self.live, ema=self.ema, optimiser=self.optimiser, random=self.random)
        self.weights = sampling_weights(data)

    def step(self, at: Step) -> dict[str, float]:
        index = torch.multinomial(self.weights, self.config.batch, True, generator=self.random)
        truth = self.data.images[index].float() / 127.5 - 1
        w = self.live["mapping"](self.data.z[index])
        synthesis = self.live["synthesis"]
        with autocast(self.config.precision):
            codes = w[:, None].expand(-1, synthesis.num_ws, -1)
            picture = synthesis(codes, noise="random", generator=self.random)
        terms = reconstruction_terms(picture, truth, self.data.labels[index])
        rate = self.lr * cosine(at.number, at.total)
        loss = reconstruction_loss(terms)
        losses = at.apply(terms, Update("generator", self.optimiser, self.optimiser.parameters, loss, rate))
        self.ema.update()
        return losses

    @torch.no_grad()
    def pictures(self, data: FaceData, count: int) -> tuple[Tensor, Tensor]:
        """(made by the averaged weights, truth) for the first `count` faces."""
        made = []
        for z in data.z[:count].split(32):
            w = self.average["mapping"](z)
            synthesis = self.average["synthesis"]
            with autocast(self.config.precision):
                made.append(synthesis(w[:, None].expand(-1, synthesis.num_ws, -1), noise="const").float())
        return torch.cat(made), data.images[:count].float() / 127.5 - 1

    def measure(self, count: int = 128) -> dict[str, float]:
        """`supervision.measure` on held-out faces."""
        return measure(*self.pictures(self.held_out or self.data, count))

    def preview(self) -> Tensor:
        made, truth = self.pictures(self.held_out or self.data, 24)
        return grid(torch.cat([torch.cat([t, m]) for t, m in zip(truth.split(8), made.split(8), strict=True)]), 8)


class MappingTask:
    """Regression of the shipped mapping network (z -> w) on the `ParameterMapping`, with endless fresh z."""

    terms = ("w_error",)

    def __init__(self, mapping: nn.Module, target: nn.Module, config: EmbeddedConfig, batch: int = 1024) -> None:
        self.config, self.live, self.target, self.batch = config, mapping, target, batch
        self.average = copy.deepcopy(mapping).requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.live, self.average, 0.998)
        self.optimiser = MuonAndAdam(mapping.parameters())
        self.random = torch.Generator().manual_seed(config.seed + 1)
        self.state = State(live=self.live, ema=self.ema, optimiser=self.optimiser, random=self.random)
        with torch.no_grad():
            w = target(sample_z(2048, torch.Generator().manual_seed(config.seed)))
            self.variance = (w - w.mean(0)).square().mean()

    def step(self, at: Step) -> dict[str, float]:
        z = sample_z(self.batch, self.random)
        with torch.no_grad():
            w = self.target(z)
        error = (self.live(z) - w).square().mean() / self.variance
        rate = MAPPING_LR * cosine(at.number, self.config.mapping_steps, floor=0.01)
        update = Update("mapping", self.optimiser, self.optimiser.parameters, error, rate)
        losses = at.apply({"w_error": error}, update)
        self.ema.update()
        return losses

    def preview(self) -> Tensor:
        return torch.zeros(3, 8, 8)


def grow(small: Generator, config: EmbeddedConfig) -> Generator:
    """A generator of the full resolution that makes exactly the small one's pictures, enlarged by the FIR filter: the
    new block paints nothing yet."""
    large = Generator(config.generator())
    _, unexpected = large.load_state_dict(small.state_dict(), strict=False)
    if unexpected:
        raise ValueError(f"The small generator does not fit into the large one: {', '.join(unexpected)}.")
    with torch.no_grad():
        large.synthesis.each_block()[-1].to_rgb.weight.zero_()
    return large

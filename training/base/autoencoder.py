"""Encoder and generator as one auto-encoder of portraits, at one resolution of the growth.

The encoder's code is w itself, one for all layers: what it says of a face lies in W, so that a generator fine-tuned to
a style, which is trained in W, keeps the person.
"""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.encoder import Encoder
from ...models.generator import Generator
from ..kit.distributed import SINGLE_PROCESS, Processes
from ..kit.ema import ExponentialMovingAverage
from ..kit.loop import require_finite
from ..kit.optimiser import MuonAndAdam
from ..kit.precision import autocast
from ..kit.randomness import at_step
from .losses import Judges, centre_weights, reconstruction_loss, reconstruction_terms
from .measures import PREVIEWED, comparison, measure
from .portraits import Portraits
from .settings import ENCODER_SIZE, BaseTrainingConfig

CODE_NOISE, CODE_WEIGHT = 0.065, 1e-3
"""Neighbouring codes have to draw neighbouring faces; the weight keeps the codes' deviation near 1."""
FACE_RATE, READOUT_RATE, READOUT_DECAY = 0.025, 0.25, 0.05
"""Adam's steps, in parts of the learning rate, for what came from the identity network and for the wide layers, which
would learn people by heart."""
DROPOUT = 0.1
BETAS = (0.9, 0.98)
WARM_UP, FALL, FLOOR = 150, 0.3, 0.05


def schedule(step: int, steps: int) -> float:
    """Rises over the first steps, falls to a twentieth over the last third."""
    rise = min(1.0, step / min(WARM_UP, max(steps // 10, 1)))
    through = max(0.0, (step - (1 - FALL) * steps) / (FALL * steps))
    return rise * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(through, 1.0))))


def grown(small: Generator, config: BaseTrainingConfig, size: int) -> Generator:
    """A generator of `size` px that draws what a smaller one does, a little softer: its new projections are zero."""
    large = Generator(config.generator(size))
    weights = large.state_dict()
    large.load_state_dict(weights | {name: value for name, value in small.state_dict().items() if name in weights})
    with torch.no_grad():
        for block in large.synthesis.each_block():
            if block.resolution > small.config.resolution:
                block.to_rgb.weight.zero_()
    return large


def shrunk(pictures: Tensor, size: int) -> Tensor:
    """Pictures at `size` or below, by means of squares of pixels."""
    return F.avg_pool2d(pictures, pictures.shape[-1] // size) if pictures.shape[-1] > size else pictures


def random_noise(generator: Generator, count: int, random: torch.Generator, processes: Processes) -> list[Tensor]:
    """Noise inputs of this process's share of `count` pictures, which several processes draw as one would."""
    return [processes.shard(torch.randn(count, *shape[1:], generator=random)) for shape in generator.noise_shapes]


def draw(generator: Generator, w: Tensor, noise: Any = "const") -> Tensor:
    """`[N, 3, S, S]` float32 of codes `[N, w_dim]`."""
    picture = generator.synthesis(generator.broadcast(w), noise=noise, modulate="activations")
    return cast(Tensor, picture).float()


def set_gradients(parameters: list[nn.Parameter], gradients: tuple[Tensor, ...], processes: Processes) -> None:
    """Hands gradients to optimisers, as the mean over all processes."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    processes.average_gradients(parameters)


class AutoencoderTask:
    """See `loop.Task`. `encoder` and `generator` are trained in place; their averages are the result.

    Args:
        encoder: takes pictures of ENCODER_SIZE.
        generator: of the resolution of this stage.
        portraits: to learn from, of any size.
        held_out: to measure on.
        judges: what compares besides pixels.
        config: all settings.
        device: where to compute.
        processes: those that train together.
    """

    terms: tuple[str, ...] = ("pixel", "chroma", "edges", "perceptual", "identity")
    ema_decay = 0.998
    reader_rate = 1.0
    """How fast the encoder learns beside the generator, relative to what suits an auto-encoder."""
    steps = 1
    """How many there will be; the learning rate follows them."""

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        portraits: Portraits,
        held_out: Portraits,
        judges: Judges,
        config: BaseTrainingConfig,
        device: torch.device,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.size = generator.config.resolution
        self.config, self.device, self.processes = config, device, processes
        seen = max(self.size, ENCODER_SIZE)
        self.portraits, self.held_out, self.judges = portraits.at(seen), held_out.at(seen), judges.to(device)
        self.weights = centre_weights(self.size).to(device)
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
        self.encoder = encoder.train().requires_grad_(True).to(**layout)
        self.generator = generator.train().requires_grad_(True).to(**layout)
        self.generator.mapping.requires_grad_(False)
        self.average: dict[str, Any] = {
            "encoder": copy.deepcopy(encoder).eval().requires_grad_(False),
            "generator": copy.deepcopy(generator).eval().requires_grad_(False),
        }
        self.ema = [
            ExponentialMovingAverage(live, self.average[name], self.ema_decay)
            for name, live in (("encoder", self.encoder), ("generator", self.generator))
        ]
        face = list(encoder.face.parameters()) if encoder.face is not None else []
        readout = [cast(nn.Parameter, layer.weight) for layer in (encoder.fc, encoder.out)]
        apart = {id(parameter) for parameter in [*face, *readout]}
        body = [parameter for parameter in encoder.parameters() if id(parameter) not in apart]
        drawing = list(generator.synthesis.parameters())
        self.parameters: list[nn.Parameter] = [*drawing, *body, *face, *readout]
        self.optimise_generator, self.optimise_encoder = MuonAndAdam(drawing, BETAS), MuonAndAdam(body, BETAS)
        groups = [{"params": face, "rate": FACE_RATE, "weight_decay": 0.0}] if face else []
        groups.append({"params": readout, "rate": READOUT_RATE, "weight_decay": READOUT_DECAY})
        self.optimise_readout = torch.optim.AdamW(groups, lr=0.0, betas=BETAS)

    def step(self, step: int) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config, processes, count = self.config, self.processes, self.config.batch_size
        random = at_step(config.seed, step)
        pictures = self.portraits.batch(count, random, config.warp, processes, self.device)
        keep = (torch.rand(count, self.encoder.fc.in_features, generator=random) >= DROPOUT).float() / (1 - DROPOUT)
        code_noise = processes.shard(torch.randn(count, self.generator.config.w_dim, generator=random)).to(self.device)
        noise = random_noise(self.generator, count, random, processes)
        truth = shrunk(pictures, self.size)
        with autocast(config.precision, self.device):
            w = self.encoder(shrunk(pictures, ENCODER_SIZE), processes.shard(keep).to(self.device))[:, 0]
            drawn = draw(self.generator, w + CODE_NOISE * code_noise, noise)
            terms = reconstruction_terms(drawn, truth, pictures, self.weights, self.judges)
        loss = reconstruction_loss(terms, config) + CODE_WEIGHT * w.square().mean()
        numbers = require_finite(processes.reduce_losses(terms))
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        self._update(gradients, config.learning_rate * schedule(step, self.steps))
        return numbers

    def _update(self, gradients: tuple[Tensor, ...], rate: float) -> None:
        """One step of both networks, at this learning rate of the generator's."""
        set_gradients(self.parameters, gradients, self.processes)
        self.optimise_generator.step(rate)
        self.optimise_encoder.step(self.reader_rate * rate / 2)
        for group in self.optimise_readout.param_groups:
            group["lr"] = group["rate"] * self.reader_rate * rate
        self.optimise_readout.step()
        for average in self.ema:
            average.update()

    @torch.no_grad()
    def reconstructed(self, portraits: Portraits, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first `count` portraits at this resolution, what the averaged networks make of them, and their codes."""
        truths, drawn, codes = [], [], []
        for part in portraits.parts(count):
            pictures = part.to(self.device)
            with autocast(self.config.precision, self.device):
                w = self.average["encoder"](shrunk(pictures, ENCODER_SIZE))[:, 0]
                drawn.append(draw(self.average["generator"], w).clamp(-1, 1).cpu())
            truths.append(shrunk(part, self.size))
            codes.append(w.cpu())
        return torch.cat(truths), torch.cat(drawn), torch.cat(codes)

    def measure(self) -> dict[str, float]:
        """How well people come back whom nothing was learned from, see `measures.measure`."""
        truth, drawn, _ = self.reconstructed(self.held_out, len(self.held_out))
        return measure(drawn, truth, self.judges.identity)

    def preview(self) -> Tensor:
        """Held-out people, below each what is drawn of them."""
        truth, drawn, _ = self.reconstructed(self.held_out, PREVIEWED)
        return comparison(truth, drawn)

    def result(self) -> dict[str, Any]:
        """The averaged weights of both networks."""
        return {name: network.state_dict() for name, network in self.average.items()}

    def state_dict(self) -> dict[str, Any]:
        """See `loop.Task.state_dict`; portraits follow from the step's number."""
        return {
            "encoder": self.encoder.state_dict(),
            "generator": self.generator.state_dict(),
            "average": AutoencoderTask.result(self),
            "updates": self.ema[0].updates,
            "optimise_generator": self.optimise_generator.state_dict(),
            "optimise_encoder": self.optimise_encoder.state_dict(),
            "optimise_readout": self.optimise_readout.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `loop.Task.load_state_dict`."""
        for name in ("encoder", "generator", "optimise_generator", "optimise_encoder", "optimise_readout"):
            getattr(self, name).load_state_dict(state[name])
        for name, network in self.average.items():
            network.load_state_dict(state["average"][name])
        for average in self.ema:
            average.updates = state["updates"]

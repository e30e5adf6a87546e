"""Encoder and generator as one auto-encoder of portraits, at one resolution of the growth.

The encoder's code is w itself, one for all layers: what it says of a face lies in W, so that a generator fine-tuned to
a style, which is trained in W, keeps the person.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.encoder import Encoder
from ...models.generator import Generator
from ..kit.ema import ExponentialMovingAverage
from ..kit.optimiser import MuonAndAdam
from ..kit.precision import autocast
from ..kit.randomness import at_step
from ..kit.schedule import warm_up_cosine
from ..kit.state import State
from ..kit.step import Step, Update
from .losses import LossNetworks, centre_weights, reconstruction_loss, reconstruction_terms
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
WARM_UP, HOLD, FLOOR = 150, 0.7, 0.05


def schedule(step: int, steps: int) -> float:
    """Rises over the first steps, falls to a twentieth over the last third."""
    return warm_up_cosine(step, steps, min(WARM_UP, max(steps // 10, 1)), HOLD, FLOOR)


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


def random_noise(
    generator: Generator, count: int, random: torch.Generator, shard: Callable[[Tensor], Tensor]
) -> list[Tensor]:
    """Noise inputs of a shard of `count` pictures; what is drawn does not depend on it."""
    return [shard(torch.randn(count, *shape[1:], generator=random)) for shape in generator.noise_shapes]


def draw(generator: Generator, w: Tensor, noise: Any = "const") -> Tensor:
    """`[N, 3, S, S]` float32 of codes `[N, w_dim]`."""
    picture = generator.synthesis(generator.broadcast(w), noise=noise)
    return cast(Tensor, picture).float()


class AutoencoderTask:
    """See `loop.Task`. `encoder` and `generator` are trained in place; their averages are the result.

    Args:
        encoder: takes pictures of ENCODER_SIZE.
        generator: of the resolution of this stage.
        portraits: to learn from, of any size.
        held_out: to measure on.
        loss_networks: what compares besides pixels.
        config: all settings.
        device: where to compute.
    """

    terms: tuple[str, ...] = ("pixel", "chroma", "edges", "perceptual", "identity")
    ema_decay = 0.998
    reader_rate = 1.0
    """How fast the encoder learns beside the generator, relative to what suits an auto-encoder."""

    def __init__(
        self,
        encoder: Encoder,
        generator: Generator,
        portraits: Portraits,
        held_out: Portraits,
        loss_networks: LossNetworks,
        config: BaseTrainingConfig,
        device: torch.device,
    ) -> None:
        self.size = generator.config.resolution
        self.config, self.device = config, device
        seen = max(self.size, ENCODER_SIZE)
        self.portraits, self.held_out, self.loss_networks = (
            portraits.at(seen),
            held_out.at(seen),
            loss_networks.to(device),
        )
        self.weights = centre_weights(self.size).to(device)
        layout: dict[str, Any] = {"device": device, "memory_format": torch.channels_last}
        self.encoder = encoder.train().requires_grad_(True).to(**layout)
        self.generator = generator.train().requires_grad_(True).to(**layout)
        self.generator.mapping.requires_grad_(False)
        self.average: dict[str, Any] = {
            "encoder": copy.deepcopy(encoder).eval().requires_grad_(False),
            "generator": copy.deepcopy(generator).eval().requires_grad_(False),
        }
        self.ema = {
            name: ExponentialMovingAverage(live, self.average[name], self.ema_decay)
            for name, live in (("encoder", self.encoder), ("generator", self.generator))
        }
        face = list(encoder.face.parameters()) if encoder.face is not None else []
        readout = [cast(nn.Parameter, layer.weight) for layer in (encoder.fc, encoder.out)]
        apart = {id(parameter) for parameter in [*face, *readout]}
        body = [parameter for parameter in encoder.parameters() if id(parameter) not in apart]
        drawing = list(generator.synthesis.parameters())
        self.parameters: list[nn.Parameter] = [*drawing, *body, *face, *readout]
        optimise_encoder = MuonAndAdam(body, BETAS)
        for group in optimise_encoder.param_groups:
            group["lr_factor"] = self.reader_rate / 2
        groups = [{"params": face, "lr_factor": FACE_RATE * self.reader_rate, "weight_decay": 0.0}] if face else []
        groups.append({"params": readout, "lr_factor": READOUT_RATE * self.reader_rate, "weight_decay": READOUT_DECAY})
        optimise_readout = torch.optim.AdamW(groups, lr=0.0, betas=BETAS)
        self.optimisers = MuonAndAdam(drawing, BETAS), optimise_encoder, optimise_readout
        # Portraits follow from the step's number.
        self.state = State(
            encoder=self.encoder,
            generator=self.generator,
            ema_encoder=self.ema["encoder"],
            ema_generator=self.ema["generator"],
            optimise_generator=self.optimisers[0],
            optimise_encoder=optimise_encoder,
            optimise_readout=optimise_readout,
        )

    def step(self, at: Step) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config, count = self.config, self.config.batch_size
        random = at_step(config.seed, at.number)
        pictures = self.portraits.batch(count, random, config.warp, self.device, at.shard)
        keep = (torch.rand(count, self.encoder.fc.in_features, generator=random) >= DROPOUT).float() / (1 - DROPOUT)
        code_noise = at.shard(torch.randn(count, self.generator.config.w_dim, generator=random)).to(self.device)
        noise = random_noise(self.generator, count, random, at.shard)
        target = shrunk(pictures, self.size)
        with autocast(config.precision, self.device):
            w = self.encoder(shrunk(pictures, ENCODER_SIZE), at.shard(keep).to(self.device))[:, 0]
            prediction = draw(self.generator, w + CODE_NOISE * code_noise, noise)
            terms = reconstruction_terms(prediction, target, pictures, self.weights, self.loss_networks)
        loss = reconstruction_loss(terms, config) + CODE_WEIGHT * w.square().mean()
        numbers = at.apply(terms, self._update(loss, config.learning_rate * schedule(at.number, at.total)))
        self._move_averages()
        return numbers

    def _update(self, loss: Tensor, rate: float) -> Update:
        """One step of both networks, at this learning rate of the generator's."""
        return Update("encoder and generator", self.optimisers, self.parameters, loss, rate)

    def _move_averages(self) -> None:
        for average in self.ema.values():
            average.update()

    @torch.no_grad()
    def reconstructed(self, portraits: Portraits, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The first `count` portraits at this resolution, what the averaged networks make of them, and their codes."""
        targets, predictions, codes = [], [], []
        for part in portraits.parts(count):
            pictures = part.to(self.device)
            with autocast(self.config.precision, self.device):
                w = self.average["encoder"](shrunk(pictures, ENCODER_SIZE))[:, 0]
                predictions.append(draw(self.average["generator"], w).clamp(-1, 1).cpu())
            targets.append(shrunk(part, self.size))
            codes.append(w.cpu())
        return torch.cat(targets), torch.cat(predictions), torch.cat(codes)

    def measure(self) -> dict[str, float]:
        """How well people come back whom nothing was learned from, see `measures.measure`."""
        target, prediction, _ = self.reconstructed(self.held_out, len(self.held_out))
        return measure(prediction, target, self.loss_networks.identity)

    def preview(self) -> Tensor:
        """Held-out people, below each what is drawn of them."""
        target, prediction, _ = self.reconstructed(self.held_out, PREVIEWED)
        return comparison(target, prediction)

    def result(self) -> dict[str, Any]:
        """The averaged weights of both networks."""
        return {name: network.state_dict() for name, network in self.average.items()}

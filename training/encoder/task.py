"""An encoder for any generator: learned from the generator's own samples, whose codes are known, and from pictures.

Two phases. First the codes of sampled faces alone are compared: the cheap way to nearly right. Then the picture
of the codes is compared too, with pixels at several scales and the discriminator's features; pSp and e4e (Richardson et
al., arXiv 2008.00951; Tov et al., arXiv 2102.02766) learn from pictures alone, but from far more of them. Faces of your
own, whose codes nobody knows, join in the second phase (`image_share`).

Step number n depends on the seed and n alone, so a resumed run goes on with the faces it would have seen.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.callbacks import Callbacks
from ...core.sheets import comparison_grid
from ...latents.encoding import check_pictures, mean_squared_error, resize
from ...latents.sampling import mixed_w_plus, w_statistics
from ...models.encoder import Encoder, EncoderConfig
from ...models.types import FaceEncoder, FaceGenerator, device_of
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch
from ..kit.ema import ExponentialMovingAverage
from ..kit.fingerprint import fingerprint, generator_fingerprint, settings_of
from ..kit.loop import train
from ..kit.randomness import at_step
from ..kit.schedule import warm_up_cosine
from ..kit.state import State
from ..kit.step import Step, Update
from ..losses.reconstruction import ReconstructionLoss, frozen_copy, frozen_discriminator
from .settings import EncoderTrainingConfig

CHANNELS, HIDDEN = EncoderConfig.channels, EncoderConfig.hidden
SMALLEST, LARGEST = 64, 256
"""Sizes of the pictures that an encoder looks at; pSp and e4e read 256 px for 1024 px generators too."""
WARM_UP = 50
HELD_OUT = 16
"""Faces that the result is measured with; none of them is trained on."""


@dataclass(frozen=True)
class EncoderResult:
    """What a training gives."""

    encoder: FaceEncoder
    history: list[dict[str, float]]
    """A row of numbers per step."""
    preview: Tensor
    """`[3, H, W]` in 0..1: held-out faces above, what their codes draw below."""
    error: float
    """Mean squared error of held-out samples as read and drawn again, pictures in -1..1."""


def train_encoder(
    generator: FaceGenerator,
    config: EncoderTrainingConfig | None = None,
    images: Tensor | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    processes: Processes = SINGLE_PROCESS,
) -> EncoderResult:
    """Trains an encoder for a generator, on the generator's device.

    Args:
        generator: a face generator or a style; with its discriminator features are compared too.
        config: settings.
        images: `[N, 3, S, S]` in -1..1, aligned faces of the kind that it is to read; none will do.
        callbacks, run_dir, resume: see `loop.train`.
        processes: where several train together, see `distributed`; all are given the same of everything else.

    Raises:
        ValueError: the images are no square pictures, or the generator is conditional.
    """
    config = config or EncoderTrainingConfig()
    if images is not None:
        check_pictures(images)
    if generator.generator.config.c_dim:
        raise ValueError(
            "This generator draws classes, and an encoder reads codes without one. Use a generator without classes."
        )
    check_batch(config.batch_size, processes.count, f"{processes.count} processes")
    with torch.inference_mode(False), torch.enable_grad():
        task = EncoderTask(generator, config, images)
        history = train(
            task,
            config.steps,
            callbacks,
            run_dir,
            resume,
            run_identity(config, generator, images),
            config.snapshot_interval,
            config.preview_interval,
            processes,
        )
        preview, error = task.preview(), task.held_out_error()
    network = task.average.to("cpu").eval().requires_grad_(False)
    provenance = {
        "trained_for": generator.style or "source",
        "trained_for_w_space": generator.w_space,
        "steps": str(len(history)),
        "held_out_mse": f"{error:.4f}",
    }
    size = network.config.resolution
    return EncoderResult(
        FaceEncoder(network, size, generator.num_ws, generator.w_dim, provenance), history, preview.cpu(), error
    )


def run_identity(config: EncoderTrainingConfig, generator: FaceGenerator, images: Tensor | None) -> dict[str, Any]:
    """What decides the course of a run, see `identity`; the arguments are those of `train_encoder`."""
    return {
        **settings_of(config),
        "generator": generator_fingerprint(generator),
        "images": None if images is None else fingerprint(images),
    }


def encoder_size(resolution: int) -> int:
    """The size of the pictures that an encoder for generators of this resolution looks at."""
    return max(SMALLEST, min(LARGEST, resolution))


class EncoderTask:
    """See `loop.Task`.

    terms: `codes` squared error relative to the variance of w; `pixel` and `feature` of the decoded pictures.
    """

    terms: tuple[str, ...] = ("codes", "pixel", "feature")

    def __init__(self, generator: FaceGenerator, config: EncoderTrainingConfig, images: Tensor | None) -> None:
        self.config, self.device = config, device_of(generator)
        self.generator = frozen_copy(generator.generator)
        self.discriminator = frozen_discriminator(generator, config.feature_weight)
        self.resolution = generator.resolution
        self.mean, spread = w_statistics(self.generator, generator.mean_latent.to(self.device), config.seed)
        self.variance = spread.square()
        channels = tuple(max(8, 8 * round(c * config.width / 8)) for c in CHANNELS)
        hidden, size = max(32, round(HIDDEN * config.width)), encoder_size(generator.resolution)
        architecture = EncoderConfig(size, generator.num_ws, generator.w_dim, channels, hidden=hidden)
        self.network = _new_encoder(architecture, self.mean, spread, config.seed).to(self.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.ema = ExponentialMovingAverage(self.network, self.average, config.ema_decay)
        self.parameters = list(self.network.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, config.learning_rate, betas=(0.9, 0.99))
        # Faces follow from the step's number.
        self.state = State(network=self.network, ema=self.ema, optimiser=self.optimiser)
        self.images = None
        if images is not None and config.image_share > 0:
            self.images = resize(images.detach().float().clone().cpu(), self.resolution)
        random = at_step(config.seed, -1)
        with torch.no_grad():
            self.held_out = self._pictures(self._codes(HELD_OUT, random, mixing=0.0))

    def step(self, at: Step) -> dict[str, float]:
        """One update; see `loop.Task.step`."""
        config = self.config
        random = at_step(config.seed, at.number)
        with_pictures = at.number > config.picture_start * config.steps and config.pixel_weight > 0
        own = 0
        if with_pictures and self.images is not None:
            own = min(config.batch_size, max(1, round(config.image_share * config.batch_size)))
        # The batch is `sampled` faces, then `own` ones; from here on there is this shard of either.
        sampled = config.batch_size - own
        with torch.no_grad():
            target_codes = at.shard(self._codes(sampled, random, config.style_mixing_prob))
            target = self._pictures(target_codes)
            if self.images is not None and own:
                chosen = torch.randint(len(self.images), (own,), generator=random)
                mirrored = torch.rand(own, generator=random) < 0.5
                chosen, mirrored = at.shard(chosen, sampled), at.shard(mirrored, sampled)
                own_images = torch.where(
                    mirrored[:, None, None, None], self.images[chosen].flip(3), self.images[chosen]
                )
                target = torch.cat([target, own_images.to(self.device)])
            seen = resize(target, self.network.config.resolution)
            seen = degrade_photos(seen, random, config.degrade, at.shard, config.batch_size) if config.degrade else seen
        codes = self.network(seen)
        terms: dict[str, Tensor] = {}
        loss = codes.new_zeros(())
        if sampled:
            apart = (codes[: len(target_codes)] - target_codes).square()
            # Shards may hold more or fewer sampled faces: so weighted, their mean is that of all sampled faces.
            weight = at.shards * len(target_codes) / sampled
            terms["codes"] = (apart.mean() if len(target_codes) else codes.new_zeros(())) / self.variance * weight
            loss = loss + config.code_weight * terms["codes"]
        if with_pictures:
            prediction = self.generator.synthesis(codes, noise="const")
            parts = ReconstructionLoss(target, self.discriminator).terms(prediction)
            terms |= {name: part.mean() for name, part in parts.items()}
            loss = loss + config.pixel_weight * terms["pixel"]
            if "feature" in terms:
                loss = loss + config.feature_weight * terms["feature"]
        rate = config.learning_rate * warm_up_cosine(at.number, at.total, WARM_UP, floor=0.02)
        numbers = at.apply(terms, Update("encoder", self.optimiser, self.parameters, loss, rate, clip=1.0))
        self.ema.update()
        return numbers

    @torch.no_grad()
    def preview(self) -> Tensor:
        """The first held-out faces and, where there are, faces of your own; below each what its codes draw."""
        faces = self.held_out[:4]
        if self.images is not None:
            faces = torch.cat([faces[:2], self.images[:2].to(self.device)])
        return comparison_grid(faces, self._read_again(faces))

    @torch.no_grad()
    def held_out_error(self) -> float:
        """Mean squared error of the held-out samples as the averaged encoder reads them."""
        return float(mean_squared_error(self._read_again(self.held_out), self.held_out).mean())

    def _codes(self, count: int, random: torch.Generator, mixing: float) -> Tensor:
        """Codes `[count, num_ws, w_dim]` of sampled faces, some with the later layers of another face."""
        codes = mixed_w_plus(self.generator, count, mixing, random, self.device)
        return self.mean + self.config.truncation_psi * (codes - self.mean)

    def _pictures(self, codes: Tensor) -> Tensor:
        if not len(codes):
            return codes.new_zeros(0, 3, self.resolution, self.resolution)
        parts = [self.generator.synthesis(part, noise="const") for part in codes.split(8)]
        return torch.cat(parts).float().clamp(-1, 1)

    def _read_again(self, pictures: Tensor) -> Tensor:
        """What the codes of pictures draw, by the averaged encoder."""
        seen = resize(pictures, self.network.config.resolution)
        return self._pictures(torch.cat([self.average(part) for part in seen.split(8)]))


def degrade_photos(
    pictures: Tensor,
    random: torch.Generator,
    amount: float = 1.0,
    shard: Callable[[Tensor], Tensor] = lambda batch: batch,
    count: int | None = None,
) -> Tensor:
    """Pictures `[B, 3, S, S]` in -1..1 as cameras spoil them: exposure, tint, blur, noise, a little misalignment.

    shard, count: the pictures are the shard of a batch of so many.
    """
    count, size = count or len(pictures), pictures.shape[-1]

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return shard(low + (high - low) * torch.rand(*shape, generator=random)).to(pictures)

    reach = 0.15 * min(amount, 2.0)
    gain, tint = uniform(1 - reach, 1 + reach, count, 1, 1, 1), uniform(-0.08, 0.08, count, 3, 1, 1) * amount
    result = (pictures + 1) * gain - 1 + tint
    theta = pictures.new_zeros(len(pictures), 2, 3)
    scale, angle = 1 + uniform(-0.03, 0.03, count) * amount, uniform(-0.03, 0.03, count) * amount
    theta[:, 0, 0], theta[:, 0, 1] = scale * angle.cos(), -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * angle.sin(), scale * angle.cos()
    theta[:, :, 2] = uniform(-0.02, 0.02, count, 2) * amount
    lattice = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    result = F.grid_sample(result, lattice, padding_mode="reflection", align_corners=False)
    soft = F.interpolate(F.avg_pool2d(result, 2), scale_factor=2, mode="bilinear")
    result = result + (soft - result) * uniform(0, 1, count, 1, 1, 1) * (uniform(0, 1, count, 1, 1, 1) > 0.5)
    noise = shard(torch.randn(count, 3, size, size, generator=random)).to(result)
    noise = noise * uniform(0, 0.06, count, 1, 1, 1) * amount
    return (result + noise).clamp(-1, 1)


def _new_encoder(architecture: EncoderConfig, mean: Tensor, spread: Tensor, seed: int) -> Encoder:
    """An encoder that answers with the mean face, its weights drawn from a generator of its own (He et al. 2015)."""
    # Layers draw their first weights from the global generator, which is not ours to move.
    with torch.random.fork_rng(devices=()):
        network = Encoder(architecture)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0 if name == "norm.weight" else 0.0)
            elif weight.ndim > 1 and not name.endswith("scale"):
                std = 0.01 / math.sqrt(weight.shape[1]) if name == "out.weight" else math.sqrt(2 / weight[0].numel())
                weight.copy_(torch.randn(weight.shape, generator=random) * std)
        network.mean_latent.copy_(mean)
        network.latent_std.fill_(float(spread))
    return network.train()

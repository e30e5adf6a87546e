"""Inversion: the latent whose picture is a given face, from an encoder, by optimisation, or by one after the other.

Optimisation follows StyleGAN2's projector (arXiv 1912.04958, appendix D) and PTI (Roich et al., arXiv 2106.05744), with
e4e's delta penalty (Tov et al., arXiv 2102.02766). Faces of a batch do not influence each other.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.discriminator import Discriminator
from ..models.sampling import device_of
from ..models.types import FaceEncoder, FaceGenerator, FaceLatent
from .config import InversionConfig
from .loop import Callbacks

W_SAMPLES = 2000
"""Latents drawn to learn the spread of W."""
WARM_UP, COOL_DOWN = 0.05, 0.4
"""Shares of the steps in which the learning rate rises and falls."""
LEAST_NOISE_SIDE = 8
"""Noise smaller than this is left to the regulariser's coarser scales."""
PREVIEW_FACES = 4


def invert_with_encoder(
    images: Tensor, encoder: FaceEncoder, generator: FaceGenerator, steps: int = 1, batch_size: int = 8
) -> FaceLatent:
    """The encoder's latents of `images [N, 3, S, S]` (-1..1, aligned).

    steps: with more than one, the latent is corrected by what the encoder misses, `w += E(x) - E(G(w))`, which needs no
    encoder trained for it; each face keeps its best. Raises ValueError when encoder and generator do not fit together.
    """
    check_pictures(images)
    if (encoder.num_ws, encoder.w_dim) != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"The encoder gives {encoder.num_ws} codes of length {encoder.w_dim}, but the generator takes "
            f"{generator.num_ws} of length {generator.w_dim}. Load the encoder that was trained for this generator."
        )
    if steps < 1:
        raise ValueError(f"`steps` is {steps}; the encoder has to look at least once.")
    device = device_of(generator)
    found: list[Tensor] = []
    errors: list[Tensor] = []
    with torch.no_grad():
        for part in images.split(batch_size):
            part = part.to(device, torch.float32)
            seen = resize(part, encoder.resolution)
            wanted = resize(part, generator.resolution)
            first = encoder.network(seen)
            w_plus, best, best_error = first, first, torch.full((len(part),), math.inf, device=device)
            for step in range(steps):
                picture = generator.generator.synthesis(w_plus)
                error = mean_squared_error(picture, wanted)
                better = error < best_error
                best = torch.where(better[:, None, None], w_plus, best)
                best_error = torch.where(better, error, best_error)
                if step + 1 < steps:
                    w_plus = w_plus + first - encoder.network(resize(picture.clamp(-1, 1), encoder.resolution))
            found.append(best)
            errors.append(best_error)
    return FaceLatent(
        w_plus=torch.cat(found),
        noise=None,
        w_space=generator.w_space,
        reconstruction_error=torch.cat(errors),
        generator=generator.style,
    )


def invert_by_optimisation(
    images: Tensor,
    generator: FaceGenerator,
    start: FaceLatent | None = None,
    config: InversionConfig | None = None,
    callbacks: Callbacks | None = None,
) -> FaceLatent:
    """Latents found by gradient descent on the difference between `images [N, 3, S, S]` (-1..1) and their pictures.

    start      latents to improve (an encoder's); None starts from the mean, in W first.
    config     settings.
    callbacks  progress (mean loss terms over the faces), previews (row: wanted, row: found), a question whether to
               stop, after which the best so far is returned. Their exceptions propagate.

    The result holds each face's best latent of all steps, its mean squared error, and the noise it was found with.
    Works under `torch.inference_mode()`. Raises ValueError for pictures or a start that do not fit.
    """
    config, callbacks = config or InversionConfig(), callbacks or Callbacks()
    check_pictures(images)
    if start is not None:
        _check_start(start, images, generator)
    with torch.inference_mode(False), torch.enable_grad():
        search = _Search(images, generator, start, config)
        for step in range(1, config.steps + 1):
            if callbacks.should_stop is not None and callbacks.should_stop():
                break
            losses = search.step(step)
            due = config.preview_interval and (step % config.preview_interval == 0 or step == config.steps)
            if due and callbacks.on_preview is not None:
                callbacks.on_preview(step, search.preview())
            if callbacks.on_progress is not None:
                callbacks.on_progress(step, config.steps, losses)
        return search.result()


class _Search:
    """The state of one optimisation of a batch of faces."""

    def __init__(
        self, images: Tensor, generator: FaceGenerator, start: FaceLatent | None, config: InversionConfig
    ) -> None:
        device = device_of(generator)
        self.source, self.config = generator, config
        self.wanted = resize(images.detach().to(device, torch.float32).clone(), generator.resolution)
        self.count = count = self.wanted.shape[0]
        self.network = frozen(generator.generator)
        self.critic: Discriminator | None = None
        if config.feature_weight > 0 and generator.discriminator is not None:
            self.critic = frozen(generator.discriminator)
        self.wanted_pyramid = pyramid(self.wanted)
        with torch.no_grad():
            self.wanted_features = discriminator_features(self.critic, self.wanted) if self.critic is not None else []

        mean, self.spread = w_statistics(self.network, generator.mean_latent.to(device), config.seed)
        # What is optimised is measured in standard deviations of w, so that one learning rate fits every generator.
        if start is None:
            self.origin = mean[None, None].expand(count, generator.num_ws, -1).clone()
            self.w_steps = round(config.steps * config.w_share)
        else:
            self.origin = start.w_plus.detach().to(device, torch.float32).clone()
            self.w_steps = 0
        self.shared = torch.zeros(count, 1, generator.w_dim, device=device, requires_grad=start is None)
        self.deltas = torch.zeros_like(self.origin, requires_grad=True)
        self.noise = self._first_noise(start)
        self.given_noise = tuple(self.noise) if start is not None and start.noise is not None else None
        self.optimised_noise: list[Tensor] = []
        if config.noise == "optimised":
            self.noise = [n.expand(count, -1, -1, -1).clone().requires_grad_() for n in self.noise]
            self.optimised_noise = self.noise
        self.optimiser = torch.optim.Adam(
            [p for p in (self.shared, self.deltas, *self.optimised_noise) if p.requires_grad],
            lr=config.learning_rate, betas=(0.9, 0.999),
        )  # fmt: skip
        self.best_error = torch.full((count,), math.inf, device=device)
        self.best_w_plus = self.origin.clone()
        self.best_noise = [n.detach().clone() for n in self.optimised_noise]
        self.picture = self.wanted

    def step(self, step: int) -> dict[str, float]:
        """One update; what is judged and kept as the best is the latent before it."""
        config = self.config
        rate = config.learning_rate * learning_rate_factor((step - 1) / config.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        w_plus = self._w_plus(step)
        self.picture = self.network.synthesis(w_plus, noise=self.noise)
        terms = {"pixel": pyramid_distance(pyramid(self.picture), self.wanted_pyramid)}
        loss = config.pixel_weight * terms["pixel"]
        if self.critic is not None:
            features = discriminator_features(self.critic, self.picture)
            terms["feature"] = feature_distance(features, self.wanted_features)
            loss = loss + config.feature_weight * terms["feature"]
        if step > self.w_steps and config.delta_penalty > 0:
            terms["delta"] = self.deltas.square().mean((1, 2))
            loss = loss + config.delta_penalty * terms["delta"]
        if self.optimised_noise:
            terms["noise"] = noise_regulariser(self.optimised_noise)
            loss = loss + config.noise_regulariser * terms["noise"]
        self._keep_best(w_plus)
        self.optimiser.zero_grad(set_to_none=True)
        # The sum, not the mean: the step of one face must not depend on how many others there are.
        loss.sum().backward()
        self.optimiser.step()
        with torch.no_grad():
            for noise in self.optimised_noise:
                noise.sub_(noise.mean((2, 3), keepdim=True)).div_(noise.std((2, 3), keepdim=True) + 1e-8)
        return {name: float(term.detach().mean()) for name, term in terms.items()}

    @torch.no_grad()
    def result(self) -> FaceLatent:
        """Each face's best latent."""
        w_plus = self._w_plus(self.config.steps)
        self.picture = self.network.synthesis(w_plus, noise=self.noise)
        self._keep_best(w_plus)
        return FaceLatent(
            w_plus=self.best_w_plus,
            noise=tuple(self.best_noise) if self.optimised_noise else self.given_noise,
            w_space=self.source.w_space,
            reconstruction_error=self.best_error,
            generator=self.source.style,
        )

    @torch.no_grad()
    def preview(self) -> Tensor:
        """`[3, 2R, kR]` in 0..1 of the first k <= 4 faces: as wanted, as found so far."""
        rows = [torch.cat(list(p[:PREVIEW_FACES]), 2) for p in (self.wanted, self.picture.detach())]
        return (torch.cat(rows, 1).clamp(-1.0, 1.0) + 1.0) / 2.0

    def _w_plus(self, step: int) -> Tensor:
        moved = self.shared if step <= self.w_steps else self.shared + self.deltas
        return self.origin + moved * self.spread

    @torch.no_grad()
    def _keep_best(self, w_plus: Tensor) -> None:
        error = mean_squared_error(self.picture, self.wanted)
        better = error < self.best_error
        self.best_error = torch.where(better, error, self.best_error)
        self.best_w_plus = torch.where(better[:, None, None], w_plus.detach(), self.best_w_plus)
        for best, now in zip(self.best_noise, self.optimised_noise, strict=True):
            best.copy_(torch.where(better[:, None, None, None], now.detach(), best))

    def _first_noise(self, start: FaceLatent | None) -> list[Tensor]:
        given = start.noise if start is not None else None
        noises = self.network.synthesis.noise_const() if given is None else given
        return [n.detach().to(self.wanted.device, torch.float32).clone() for n in noises]


def reconstruct(generator: FaceGenerator, latent: FaceLatent) -> Tensor:
    """The pictures `[N, 3, R, R]` (unclamped) of a latent, with the noise it was found with."""
    noise: Any = "const" if latent.noise is None else latent.noise
    with torch.no_grad():
        pictures: Tensor = generator.generator.synthesis(latent.w_plus.to(device_of(generator)), noise=noise)
    return pictures


def mean_squared_error(pictures: Tensor, wanted: Tensor) -> Tensor:
    """`[N]` of pictures `[N, 3, R, R]`, clamped to -1..1 as they would be shown."""
    return (pictures.clamp(-1.0, 1.0) - wanted).square().mean((1, 2, 3))


def peak_signal_to_noise(error: Tensor) -> Tensor:
    """PSNR in dB of mean squared errors of pictures in -1..1 (a peak of 2)."""
    return 10.0 * torch.log10(4.0 / error.clamp(min=1e-12))


def pyramid(pictures: Tensor, smallest: int = 8) -> list[Tensor]:
    """`[N, 3, R, R]` and its halvings by averaging, down to `smallest` pixels."""
    levels = [pictures]
    while levels[-1].shape[2] > smallest:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def pyramid_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """`[N]`: mean absolute difference, averaged over the levels of two pyramids."""
    return torch.stack([(x - y).abs().mean((1, 2, 3)) for x, y in zip(a, b, strict=True)]).mean(0)


def discriminator_features(discriminator: Discriminator, pictures: Tensor) -> list[Tensor]:
    """The discriminator's features, high to low resolution; each face's own (they lie before the batch statistics)."""
    features: list[Tensor] = discriminator(pictures, return_features=True)[1]
    return features


def feature_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """`[N]`: mean absolute difference relative to the mean size of b's features, averaged over the layers."""
    layers = [
        (x - y).abs().mean((1, 2, 3)) / (y.abs().mean((1, 2, 3)) + 1e-8) for x, y in zip(a, b, strict=True)
    ]
    return torch.stack(layers).mean(0)


def noise_regulariser(noises: list[Tensor]) -> Tensor:
    """`[N]`: squared correlation of noise maps `[N, 1, r, r]` with their neighbours, at all scales (StyleGAN2, D)."""
    total = torch.zeros(noises[0].shape[0], device=noises[0].device)
    for noise in noises:
        while True:
            for axis in (2, 3):
                total = total + (noise * noise.roll(1, axis)).mean((1, 2, 3)).square()
            if noise.shape[2] <= LEAST_NOISE_SIDE:
                break
            noise = F.avg_pool2d(noise, 2) * 2.0
    return total


def learning_rate_factor(progress: float) -> float:
    """Multiplier of the learning rate at `progress` 0..1: a linear rise, a plateau and a cosine fall."""
    rise = min((progress + 1e-3) / WARM_UP, 1.0)
    fall = min((1.0 - progress) / COOL_DOWN, 1.0)
    return rise * (0.5 - 0.5 * math.cos(math.pi * fall))


@torch.no_grad()
def w_statistics(network: nn.Module, mean_latent: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The mean latent `[w_dim]` and one number, the standard deviation of w about it."""
    random = torch.Generator().manual_seed(seed)
    z = torch.randn(W_SAMPLES, network.config.z_dim, generator=random).to(mean_latent.device)  # type: ignore[union-attr,arg-type]
    c_dim = int(network.config.c_dim)  # type: ignore[union-attr,arg-type]
    c = torch.zeros(W_SAMPLES, c_dim, device=mean_latent.device) if c_dim else None
    w = network.mapping(z, c)  # type: ignore[operator]
    mean = mean_latent.detach().float().clone()
    return mean, (w - mean).square().mean().sqrt()


def frozen(network: Any) -> Any:
    """The network, or a copy of it where it was loaded under inference mode or still collects gradients."""
    if any(p.is_inference() or p.requires_grad for p in network.parameters()):
        network = copy.deepcopy(network).requires_grad_(False)
    return network.eval()


def resize(pictures: Tensor, size: int) -> Tensor:
    """Square pictures `[N, 3, S, S]` at `size` pixels, anti-aliased."""
    if pictures.shape[2] == size:
        return pictures
    return F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def check_pictures(images: Tensor) -> None:
    """Raises ValueError unless there are square RGB pictures `[N, 3, S, S]`."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[0] == 0:
        raise ValueError(
            f"The faces have shape {tuple(images.shape)}; at least one square RGB picture [N, 3, S, S] is needed. "
            "Align the photo first."
        )


def _check_start(start: FaceLatent, images: Tensor, generator: FaceGenerator) -> None:
    expected = (images.shape[0], generator.num_ws, generator.w_dim)
    if tuple(start.w_plus.shape) != expected:
        raise ValueError(
            f"The starting latent has shape {tuple(start.w_plus.shape)}; for these {images.shape[0]} faces and this "
            f"generator it has to be {expected}."
        )

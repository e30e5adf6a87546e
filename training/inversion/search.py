"""Inversion by optimisation: the latent whose picture is a given face, from the mean or from what an encoder says.

Optimisation follows StyleGAN2's projector (arXiv 1912.04958, appendix D) and PTI (Roich et al., arXiv 2106.05744), with
e4e's delta penalty (Tov et al., arXiv 2102.02766). Faces of a batch do not influence each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.sheets import comparison_grid
from ...latents.encoding import check_pictures, mean_squared_error, resize
from ...latents.sampling import w_statistics
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent, device_of
from ..kit.loop import train
from ..kit.schedule import warm_up_cosine
from ..kit.state import State
from ..kit.step import Step
from ..losses.reconstruction import ReconstructionLoss, codes_of, frozen_copy, frozen_discriminator, likeness_loss
from .settings import InversionConfig

WARM_UP, HOLD = 0.05, 0.6
"""Shares of the steps in which the learning rate rises, and after which it falls."""
LEAST_NOISE_SIDE = 8
"""Noise smaller than this is left to the regulariser's coarser scales."""


def invert_by_optimisation(
    images: Tensor,
    generator: FaceGenerator,
    start: FaceLatent | None = None,
    config: InversionConfig | None = None,
    callbacks: Callbacks | None = None,
    keep: Callable[[FaceLatent], Any] | None = None,
    encoder: FaceEncoder | None = None,
) -> FaceLatent:
    """Latents found by gradient descent on the difference between `images [N, 3, S, S]` (-1..1) and their pictures.

    start      latents to improve (an encoder's); None starts from the mean, in W first.
    config     settings.
    callbacks  progress (mean loss terms over the faces), previews (row: target, row: found), a question whether to
               stop, after which the best so far is returned. Their exceptions propagate.
    keep       given the best so far when an exception (an interrupt) is about to propagate; what it raises itself is
               logged.
    encoder    reads pictures for the generator; what it says of a face is compared, too.

    The result holds each face's best latent of all steps (the one with the least loss), its mean squared error, and the
    noise it was found with. A face that an early end left untouched has its starting latent, in what `keep` gets with
    an error of infinity. Works under `torch.inference_mode()`. Raises ValueError for pictures, a start or an encoder
    that do not fit.
    """
    config, callbacks = config or InversionConfig(), callbacks or Callbacks()
    check_pictures(images)
    if start is not None:
        _check_start(start, images, generator)
    with torch.inference_mode(False), torch.enable_grad():
        search = PartwiseSearch(images, SearchContext(generator, config, encoder), start)
        return search.run(config.steps, callbacks, None if keep is None else lambda: keep(search.best()))


Judge = Callable[[Tensor, Tensor], tuple[dict[str, Tensor], Tensor]]
"""Of pictures `[N, 3, R, R]` and their latents `[N, num_ws, w_dim]`: terms by name and the loss, `[N]` each."""


class SearchContext:
    """What all searches of one generator share.

    `judge` makes what compares with a target; by default the likeness that `config` weighs.
    """

    def __init__(
        self,
        generator: FaceGenerator,
        config: InversionConfig,
        encoder: FaceEncoder | None = None,
        judge: Callable[[Tensor, SearchContext], Judge] | None = None,
    ) -> None:
        self.source, self.config, self.device = generator, config, device_of(generator)
        self.judge = judge or likeness
        self.network = frozen_copy(generator.generator)
        self.discriminator = frozen_discriminator(generator, config.feature_weight)
        self.mean, self.spread = w_statistics(self.network, generator.mean_latent.to(self.device), config.seed)
        self.codes = codes_of(encoder, generator, config.code_weight, self.spread)


def likeness(target: Tensor, setting: SearchContext) -> Judge:
    """Pixels, features and what an encoder reads, weighed by the settings."""
    loss = ReconstructionLoss(target, setting.discriminator, setting.codes)

    def judge(pictures: Tensor, _: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        terms = loss.terms(pictures)
        return terms, likeness_loss(terms, setting.config)

    return judge


class PartwiseSearch:
    """A `loop.Task`: one `LatentSearch` after the other, each of `batch_size` faces and with all of its steps."""

    terms: tuple[str, ...] = ()

    def __init__(self, images: Tensor, setting: SearchContext, start: FaceLatent | None) -> None:
        size = setting.config.batch_size
        self.parts = [slice(first, first + size) for first in range(0, len(images), size)]
        self.images, self.setting, self.start = images, setting, start
        self.searches: list[LatentSearch] = []
        self.state = State()

    def run(self, steps: int, callbacks: Callbacks, on_interrupt: Callable[[], Any] | None = None) -> FaceLatent:
        """The best latent of each face after so many steps, or where `callbacks` end it."""
        interval = self.setting.config.preview_interval
        train(self, steps * len(self.parts), callbacks, preview_interval=interval, on_interrupt=on_interrupt)
        while len(self.searches) < len(self.parts):
            self._begin()
        self.searches[-1].finish()
        return combined_latents(self.searches, self.start)

    def step(self, at: Step) -> dict[str, float]:
        """One update of the part whose turn it is."""
        number = (at.number - 1) % self.setting.config.steps
        if number == 0:
            self._begin()
        return self.searches[-1].step(number + 1)

    def preview(self) -> Tensor:
        """Faces of the part whose turn it is: the target, and what was found below."""
        if not self.searches:
            self._begin()
        return comparison_grid(self.searches[-1].target, self.searches[-1].picture)

    def best(self) -> FaceLatent:
        """What was found so far."""
        untouched = [self._search(faces) for faces in self.parts[len(self.searches) :]]
        return combined_latents(self.searches + untouched, self.start)

    def _begin(self) -> None:
        if self.searches:
            self.searches[-1].finish()
        self.searches.append(self._search(self.parts[len(self.searches)]))

    def _search(self, faces: slice) -> LatentSearch:
        return LatentSearch(self.images[faces], self.setting, None if self.start is None else self.start.select(faces))


class LatentSearch:
    """The state of one optimisation of a batch of faces."""

    def __init__(self, images: Tensor, setting: SearchContext, start: FaceLatent | None) -> None:
        device, config, source = setting.device, setting.config, setting.source
        self.setting, self.config, self.network = setting, config, setting.network
        self.target = resize(images.detach().to(device, torch.float32).clone(), source.resolution)
        self.picture = self.target
        self.judge = setting.judge(self.target, setting)
        count = len(self.target)

        # What is optimised is measured in standard deviations of w, so that one learning rate fits every generator.
        if start is None:
            self.origin = setting.mean[None, None].expand(count, source.num_ws, -1).clone()
            self.w_steps = round(config.steps * config.w_share)
        else:
            self.origin = start.w_plus.detach().to(device, torch.float32).clone()
            self.w_steps = 0
        if config.space == "w":
            self.origin = self.origin.mean(1, keepdim=True).expand_as(self.origin).clone()
            self.w_steps = config.steps
        only_w = config.space == "w"
        self.shared = torch.zeros(count, 1, source.w_dim, device=device, requires_grad=start is None or only_w)
        self.deltas = torch.zeros_like(self.origin, requires_grad=not only_w)
        self.noise = self._first_noise(start)
        self.optimised_noise: list[Tensor] = []
        if config.noise == "optimised":
            self.noise = [n.expand(count, -1, -1, -1).clone().requires_grad_() for n in self.noise]
            self.optimised_noise = self.noise
        self.optimiser = torch.optim.Adam(
            [p for p in (self.shared, self.deltas, *self.optimised_noise) if p.requires_grad],
            lr=config.learning_rate,
            betas=(0.9, 0.999),
        )
        self.least_loss = torch.full((count,), math.inf, device=device)
        self.best_error = torch.full((count,), math.inf, device=device)
        self.best_w_plus = self.origin.clone()
        self.best_noise = [n.detach().clone() for n in self.optimised_noise]

    def step(self, step: int) -> dict[str, float]:
        """One update; what is judged and kept as the best is the latent before it."""
        config = self.config
        rate = config.learning_rate * warm_up_cosine(step - 1, config.steps, WARM_UP * config.steps, HOLD, start=0.02)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        w_plus = self._w_plus(step)
        self.picture = self._draw(w_plus)
        terms, loss = self.judge(self.picture, w_plus)
        self._keep_best(w_plus, loss)
        if step > self.w_steps and config.delta_penalty > 0:
            terms["delta"] = self.deltas.square().mean((1, 2))
            loss = loss + config.delta_penalty * terms["delta"]
        if self.optimised_noise:
            terms["noise"] = noise_regulariser(self.optimised_noise)
            loss = loss + config.noise_regulariser * terms["noise"]
        self.optimiser.zero_grad(set_to_none=True)
        # The sum, not the mean: the step of one face must not depend on how many others there are.
        loss.sum().backward()
        self.optimiser.step()
        with torch.no_grad():
            for noise in self.optimised_noise:
                noise.sub_(noise.mean((2, 3), keepdim=True)).div_(noise.std((2, 3), keepdim=True) + 1e-8)
        return {name: float(term.detach().mean()) for name, term in terms.items()}

    @torch.no_grad()
    def finish(self) -> None:
        """Judges the latent after the last update too, and lets go of what only further steps would need."""
        w_plus = self._w_plus(self.config.steps)
        self.picture = self._draw(w_plus)
        self._keep_best(w_plus, self.judge(self.picture, w_plus)[1])
        del self.judge, self.optimiser

    def _draw(self, w_plus: Tensor) -> Tensor:
        picture: Tensor = self.network.synthesis(w_plus, noise=self.noise)
        return picture

    def _w_plus(self, step: int) -> Tensor:
        moved = self.shared if step <= self.w_steps else self.shared + self.deltas
        return self.origin + moved * self.setting.spread

    @torch.no_grad()
    def _keep_best(self, w_plus: Tensor, loss: Tensor) -> None:
        error = mean_squared_error(self.picture, self.target)
        better = loss < self.least_loss
        self.least_loss = torch.where(better, loss.detach(), self.least_loss)
        self.best_error = torch.where(better, error, self.best_error)
        self.best_w_plus = torch.where(better[:, None, None], w_plus.detach(), self.best_w_plus)
        for best, now in zip(self.best_noise, self.optimised_noise, strict=True):
            best.copy_(torch.where(better[:, None, None, None], now.detach(), best))

    def _first_noise(self, start: FaceLatent | None) -> list[Tensor]:
        known = start.noise if start is not None else None
        noises = self.network.synthesis.noise_const() if known is None else known
        return [n.detach().to(self.target.device, torch.float32).clone() for n in noises]


def combined_latents(searches: Sequence[LatentSearch], start: FaceLatent | None) -> FaceLatent:
    """The best of every face, in order."""
    setting = searches[0].setting
    noise: tuple[Tensor, ...] | None = None
    if searches[0].optimised_noise:
        noise = tuple(torch.cat(maps) for maps in zip(*(search.best_noise for search in searches), strict=True))
    elif start is not None and start.noise is not None:
        noise = tuple(n.detach().to(setting.device, torch.float32).clone() for n in start.noise)
    return FaceLatent(
        w_plus=torch.cat([search.best_w_plus for search in searches]),
        noise=noise,
        w_space=setting.source.w_space,
        reconstruction_error=torch.cat([search.best_error for search in searches]),
        generator=setting.source.style,
    )


def reconstruct(generator: FaceGenerator, latent: FaceLatent) -> Tensor:
    """The pictures `[N, 3, R, R]` (unclamped) of a latent, with the noise it was found with."""
    noise: Any = "const" if latent.noise is None else latent.noise
    with torch.no_grad():
        pictures: Tensor = generator.generator.synthesis(latent.w_plus.to(device_of(generator)), noise=noise)
    return pictures


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


def _check_start(start: FaceLatent, images: Tensor, generator: FaceGenerator) -> None:
    expected = (images.shape[0], generator.num_ws, generator.w_dim)
    if tuple(start.w_plus.shape) != expected:
        raise ValueError(
            f"The starting latent has shape {tuple(start.w_plus.shape)}; for these {images.shape[0]} faces and this "
            f"generator it has to be {expected}."
        )

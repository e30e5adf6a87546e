"""Pivotal tuning: a copy of the generator learns to draw given faces exactly, around their latents.

Roich et al., *Pivotal Tuning for Latent-based Editing of Real Images*, arXiv 2106.05744. The latents (the pivots) and
the mapping network stay, so W is shared with the source and with every style of it. Other faces are held by their
locality regularisation, where asked for.

A tuned generator has moved away from the styles of its source. `align_style` adds the same change of weights to a
style, `theta_style + (theta_tuned - theta_source)`, so that style and source stay aligned (ours).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.sheets import comparison_grid
from ...latents.encoding import check_pictures, mean_squared_error, resize
from ...latents.sampling import map_z, w_statistics
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent, device_of, name_of
from ..kit.loop import train
from ..kit.state import State
from ..kit.step import Step
from ..losses.reconstruction import ReconstructionLoss, codes_of, frozen_copy, frozen_discriminator, likeness_loss
from .settings import PivotalConfig

BETAS = (0.9, 0.999)


@dataclass(frozen=True, eq=False)
class PivotalResult:
    """What pivotal tuning gives."""

    generator: FaceGenerator
    """The tuned generator, with the source's discriminator."""
    error_before: Tensor
    """`[N]` mean squared errors of the faces in -1..1, drawn by the source."""
    error_after: Tensor
    """`[N]`, drawn by the tuned generator."""
    steps: int
    """After how many steps its weights were the best."""


def tune_to_faces(
    images: Tensor,
    generator: FaceGenerator,
    latent: FaceLatent,
    config: PivotalConfig | None = None,
    callbacks: Callbacks | None = None,
    keep: Callable[[PivotalResult], Any] | None = None,
    encoder: FaceEncoder | None = None,
) -> PivotalResult:
    """A copy of `generator` tuned to draw `images [N, 3, S, S]` (-1..1, aligned) from their latents.

    latent     the pivots, one for each face, with the noise they were found with.
    config     settings.
    callbacks  progress (mean loss terms), previews (rows: target, source, tuned), a question whether to stop, after
               which the best so far is returned. Their exceptions propagate.
    keep       given the best so far when an exception (an interrupt) is about to propagate; what it raises itself is
               logged.
    encoder    reads pictures for the generator; what it says of the faces is compared, too.

    The result has the weights with the least mean loss over all steps; the source and its mapping network are left as
    they are. Works under `torch.inference_mode()`. Raises ValueError for faces or latents that do not fit.
    """
    config = config or PivotalConfig()
    check_pictures(images)
    _check_pivots(latent, images, generator)
    with torch.inference_mode(False), torch.enable_grad():
        task = PivotalTask(images, generator, latent, config, encoder)
        best = None if keep is None else lambda: keep(task.result())
        train(task, config.steps, callbacks, preview_interval=config.preview_interval, on_interrupt=best)
        task.judge()
        return task.result()


class PivotalTask:
    """One tuning, a `loop.Task`."""

    terms: tuple[str, ...] = ("pixel", "feature", "code", "locality")

    def __init__(
        self,
        images: Tensor,
        source: FaceGenerator,
        latent: FaceLatent,
        config: PivotalConfig,
        encoder: FaceEncoder | None,
    ) -> None:
        self.source, self.config, self.device = source, config, device_of(source)
        self.target = resize(images.detach().to(self.device, torch.float32).clone(), source.resolution)
        self.pivots = latent.w_plus.detach().to(self.device, torch.float32).clone()
        noise = source.generator.synthesis.noise_const() if latent.noise is None else latent.noise
        self.noise = [n.detach().to(self.device, torch.float32).clone() for n in noise]
        spread = w_statistics(source.generator, source.mean_latent.to(self.device), config.seed)[1]
        codes = codes_of(encoder, source, config.code_weight, spread)
        self.likeness = ReconstructionLoss(self.target, frozen_discriminator(source, config.feature_weight), codes)
        self.before = frozen_copy(source.generator)
        self.network = copy.deepcopy(source.generator).requires_grad_(False).eval()
        self.network.synthesis.requires_grad_(True)
        # Noise is fixed, so that a strength that grew would print one pattern of grain into every face.
        for convolution in self.network.synthesis.convolutions():
            convolution.noise_strength.requires_grad_(False)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=config.learning_rate, betas=BETAS)
        self.random = torch.Generator().manual_seed(config.seed)
        self.reach = config.locality_distance * float(spread) * source.w_dim**0.5

        self.state = State(network=self.network.synthesis, optimiser=self.optimiser, random=self.random)
        self.done = self.best_step = 0
        self.prediction = torch.cat([self._draw(self.before, faces).detach() for faces in self._parts()])
        self.prediction_before = self.prediction
        self.error_before = mean_squared_error(self.prediction, self.target)
        self.best_error, self.least_loss = self.error_before, math.inf
        self.best = [p.detach().clone() for p in self.parameters]

    def preview(self) -> Tensor:
        """Rows: the target, what the source draws, what the network draws now."""
        return comparison_grid(self.target, self.prediction_before, self.prediction)

    def step(self, at: Step) -> dict[str, float]:
        """One update from all faces; what is judged and kept as the best are the weights before it."""
        config, count = self.config, len(self.target)
        totals: dict[str, float] = {}
        predictions, total = [], 0.0
        self.optimiser.zero_grad(set_to_none=True)
        # Parts of the batch add up to the gradient of the whole, so that memory does not grow with the faces.
        for faces in self._parts():
            pictures = self._draw(self.network, faces)
            terms = self.likeness.terms(pictures, faces)
            loss = likeness_loss(terms, config).sum() / count
            loss.backward()
            total += float(loss.detach())
            predictions.append(pictures.detach())
            for name, term in terms.items():
                totals[name] = totals.get(name, 0.0) + float(term.detach().sum()) / count
        self.prediction = torch.cat(predictions)
        self._keep_best(total)
        if config.locality_weight > 0:
            local = config.locality_weight * self._locality()
            local.backward()
            totals["locality"] = float(local.detach())
        self.optimiser.step()
        self.done = at.number
        return totals

    @torch.no_grad()
    def judge(self) -> None:
        """Looks at the weights after the last update too."""
        predictions, total = [], 0.0
        for faces in self._parts():
            predictions.append(self._draw(self.network, faces))
            total += float(likeness_loss(self.likeness.terms(predictions[-1], faces), self.config).sum()) / len(
                self.target
            )
        self.prediction = torch.cat(predictions)
        self._keep_best(total)

    @torch.no_grad()
    def result(self) -> PivotalResult:
        """The generator with the best weights."""
        tuned = copy.deepcopy(self.network).requires_grad_(False).eval()
        trained = [p for p, q in zip(tuned.parameters(), self.network.parameters(), strict=True) if q.requires_grad]
        for parameter, best in zip(trained, self.best, strict=True):
            parameter.copy_(best)
        before, after = (float(error.mean()) for error in (self.error_before, self.best_error))
        told = f"{len(self.target)} faces, {self.best_step} steps, mean squared error {before:.5f} to {after:.5f}"
        generator = self.source.replace(generator=tuned, provenance={**self.source.provenance, "pivotal_tuning": told})
        return PivotalResult(generator, self.error_before, self.best_error, self.best_step)

    def _parts(self) -> list[slice]:
        size = self.config.batch_size
        return [slice(first, first + size) for first in range(0, len(self.target), size)]

    def _draw(self, network: Any, faces: slice) -> Tensor:
        noise = [n if n.shape[0] == 1 else n[faces] for n in self.noise]
        # The fast form; gradients that agree with the reference to the last digit are not needed to train.
        pictures: Tensor = network.synthesis(self.pivots[faces], noise=noise)
        return pictures

    def _locality(self) -> Tensor:
        """How far the network has moved from the source at a random face near a pivot (PTI, section 3.3)."""
        with torch.no_grad():
            z = torch.randn(1, self.before.config.z_dim, generator=self.random).to(self.device)
            w = map_z(self.before, z)
            pivot = self.pivots[self.done % len(self.pivots)][None]
            away = w[:, None] - pivot
            # Normalised code by code, so that the reach means the same for W and W+.
            near = pivot + self.reach * away / away.norm(dim=2, keepdim=True).clamp(min=1e-8)
            target = self.before.synthesis(near)
        pictures = self.network.synthesis(near)
        terms = ReconstructionLoss(target, self.likeness.discriminator, self.likeness.codes).terms(pictures)
        return likeness_loss(terms, self.config).mean()

    @torch.no_grad()
    def _keep_best(self, loss: float) -> None:
        if math.isfinite(loss) and loss < self.least_loss:
            self.least_loss, self.best_step = loss, self.done
            self.best_error = mean_squared_error(self.prediction, self.target)
            for best, now in zip(self.best, self.parameters, strict=True):
                best.copy_(now)


@torch.no_grad()
def align_style(style: FaceGenerator, source: FaceGenerator, tuned: FaceGenerator) -> FaceGenerator:
    """The style with the change that tuning made to its source: `theta_style + (theta_tuned - theta_source)`.

    Computed in double precision on the CPU, so that the source itself becomes the tuned generator to the bit, and an
    untuned source leaves the style to the bit. The style's discriminator, which never saw such faces, is left out.

    Raises:
        ValueError: the three do not share W, or are not of one shape.
    """
    for other, role in ((source, "the source"), (tuned, "the tuned generator")):
        if other.w_space != style.w_space or _shapes(other) != _shapes(style):
            raise ValueError(
                f"The style {name_of(style)} and {role} {name_of(other)} differ in W or in the sizes of their layers, "
                "so that one's change means nothing to the other. Use the generator the style was fine-tuned from."
            )
    before, after = source.generator.state_dict(), tuned.generator.state_dict()
    with torch.inference_mode(False):
        network = copy.deepcopy(style.generator)
        for name, tensor in network.state_dict().items():
            if name.startswith("synthesis.") and tensor.is_floating_point():
                change = after[name].cpu().double() - before[name].cpu().double()
                tensor.copy_(tensor.cpu().double() + change)
    told = tuned.provenance.get("pivotal_tuning", "of its source")
    provenance = {**style.provenance, "pivotal_tuning": f"the change made to its source: {told}"}
    return style.replace(generator=network, discriminator=None, provenance=provenance)


def _shapes(generator: FaceGenerator) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in generator.generator.state_dict().items()}


def _check_pivots(latent: FaceLatent, images: Tensor, generator: FaceGenerator) -> None:
    expected = (len(images), generator.num_ws, generator.w_dim)
    if tuple(latent.w_plus.shape) != expected:
        raise ValueError(
            f"The latents have shape {tuple(latent.w_plus.shape)}; for these {len(images)} faces and this generator it "
            f"has to be {expected}. Invert the same faces with the same generator."
        )
    if latent.w_space and latent.w_space != generator.w_space:
        raise ValueError(
            f"The latents belong to another generator than {name_of(generator)}. Invert the faces with the generator "
            "that is to be tuned."
        )

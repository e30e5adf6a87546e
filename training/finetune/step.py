"""What one step of fine-tuning computes: the losses of a batch and the gradients of both networks. Changes nothing.

No work is done twice: the generated batch serves both networks, its one pass through D gives both losses, the features
of L_sem come from the same pass as the pictures, and the source is evaluated only as deep as L_sem looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.augment import apply_augmentation, apply_diffaugment
from ..guides.protocol import Guide, column
from ..kit.precision import autocast
from ..losses.adversarial import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
    running_statistics,
    second_moments,
    texture_distance,
)
from ..losses.semantic import SemanticWeights, semantic_terms
from .batches import FinetuneBatch
from .networks import FinetuneNetworks
from .settings import FinetuneConfig

Mean = Callable[[Sequence[Tensor]], list[Tensor]]
TEXTURE_MEMORY = 0.9
"""How much of the style pictures' running texture statistics a step keeps."""


@dataclass(eq=False)
class RunningStatistics:
    """What a step knows from the steps before it, besides the weights."""

    mean_path_length: Tensor
    textures: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class FinetuneGradients:
    """Losses and gradients of a batch, or of one part of it."""

    terms: dict[str, Tensor]
    g_gradients: Sequence[Tensor]
    d_gradients: Sequence[Tensor]
    r1_gradients: Sequence[Tensor] | None
    path_gradients: Sequence[Tensor] | None
    running: RunningStatistics


def mean_of(parts: Sequence[FinetuneGradients]) -> FinetuneGradients:
    """The mean of equal parts; one alone as it is."""
    if len(parts) == 1:
        return parts[0]

    def mean(lists: Sequence[Sequence[Tensor] | None]) -> list[Tensor] | None:
        present = [found for found in lists if found is not None]
        return [torch.stack(same).mean(0) for same in zip(*present, strict=True)] if present else None

    names = list(parts[0].terms)
    terms = {name: torch.stack([part.terms[name].detach() for part in parts]).mean(0) for name in names}
    running = RunningStatistics(
        torch.stack([part.running.mean_path_length for part in parts]).mean(0),
        mean([part.running.textures for part in parts]) or [],
    )
    return FinetuneGradients(
        terms,
        mean([part.g_gradients for part in parts]) or [],
        mean([part.d_gradients for part in parts]) or [],
        mean([part.r1_gradients for part in parts]),
        mean([part.path_gradients for part in parts]),
        running,
    )


class FinetuneLosses:
    """Computes losses and gradients of parts of a batch, with the networks as they are."""

    def __init__(
        self,
        networks: FinetuneNetworks,
        config: FinetuneConfig,
        weights: SemanticWeights,
        guides: Sequence[Guide],
        r1_gamma: float,
    ) -> None:
        self.networks, self.config, self.weights = networks, config, weights
        self.guides, self.r1_gamma = guides, r1_gamma

    def __call__(
        self, batch: FinetuneBatch, running: RunningStatistics, loss_scale: float, mean: Mean
    ) -> tuple[FinetuneGradients, Tensor]:
        """Losses and gradients on one part of the batch, and D's logits on its real pictures; `mean` is taken over the
        parts that others compute at the same time."""
        config, networks, w_plus, weight = self.config, self.networks, batch.w_plus, batch.weight
        discriminator, d_parameters = networks.discriminator, networks.discriminator_parameters
        reals = self._augment(batch.reals, batch.augmented_reals, batch.probability)

        # The one pass through G_t, and L_sem on its features.
        with self._autocast(w_plus):
            fakes, features = networks.target.synthesis(w_plus, return_features=True)
        terms: dict[str, Tensor] = {}
        semantic: Tensor | None = None
        if weight > 0.0:
            head = networks.source_head
            with torch.no_grad(), self._autocast(w_plus):
                _, source_features = head(w_plus[:, : head.num_ws], return_features=True)
            semantic, terms = semantic_terms(features, source_features, self.weights)

        # The one pass of the fakes through D: `cut` is where G_t's graph ends and D's begins.
        cut = fakes.detach().requires_grad_()
        seen = self._augment(cut, batch.augmented_fakes, batch.probability)
        r1_gradients: tuple[Tensor, ...] | None = None
        if batch.lazy_r1:
            # Its own update, before the graph of the ordinary one is built: the two are never in memory together.
            terms["r1"] = r1_penalty(discriminator, reals)
            scale = 0.5 * self.r1_gamma * config.r1_interval
            r1_gradients = torch.autograd.grad(
                scale * terms["r1"], d_parameters, allow_unused=True, materialize_grads=True
            )
        with self._autocast(w_plus):
            fake_logits, fake_features = discriminator(seen, return_features=True)
            real_logits, real_features = discriminator(reals, return_features=True)
        terms["generator"] = generator_loss(fake_logits)
        terms["discriminator"] = discriminator_loss(fake_logits, real_logits)
        pull = terms["generator"]
        textures = running.textures
        if config.match_texture > 0.0:
            moments = mean(second_moments(real_features))
            textures = running_statistics(textures, moments, TEXTURE_MEMORY)
            terms["texture"] = texture_distance(second_moments(fake_features), textures)
            pull = pull + config.match_texture * terms["texture"]
        for guide, value in self._guidance(cut, w_plus):
            terms[column(guide)] = value
            pull = pull + guide.weight * value
        (image_gradient,) = torch.autograd.grad(loss_scale * pull, cut, retain_graph=True)
        d_gradients = torch.autograd.grad(loss_scale * terms["discriminator"], d_parameters)

        # On through G_t, both losses at once.
        if semantic is None:
            g_gradients = torch.autograd.grad(fakes, networks.generator_parameters, image_gradient)
        else:
            g_gradients = torch.autograd.grad(
                [fakes, loss_scale * weight * semantic],
                networks.generator_parameters,
                [image_gradient, torch.ones_like(semantic)],
            )
        if loss_scale != 1.0:
            g_gradients, d_gradients = (tuple(g / loss_scale for g in p) for p in (g_gradients, d_gradients))
        path_gradients: tuple[Tensor, ...] | None = None
        mean_path_length = running.mean_path_length
        if batch.path_w is not None:
            terms["path_length"], mean_path_length, path_gradients = self._path_length(batch, mean_path_length, mean)
        found = FinetuneGradients(
            terms,
            g_gradients,
            d_gradients,
            r1_gradients,
            path_gradients,
            RunningStatistics(mean_path_length, textures),
        )
        return found, real_logits.detach()

    def _augment(self, images: Tensor, drawn: Tensor, probability: float) -> Tensor:
        if self.config.augment == "diffaugment":
            return apply_diffaugment(images, drawn)
        return apply_augmentation(images, drawn, probability)

    def _guidance(self, fakes: Tensor, w_plus: Tensor) -> list[tuple[Guide, Tensor]]:
        """What each guide says of `fakes [N, 3, R, R]`, compared with the source's of the same `w_plus`."""
        if not self.guides:
            return []
        with torch.no_grad(), self._autocast(w_plus):
            source = self.networks.source.generator.synthesis(w_plus)
        return [(guide, guide(fakes.float(), source.float())) for guide in self.guides]

    def _path_length(
        self, batch: FinetuneBatch, mean_path_length: Tensor, mean: Mean
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The penalty, its new running mean and its gradients, on half a batch, in fp32."""
        config, networks = self.config, self.networks
        assert batch.path_w is not None and batch.path_direction is not None  # noqa: S101 - for mypy: the caller asked
        w_plus = batch.path_w.clone().requires_grad_()
        images = networks.target.synthesis(w_plus)
        penalty, mean_path_length = path_length_penalty(
            images,
            w_plus,
            mean_path_length,
            direction=batch.path_direction,
            average=lambda length: mean([length])[0],
        )
        scaled = penalty * (config.path_length_weight * config.path_length_interval)
        gradients = torch.autograd.grad(
            scaled, networks.generator_parameters, allow_unused=True, materialize_grads=True
        )
        return penalty, mean_path_length, gradients

    def _autocast(self, tensor: Tensor) -> torch.autocast:
        return autocast(self.config.precision, tensor.device)

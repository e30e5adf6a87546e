"""Other ways to fine-tune a face generator, written from their papers' formulas for `bench quality`.

A peer is stage 1 without the semantic constraint and with a loss of its own. Networks, optimisers, data and its order,
augmentation, R1, averaging and resuming are those of every other row; what a paper's own trainer does otherwise there
(learning rates, path length, fresh noise) is left out. JoJoGAN alone trains without a discriminator, see `jojogan`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ....core.callbacks import Callbacks
from ....latents.sampling import mixed_w_plus
from ....models.types import FaceGenerator
from ....training.data.inputs import check_source, prepare_style_images
from ....training.finetune.batches import FinetuneBatch
from ....training.finetune.run import run_identity
from ....training.finetune.settings import FinetuneConfig
from ....training.finetune.step import FinetuneGradients, FinetuneLosses, Mean, RunningStatistics
from ....training.finetune.task import FinetuneTask
from ....training.kit.loop import train
from ....training.kit.randomness import at_step
from ....training.kit.step import Step

Features = dict[int, Tensor]
"""`{r: [N, C_r, r, r]}` of every size, after its second convolution."""
FACES = 4
"""Faces that a content loss compares: `feat_const_batch` of CDC and RSSA."""
LATENT_SALT = 1 << 20
"""Parts the random numbers of a content loss from those of the batches."""


class PeerLosses(FinetuneLosses):
    """The losses of plain fine-tuning, and `content`, on faces of its own as CDC, RSSA and FixNoise have it."""

    step = 0
    random: torch.Generator

    def content(self, step: int) -> Tensor:
        """What a peer adds to the generator's loss in a step, weighted; a scalar."""
        raise NotImplementedError

    def features_of(self, w_plus: Tensor) -> tuple[Features, Features]:
        """Features of the generator as it is now, with a graph, and of its source, without."""
        with self._autocast(w_plus):
            _, target = self.networks.target.synthesis(w_plus, return_features=True)
            with torch.no_grad():
                _, source = self.networks.source.generator.synthesis(w_plus, return_features=True)
        return {r: f.float() for r, f in target.items()}, {r: f.float() for r, f in source.items()}

    def fresh_faces(self, device: torch.device) -> Tensor:
        """`w_plus [FACES, num_ws, w_dim]`, not mixed."""
        return mixed_w_plus(self.networks.target, FACES, 0.0, self.random, device)

    def __call__(
        self, batch: FinetuneBatch, running: RunningStatistics, loss_scale: float, mean: Mean
    ) -> tuple[FinetuneGradients, Tensor]:
        found, logits = super().__call__(batch, running, loss_scale, mean)
        loss = self.content(self.step)
        parameters = self.networks.generator_parameters
        added = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        gradients = [a + b for a, b in zip(found.g_gradients, added, strict=True)]
        return replace(found, terms={**found.terms, "content": loss.detach()}, g_gradients=gradients), logits


class PeerTask(FinetuneTask):
    """A fine-tuning with the losses of a peer."""

    terms = (*FinetuneTask.terms, "content")
    kind: type[PeerLosses]

    def __init__(self, source: FaceGenerator, pictures: Tensor, config: FinetuneConfig) -> None:
        super().__init__(source, pictures, config)
        made = self.losses
        self.losses = self.kind(made.networks, config, made.weights, made.guides, made.r1_gamma)

    def compute(self, batch: FinetuneBatch, at: Step) -> tuple[FinetuneGradients, Tensor]:
        """As in plain fine-tuning."""
        losses = self.losses
        assert isinstance(losses, PeerLosses)  # noqa: S101 - for mypy: made so above
        losses.step, losses.random = at.number, at_step(self.config.seed, LATENT_SALT + at.number)
        return super().compute(batch, at)


def fine_tune(
    task: type[PeerTask],
    source: FaceGenerator,
    pictures: Tensor,
    config: FinetuneConfig,
    callbacks: Callbacks | None,
    run_dir: Path,
) -> FaceGenerator:
    """`training.finetune.run.finetune` with a peer's losses; resumes what is in `run_dir`."""
    check_source(source)
    with torch.inference_mode(False), torch.enable_grad():
        prepared = prepare_style_images(pictures, source)
        made = task(source, prepared, config)
        settings = {**run_identity(config, source, pictures), "peer": task.__name__}
        train(made, config.steps, callbacks, run_dir, True, settings, snapshot_interval=config.snapshot_interval)
        return made.result()

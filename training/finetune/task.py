"""One fine-tuning as a `loop.Task`: its networks, their optimisers, its state, and the order of one iteration."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.settings import to_mapping
from ...models.types import FaceGenerator, device_of
from ..data.augment import AdaptiveProbability
from ..guides.protocol import Guide, column
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch, shard_batch
from ..kit.ema import ExponentialMovingAverage
from ..kit.gradients import apply_gradients, lazy_adam
from ..kit.loop import NonFiniteLoss, require_finite
from ..kit.settings import AUTOMATIC
from ..losses.adversarial import r1_gamma_heuristic
from ..losses.semantic import FEW_SHOTS, SemanticWeights
from ..reports.scoring import FACES, ScoreHistory
from .batches import FinetuneBatch, FinetuneBatches
from .networks import copy_networks, match_palette
from .preview import PREVIEW_FACES, FinetunePreview
from .settings import FinetuneConfig
from .snapshots import Snapshots
from .step import FinetuneGradients, FinetuneLosses, RunningStatistics, gradient_norms, mean_of

PALETTE_FACES = 64
FIRST_LOSS_SCALE = 4096.0
"""What losses are multiplied with in fp16, so that small gradients are not rounded to nothing."""
SCALED = ("gradient of the generator", "gradient of the discriminator")
"""What a smaller loss scale can bring back into the format's range."""


class FinetuneTask:
    """One fine-tuning: the networks, their optimisers, and one iteration (`step`). Driven by `loop.train`."""

    terms: tuple[str, ...] = (
        "generator",
        "discriminator",
        "feature",
        "self",
        "relation",
        "texture",
        "r1",
        "path_length",
        "semantic_weight",
        "augment_probability",
        "style_distance",
        "structure_distance",
    )

    def __init__(
        self,
        source: FaceGenerator,
        pictures: Tensor,
        config: FinetuneConfig,
        guides: Sequence[Guide] = (),
        processes: Processes = SINGLE_PROCESS,
        validation: Tensor | None = None,
    ) -> None:
        """`pictures [N, 3, R, R]` as `prepare_style_images` gives them; `validation` more of them, not trained on."""
        self.processes = processes
        self.shares = processes.count * config.accumulate
        check_batch(config.batch_size, self.shares, f"{processes.count} processes x {config.accumulate} parts")
        assert source.discriminator is not None  # noqa: S101 - check_source has been there
        self.source, self.pictures, self.config = source, pictures, config
        guides = tuple(guide for guide in guides if guide.weight > 0.0)
        self.terms = (*self.terms, *map(column, guides))
        self.device = device_of(source)
        self.loss_scale = FIRST_LOSS_SCALE if config.precision == "fp16" else 1.0

        networks = copy_networks(source, config)
        self.target, self.average, self.discriminator = networks.target, networks.average, networks.discriminator
        self.generator_parameters = networks.generator_parameters
        self.discriminator_parameters = networks.discriminator_parameters
        self.ema = ExponentialMovingAverage(self.target.synthesis, self.average.synthesis, config.ema_decay)

        few = pictures.shape[0] <= FEW_SHOTS
        weights = SemanticWeights(config.keep_shape, config.keep_structure, config.keep_relations if few else 0.0)
        automatic = r1_gamma_heuristic(source.resolution, config.batch_size)
        r1_gamma = automatic if config.r1_gamma == AUTOMATIC else config.r1_gamma
        self.losses = FinetuneLosses(networks, config, weights, guides, r1_gamma, processes)
        self.running = RunningStatistics(torch.zeros((), device=self.device))
        self.generator_optimiser = lazy_adam(
            self.generator_parameters, config.learning_rate, config.path_length_interval, config.path_length_weight > 0
        )
        self.discriminator_optimiser = lazy_adam(
            self.discriminator_parameters, config.discriminator_learning_rate, config.r1_interval, r1_gamma > 0
        )
        ramp = config.ada_ramp * config.steps * config.batch_size
        self.ada = AdaptiveProbability(config.augment_probability, config.ada_target, ramp)

        self.batches = FinetuneBatches(config, pictures, self.target, self.shares, r1_gamma)
        self.steps_done = 0
        draw_source = source.generator.synthesis
        self._preview = FinetunePreview(draw_source, self._faces(PREVIEW_FACES, 1), pictures, config.precision)
        self.snapshots = Snapshots(
            {"average": self.average.synthesis, "discriminator": self.discriminator},
            draw_source,
            source.discriminator,
            self._faces(FACES, 3),
            pictures if validation is None else validation,
            config,
            processes,
        )
        if config.match_palette:
            match_palette(networks, self._faces(PALETTE_FACES, 2), pictures, config.precision)

    def step(self, step: int) -> dict[str, float]:
        """One update of G_t, D and the average. Nothing but the random generator has moved when it raises."""
        config, processes = self.config, self.processes
        batch = self.batches.draw(step, self.ada.probability)
        self.steps_done = step
        scale = self.loss_scale
        while True:
            found, real_logits = self.compute(batch)
            # Averaged, so that every process sees the same numbers and comes to the same decision.
            terms = processes.reduce_losses(found.terms)
            g_gradients, d_gradients = (processes.all_reduce_mean(g) for g in (found.g_gradients, found.d_gradients))
            path_gradients, r1_gradients = (self._averaged(g) for g in (found.path_gradients, found.r1_gradients))
            try:
                # Everything is known and finite before anything changes.
                norms = gradient_norms(g_gradients, "generator") | gradient_norms(d_gradients, "discriminator")
                lazy = gradient_norms(r1_gradients, "R1 penalty")
                lazy |= gradient_norms(path_gradients, "path-length penalty")
                numbers = require_finite(terms | norms | lazy)
                break
            except NonFiniteLoss as error:
                # In fp16 a gradient may only have been too large for the format: the same step, scaled down.
                if error.term not in SCALED or self.loss_scale <= 1.0:
                    self.loss_scale = scale
                    raise
                self.loss_scale /= 4.0
        apply_gradients(self.generator_optimiser, self.generator_parameters, g_gradients)
        apply_gradients(self.generator_optimiser, self.generator_parameters, path_gradients)
        apply_gradients(self.discriminator_optimiser, self.discriminator_parameters, d_gradients)
        apply_gradients(self.discriminator_optimiser, self.discriminator_parameters, r1_gradients)
        self.running = found.running
        self.ema.update()
        if config.augment == "ada":
            self.ada.update(processes.gather(real_logits))
        reported = {name: numbers[name] for name in self.terms if name in numbers}
        reported |= {"semantic_weight": batch.weight, "augment_probability": batch.probability}
        if config.score_interval and (step % config.score_interval == 0 or step == config.steps):
            score = self.snapshots.measure(step)
            reported |= {"style_distance": score.style_distance, "structure_distance": score.structure_distance}
        return reported

    def compute(self, batch: FinetuneBatch) -> tuple[FinetuneGradients, Tensor]:
        """The mean over this process's parts of the batch, and D's logits on its real pictures."""
        first = self.processes.rank * self.config.accumulate
        parts, logits = [], []
        for index in range(first, first + self.config.accumulate):
            share = shard_batch(batch, index, self.shares)
            part, real_logits = self.losses(share, self.running, self.loss_scale)
            parts.append(part)
            logits.append(real_logits)
        return mean_of(parts), torch.cat(logits)

    @property
    def scores(self) -> ScoreHistory:
        """What was measured so far."""
        return self.snapshots.scores

    @property
    def finished(self) -> bool:
        """Whether the training is to end before its last step, for want of anything better."""
        return self.scores.out_of_patience

    @property
    def chosen_step(self) -> int:
        """The step whose weights `result` gives."""
        return self.snapshots.chosen_step(self.steps_done)

    def measure_the_end(self) -> None:
        """Lets the weights as they are now compete for the best, too."""
        self.snapshots.measure_the_end(self.steps_done)

    def result(self) -> FaceGenerator:
        """The averaged generator, as it is now or as it was best, with its discriminator, style name and provenance."""
        generator, discriminator = copy.deepcopy(self.average), copy.deepcopy(self.discriminator)
        self.snapshots.restore_chosen(generator.synthesis, discriminator)
        discriminator.checkpointing = False
        provenance = {
            **self.source.provenance,
            "training": "fine-tuned with the semantic preservation constraint",
            "base_style": self.source.style,
            "base_w_space": self.source.w_space,
            "style_pictures": str(self.pictures.shape[0]),
            "settings": json.dumps(to_mapping(self.config), sort_keys=True),
        }
        return self.source.replace(
            generator=generator.eval().requires_grad_(False),
            discriminator=discriminator.eval().requires_grad_(False),
            style=self.config.style_name,
            provenance=provenance,
        )

    def preview(self) -> Tensor:
        """A grid `[3, 4R, 5R]` in 0..1 of the same faces; rows: source, now, what `result` would give, nearest style
        picture."""
        return self._preview(self.target.synthesis, self.snapshots.chosen())

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes while training."""
        return {
            "target": self.target.synthesis.state_dict(),
            "average": self.average.synthesis.state_dict(),
            "average_updates": self.ema.updates,
            "discriminator": self.discriminator.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "ada": self.ada.state_dict(),
            "mean_path_length": self.running.mean_path_length,
            "textures": self.running.textures,
            "loss_scale": self.loss_scale,
            "steps_done": self.steps_done,
            **self.batches.state_dict(),
            **self.snapshots.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from what `state_dict` gave."""
        self.target.synthesis.load_state_dict(state["target"])
        self.average.synthesis.load_state_dict(state["average"])
        self.ema.updates = state["average_updates"]
        self.discriminator.load_state_dict(state["discriminator"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.ada.load_state_dict(state["ada"])
        textures = [texture.to(self.device) for texture in state["textures"]]
        self.running = RunningStatistics(state["mean_path_length"].to(self.device), textures)
        self.loss_scale = state["loss_scale"]
        self.steps_done = state["steps_done"]
        self.batches.load_state_dict(state)
        self.snapshots.load_state_dict(state)

    def _averaged(self, gradients: Sequence[Tensor] | None) -> list[Tensor] | None:
        return None if gradients is None else self.processes.all_reduce_mean(gradients)

    def _faces(self, count: int, purpose: int) -> Tensor:
        """`w_plus [count, num_ws, w_dim]` of faces that are the same in every run with this seed, for one purpose."""
        return self.batches.latents(count, torch.Generator().manual_seed(self.config.seed + purpose), mix=False)

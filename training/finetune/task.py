"""One fine-tuning as a `loop.Task`: its networks, their optimisers, its state, and the order of one iteration."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.settings import to_mapping
from ...models.types import FaceGenerator, device_of
from ..data.augment import AdaptiveProbability
from ..guides.protocol import Guide, column
from ..kit.distributed import shard_batch
from ..kit.ema import ExponentialMovingAverage
from ..kit.optimiser import lazy_adam
from ..kit.settings import AUTOMATIC
from ..kit.state import Attributes, State
from ..kit.step import NonFiniteLoss, Step, Update
from ..losses.adversarial import r1_gamma_heuristic
from ..losses.semantic import FEW_SHOTS, SemanticWeights
from ..reports.scoring import FACES
from .batches import FinetuneBatch, FinetuneBatches
from .networks import copy_networks, match_palette
from .preview import PREVIEW_FACES, FinetunePreview
from .settings import FinetuneConfig
from .snapshots import Snapshots
from .step import FinetuneGradients, FinetuneLosses, RunningStatistics, mean_of

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
        validation: Tensor | None = None,
        shards: int = 1,
    ) -> None:
        """`pictures [N, 3, R, R]` as `prepare_style_images` gives them; `validation` more of them, not trained on; each
        batch is divided into so many `shards`."""
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
        self.losses = FinetuneLosses(networks, config, weights, guides, r1_gamma)
        self.running = RunningStatistics(torch.zeros((), device=self.device))
        self.generator_optimiser = lazy_adam(
            self.generator_parameters, config.learning_rate, config.path_length_interval, config.path_length_weight > 0
        )
        self.discriminator_optimiser = lazy_adam(
            self.discriminator_parameters, config.discriminator_learning_rate, config.r1_interval, r1_gamma > 0
        )
        ramp = config.ada_ramp * config.steps * config.batch_size
        self.ada = AdaptiveProbability(config.augment_probability, config.ada_target, ramp)

        self.batches = FinetuneBatches(config, pictures, self.target, shards * config.accumulate, r1_gamma)
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
        )
        self.state = State(
            target=self.target.synthesis,
            ema=self.ema,
            discriminator=self.discriminator,
            generator_optimiser=self.generator_optimiser,
            discriminator_optimiser=self.discriminator_optimiser,
            ada=Attributes(self.ada, "probability", "sign_sum", "pictures", "batches"),
            batches=self.batches.state,
            snapshots=self.snapshots.state,
            running=Attributes(self.running, "mean_path_length", "textures", device=self.device),
            progress=Attributes(self, "loss_scale", "steps_done"),
        )
        if config.match_palette:
            match_palette(networks, self._faces(PALETTE_FACES, 2), pictures, config.precision)

    def step(self, at: Step) -> dict[str, float]:
        """One update of G_t, D and the average. Nothing but the random generator has moved when it raises."""
        config, step = self.config, at.number
        batch = self.batches.draw(step, self.ada.probability)
        self.steps_done = step
        scale = self.loss_scale
        generator = self.generator_optimiser, self.generator_parameters
        discriminator = self.discriminator_optimiser, self.discriminator_parameters
        while True:
            found, real_logits = self.compute(batch, at)
            updates = [
                Update(name, optimiser, parameters, gradients)
                for name, optimiser, parameters, gradients in (
                    ("generator", *generator, found.g_gradients),
                    ("discriminator", *discriminator, found.d_gradients),
                    ("R1 penalty", *discriminator, found.r1_gradients),
                    ("path-length penalty", *generator, found.path_gradients),
                )
                if gradients is not None
            ]
            try:
                numbers = at.apply(found.terms, *updates)
                break
            except NonFiniteLoss as error:
                # In fp16 a gradient may only have been too large for the format: the same step, scaled down.
                if error.term not in SCALED or self.loss_scale <= 1.0:
                    self.loss_scale = scale
                    raise
                self.loss_scale /= 4.0
        vars(self.running).update(vars(found.running))
        self.ema.update()
        if config.augment == "ada":
            self.ada.update(at.gather(real_logits))
        reported = {name: numbers[name] for name in self.terms if name in numbers}
        reported |= {"semantic_weight": batch.weight, "augment_probability": batch.probability}
        if config.score_interval and (step % config.score_interval == 0 or step == config.steps):
            score = self.snapshots.measure(step, at.once)
            reported |= {"style_distance": score.style_distance, "structure_distance": score.structure_distance}
        return reported

    def compute(self, batch: FinetuneBatch, at: Step) -> tuple[FinetuneGradients, Tensor]:
        """The mean over this shard's parts of the batch, and D's logits on its real pictures."""
        count = self.config.accumulate
        parts, logits = [], []
        for index in range(at.rank * count, (at.rank + 1) * count):
            shard = shard_batch(batch, index, at.shards * count)
            part, real_logits = self.losses(shard, self.running, self.loss_scale, at.mean)
            parts.append(part)
            logits.append(real_logits)
        return mean_of(parts), torch.cat(logits)

    @property
    def finished(self) -> bool:
        """Whether the training is to end before its last step, for want of anything better."""
        return self.snapshots.scores.out_of_patience

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

    def _faces(self, count: int, purpose: int) -> Tensor:
        """`w_plus [count, num_ws, w_dim]` of faces that are the same in every run with this seed, for one purpose."""
        return self.batches.latents(count, torch.Generator().manual_seed(self.config.seed + purpose), mix=False)

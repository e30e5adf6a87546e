"""Stage 1: few-shot adversarial fine-tuning of a face generator with the semantic preservation constraint.

The generator G_t and the discriminator D start as copies of the source's; the mapping network stays frozen, so W is
shared and a face found in the source is drawn by the style (AgileGAN, Song et al. 2021). One iteration minimises

    L_G = softplus(-D(aug(G_t(w)))) + weight * schedule * L_sem(G_t, G_s; w)          see `semantic`
    L_D = softplus(D(aug(G_t(w)))) + softplus(-D(aug(style))) + gamma / 2 * R1        R1 lazily, in fp32

and does no work twice: the generated batch serves both networks, its one pass through D gives both losses, the features
of L_sem come from the same pass as the pictures, and the source is evaluated only as deep as L_sem looks.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.sampling import device_of
from ..models.types import FaceGenerator
from .augment import AdaptiveProbability, apply_augmentation, apply_diffaugment, draw_augmentation, flip
from .card import make_card, save_card
from .config import AUTOMATIC, FinetuneConfig, to_mapping
from .distributed import ALONE, Processes, check_batch, share_of_fields
from .ema import ExponentialMovingAverage
from .freezing import frozen_parts, frozen_weights, shallow_synthesis
from .gradients import apply_gradients, lazy_adam
from .guides.protocol import Guide, check_guides, column
from .loop import Callbacks, NonFiniteLoss, require_finite, train
from .losses import (
    discriminator_loss,
    generator_loss,
    path_length_penalty,
    r1_gamma_heuristic,
    r1_penalty,
    running_statistics,
    second_moments,
    texture_distance,
)
from .palette import colour_map, projections, recolour
from .scoring import FACES, Draw, Score, Scorer, Scores
from .semantic import FEW_SHOTS, HIGHEST_RESOLUTION, SemanticProbe, SemanticWeights, schedule, semantic_terms
from .tensorboard import event_files

PREVIEW_FACES = 5
PALETTE_FACES = 64
FIRST_LOSS_SCALE = 4096.0
"""What losses are multiplied with in fp16, so that small gradients are not rounded to nothing."""
SCALED = ("gradient of the generator", "gradient of the discriminator")
"""What a smaller loss scale can bring back into the format's range."""
TEXTURE_MEMORY = 0.9
"""How much of the style pictures' running texture statistics a step keeps."""
SETTINGS_FREE_TO_CHANGE = ("style_name", "preview_interval", "snapshot_interval", "checkpointing", "tensorboard")
"""What may differ when a run is resumed."""
LATER_SETTINGS = (
    "accumulate", "freeze_g_blocks", "train_layers", "validation", "score_interval", "keep_snapshot", "patience",
    "structure_limit",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What fine-tuning gives."""

    generator: FaceGenerator
    """The averaged generator with the discriminator as it ended, on the source's device."""
    history: list[dict[str, float]]
    """A row of numbers per step: `step`, the losses, the augmentation probability."""
    steps: int = 0
    """Steps done, less than asked for where the run was ended early."""
    finished: bool = True
    """Whether nothing is left to do: all steps are done, or `patience` has run out."""
    chosen_step: int = 0
    """The step whose weights these are."""
    scores: tuple[Score, ...] = ()
    """What was measured on the way."""
    held_out: tuple[int, ...] = ()
    """Numbers of the style pictures that `validation` held back from training."""


def finetune(
    source: FaceGenerator,
    style_images: Tensor,
    config: FinetuneConfig | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    probe: SemanticProbe | None = None,
    guides: Sequence[Guide] = (),
    processes: Processes = ALONE,
    validation_images: Tensor | None = None,
) -> FinetuneResult:
    """Fine-tunes `source` to the style of `style_images`; the source is left as it is.

    source        a generator with its discriminator.
    style_images  `[N, 3, S, S]` in -1..1, aligned faces, 10-300 of them; resized to the generator's resolution.
    config        settings; the defaults suit 100-300 pictures.
    callbacks     progress, previews (rows: source, now, averaged, nearest style picture), a question whether to stop.
                  Their exceptions propagate after the state has been saved.
    run_dir       folder for state, losses and previews; with `resume` a run there is continued exactly.
    probe         reader of face parts for `keep_labels`, see `semantic.fit_probe`.
    guides        further pulls on the generator, read off its pictures: see `guides.protocol`.
    processes     where several train together, see `distributed`; all are given the same of everything else.
    validation_images  `[M, 3, S, S]` in -1..1, pictures of the style that are not trained on, to measure with; without
                  any, the share `validation` of the style pictures.

    Works under `torch.inference_mode()`. Raises ValueError with a sentence for pictures or a source that cannot be
    used, `loop.TrainingDiverged` when the losses stay NaN or infinite.
    """
    config = config or FinetuneConfig()
    check_source(source)
    if probe is None and config.keep_labels > 0.0 and config.semantic_weight > 0.0:
        raise ValueError("`keep_labels` is above 0 but no probe was given; fit one, or set `keep_labels` to 0.")
    check_guides(guides)
    with torch.inference_mode(False), torch.enable_grad():
        pictures = prepare_style_images(style_images, source)
        validation: Tensor | None = None
        held_out: list[int] = []
        if validation_images is not None and len(validation_images):
            validation = prepare_style_images(validation_images, source)
        elif config.validation:
            kept, held_out = split_pictures(pictures, config.validation)
            pictures, validation = pictures[kept], pictures[held_out]
        task = FinetuneTask(source, pictures, config, probe, guides, processes, validation)
        with contextlib.ExitStack() as stack:
            if config.tensorboard and run_dir is not None and processes.first:
                callbacks = stack.enter_context(event_files(callbacks or Callbacks(), run_dir))
            history = train(
                task,
                config.steps,
                callbacks,
                run_dir,
                resume,
                settings=_settings_that_must_match(config, source, pictures, guides, validation),
                snapshot_interval=config.snapshot_interval,
                preview_interval=config.preview_interval,
                processes=processes,
            )
        # Ended early between two measurements, the style as it is now competes too. The run's state is kept already
        # and knows nothing of it, so a resumed run goes on as if it had not been.
        task.measure_the_end()
        card = make_card(
            config.style_name,
            to_mapping(config),
            history,
            task.scores.all,
            pictures=len(pictures),
            held_out=0 if validation is None else len(validation),
            source=source.style,
            resolution=source.resolution,
            steps=task.steps_done,
            chosen_step=task.chosen_step,
        )
        if run_dir is not None and processes.first:
            save_card(run_dir, card, task.preview(), history, FinetuneConfig)
        style = task.result()
        return FinetuneResult(
            style.replace(provenance={**style.provenance, "card": card.to_json()}),
            history,
            task.steps_done,
            finished=task.steps_done >= config.steps or task.finished,
            chosen_step=task.chosen_step,
            scores=tuple(task.scores.all),
            held_out=tuple(held_out),
        )


def check_source(source: FaceGenerator) -> None:
    """Raises ValueError with a sentence when a generator cannot be fine-tuned."""
    if source.discriminator is None:
        raise ValueError(
            "This generator comes without its discriminator, and a new one cannot learn from so few pictures. Load a "
            "checkpoint that holds both (a training checkpoint, not one saved for use), or start from the embedded one."
        )
    if source.discriminator.config.resolution != source.resolution:
        raise ValueError(
            f"The generator makes pictures of {source.resolution} px but its discriminator reads "
            f"{source.discriminator.config.resolution} px; load the two that were trained together."
        )
    if source.generator.config.c_dim or source.discriminator.config.c_dim:
        raise ValueError("This generator is conditional (it takes a class); only unconditional ones can be fine-tuned.")


def prepare_style_images(style_images: Tensor, source: FaceGenerator) -> Tensor:
    """`[N, 3, R, R]` float32, on the source's device at its resolution; ValueError when the pictures do not fit."""
    if style_images.ndim != 4 or style_images.shape[1] != 3 or style_images.shape[2] != style_images.shape[3]:
        raise ValueError(
            f"The style pictures have shape {tuple(style_images.shape)}; square RGB pictures [N, 3, S, S] are needed."
        )
    if style_images.shape[0] == 0:
        raise ValueError("There are no style pictures. Give at least one, better 10 to 300.")
    pictures = style_images.detach().to(device_of(source), torch.float32).clone()
    if not torch.isfinite(pictures).all():
        raise ValueError("The style pictures hold values that are not finite numbers; load them again.")
    if pictures.shape[2] != source.resolution:
        size = (source.resolution, source.resolution)
        pictures = F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False)
    return pictures.clamp(-1.0, 1.0)


def split_pictures(pictures: Tensor, share: float) -> tuple[list[int], list[int]]:
    """(numbers to train on, numbers held back), the latter about this share of all and at least one.

    Which are held back depends on the pictures alone, not on their order. ValueError where none would be left.
    """
    if len(pictures) < 2:
        raise ValueError("`validation` holds pictures back, but there is only one. Give more, or set it to 0.")
    count = min(max(round(len(pictures) * share), 1), len(pictures) - 1)
    order = sorted(range(len(pictures)), key=lambda index: digest([pictures[index]]))
    held_back = sorted(order[:count])
    return sorted(order[count:]), held_back


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: as told, or for "auto" where the device does so natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()
    return False


@dataclass(frozen=True, eq=False)
class _Batch:
    """What one step works on, with everything random about it."""

    w_plus: Tensor
    reals: Tensor
    augmented_reals: Tensor
    augmented_fakes: Tensor
    path_w: Tensor | None
    path_direction: Tensor | None
    weight: float
    """Of the semantic constraint, by schedule."""
    probability: float
    lazy_r1: bool


@dataclass(frozen=True, eq=False)
class _Found:
    """Losses and gradients of one part of a batch."""

    terms: dict[str, Tensor]
    g_gradients: Sequence[Tensor]
    d_gradients: Sequence[Tensor]
    r1_gradients: Sequence[Tensor] | None
    path_gradients: Sequence[Tensor] | None
    mean_path_length: Tensor
    textures: list[Tensor]


def _mean_of(parts: Sequence[_Found]) -> _Found:
    """The mean of equal parts; one alone as it is."""
    if len(parts) == 1:
        return parts[0]

    def mean(lists: Sequence[Sequence[Tensor] | None]) -> list[Tensor] | None:
        present = [found for found in lists if found is not None]
        return [torch.stack(same).mean(0) for same in zip(*present, strict=True)] if present else None

    names = list(parts[0].terms)
    terms = {name: torch.stack([part.terms[name].detach() for part in parts]).mean(0) for name in names}
    return _Found(
        terms,
        mean([part.g_gradients for part in parts]) or [],
        mean([part.d_gradients for part in parts]) or [],
        mean([part.r1_gradients for part in parts]),
        mean([part.path_gradients for part in parts]),
        torch.stack([part.mean_path_length for part in parts]).mean(0),
        mean([part.textures for part in parts]) or [],
    )


class FinetuneTask:
    """One fine-tuning: the networks, their optimisers, and one iteration (`step`). Driven by `loop.train`."""

    terms: tuple[str, ...] = (
        "generator", "discriminator", "feature", "self", "relation", "probe", "texture", "r1", "path_length",
        "semantic_weight", "augment_probability", "style_distance", "structure_distance",
    )  # fmt: skip

    def __init__(
        self,
        source: FaceGenerator,
        pictures: Tensor,
        config: FinetuneConfig,
        probe: SemanticProbe | None = None,
        guides: Sequence[Guide] = (),
        processes: Processes = ALONE,
        validation: Tensor | None = None,
    ) -> None:
        """`pictures [N, 3, R, R]` as `prepare_style_images` gives them; `validation` more of them, not trained on."""
        self.processes = processes
        self.shares = processes.count * config.accumulate
        check_batch(config.batch_size, self.shares, f"{processes.count} processes x {config.accumulate} parts")
        assert source.discriminator is not None  # noqa: S101 - check_source has been there
        self.source, self.pictures, self.config, self.probe = source, pictures, config, probe
        self.guides = tuple(guide for guide in guides if guide.weight > 0.0)
        self.terms = (*self.terms, *map(column, self.guides))
        self.device = device_of(source)
        self.bf16 = use_bf16(config.precision, self.device)
        self.loss_scale = FIRST_LOSS_SCALE if config.precision == "fp16" else 1.0

        # Copies, also because weights loaded under inference mode cannot be trained.
        self.target = copy.deepcopy(source.generator).requires_grad_(False).train()
        self.target.synthesis.requires_grad_(True)
        # The noise is fixed, so a strength that grew would print one pattern of grain into every picture.
        for convolution in self.target.synthesis.convolutions():
            convolution.noise_strength.requires_grad_(False)
        for frozen in frozen_weights(self.target.synthesis, config.freeze_g_blocks, config.train_layers):
            frozen.requires_grad_(False)
        if config.freeze_palette:
            for to_rgb in projections(self.target.synthesis):
                to_rgb.weight.requires_grad_(False)
                to_rgb.bias.requires_grad_(False)
        self.average = copy.deepcopy(source.generator).requires_grad_(False).eval()
        self.source_head = shallow_synthesis(source.generator.synthesis, HIGHEST_RESOLUTION)
        self.discriminator = copy.deepcopy(source.discriminator).requires_grad_(True).train()
        for part in frozen_parts(self.discriminator, config.freeze_d_blocks):
            part.requires_grad_(False)
        self.target.synthesis.checkpointing = self.discriminator.checkpointing = config.checkpointing
        self.ema = ExponentialMovingAverage(self.target.synthesis, self.average.synthesis, config.ema_decay)

        few = pictures.shape[0] <= FEW_SHOTS
        self.weights = SemanticWeights(
            config.keep_shape, config.keep_structure, config.keep_relations if few else 0.0, config.keep_labels
        )
        automatic = r1_gamma_heuristic(source.resolution, config.batch_size)
        self.r1_gamma = automatic if config.r1_gamma == AUTOMATIC else config.r1_gamma
        self.generator_parameters = [p for p in self.target.parameters() if p.requires_grad]
        self.discriminator_parameters = [p for p in self.discriminator.parameters() if p.requires_grad]
        self.generator_optimiser = lazy_adam(
            self.generator_parameters, config.learning_rate, config.path_length_interval, config.path_length_weight > 0
        )
        self.discriminator_optimiser = lazy_adam(
            self.discriminator_parameters, config.discriminator_learning_rate, config.r1_interval, self.r1_gamma > 0
        )
        ramp = config.ada_ramp * config.steps * config.batch_size
        self.ada = AdaptiveProbability(config.augment_probability, config.ada_target, ramp)
        self.mean_path_length = torch.zeros((), device=self.device)
        self.textures: list[Tensor] = []

        # All randomness is drawn on the CPU, so that a seed means the same on every device.
        self.random = torch.Generator().manual_seed(config.seed)
        self.order = torch.randperm(pictures.shape[0], generator=self.random)
        self.position = 0
        self.steps_done = 0
        self._preview_w = self._latents(PREVIEW_FACES, torch.Generator().manual_seed(config.seed + 1), mix=False)
        self._preview_source: Tensor | None = None
        self.scores = Scores(config.structure_limit, config.patience)
        self.best_weights: dict[str, dict[str, Tensor]] | None = None
        self._scorer: Scorer | None = None
        self._score_with = pictures if validation is None else validation
        if config.match_palette:
            self._match_palette()

    def step(self, step: int) -> dict[str, float]:
        """One update of G_t, D and the average. Nothing but the random generator has moved when it raises."""
        config = self.config
        drawn = self._draw_batch(step)
        self.steps_done = step
        scale = self.loss_scale
        while True:
            found, real_logits = self._compute(drawn)
            # Averaged, so that every process sees the same numbers and comes to the same decision.
            terms = self.processes.mean_of_terms(found.terms)
            g_gradients, d_gradients = (self.processes.mean(g) for g in (found.g_gradients, found.d_gradients))
            path_gradients, r1_gradients = (self._averaged(g) for g in (found.path_gradients, found.r1_gradients))
            try:
                # Everything is known and finite before anything changes.
                norms = _norms(g_gradients, "generator") | _norms(d_gradients, "discriminator")
                lazy = _norms(r1_gradients, "R1 penalty") | _norms(path_gradients, "path-length penalty")
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
        self.mean_path_length = found.mean_path_length
        self.textures = found.textures
        self.ema.update()
        if config.augment == "ada":
            self.ada.update(self.processes.gather(real_logits))
        reported = {name: numbers[name] for name in self.terms if name in numbers}
        reported |= {"semantic_weight": drawn.weight, "augment_probability": drawn.probability}
        if config.score_interval and (step % config.score_interval == 0 or step == config.steps):
            score = self._measure()
            reported |= {"style_distance": score.style_distance, "structure_distance": score.structure_distance}
        return reported

    @property
    def finished(self) -> bool:
        """Whether the training is to end before its last step, for want of anything better."""
        return self.scores.out_of_patience

    @property
    def chosen_step(self) -> int:
        """The step whose weights `result` gives."""
        chosen = self.scores.best if self.config.keep_snapshot == "best" else None
        return self.steps_done if chosen is None else chosen.step

    def measure_the_end(self) -> None:
        """Measures the weights as they are now where that would decide which are kept and has not been done."""
        measured = self.scores.all[-1].step if self.scores.all else 0
        if self.config.keep_snapshot == "best" and measured < self.steps_done:
            self._measure()

    def _measure(self) -> Score:
        """Scores the averaged weights, and keeps a copy of them where they are the best so far.

        The first process measures and tells the others, so that all come to the same decision.
        """
        found = None
        if self.processes.first:
            if self._scorer is None:
                random = torch.Generator().manual_seed(self.config.seed + 3)
                critic = self.source.discriminator
                assert critic is not None  # noqa: S101 - check_source has been there
                faces = self._latents(FACES, random, mix=False)
                self._scorer = Scorer(self.source.generator.synthesis, critic, faces, self._score_with)
            found = self._scorer(self.average.synthesis)
        score = Score(self.steps_done, *self.processes.broadcast(found))
        if self.scores.add(score) and self.config.keep_snapshot == "best":
            self.best_weights = {
                name: {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
                for name, network in (("average", self.average.synthesis), ("discriminator", self.discriminator))
            }
        return score

    def _kept(self) -> Draw:
        """How the generator draws that `result` would give now."""
        if self.best_weights is None:
            synthesis: Draw = self.average.synthesis
            return synthesis
        weights = {name: value.to(self.device) for name, value in self.best_weights["average"].items()}
        return lambda w_plus: torch.func.functional_call(self.average.synthesis, weights, (w_plus,))

    def _draw_batch(self, step: int) -> _Batch:
        """All random choices of one step, for the whole batch: the same in every process."""
        config = self.config
        w_plus = self._latents(config.batch_size, self.random, mix=True)
        reals = self._next_styles(config.batch_size)
        augmented_reals, augmented_fakes = (draw_augmentation(config.batch_size, self.random) for _ in range(2))
        path_w = path_direction = None
        if config.path_length_weight > 0 and step % config.path_length_interval == 0:
            half = max(config.batch_size // 2, 1)
            half += -half % self.shares
            path_w = self._latents(half, self.random, mix=True)
            size = self.source.resolution
            path_direction = torch.randn(half, 3, size, size, generator=self.random)
        return _Batch(
            w_plus, reals, augmented_reals, augmented_fakes, path_w, path_direction,
            weight=config.semantic_weight * schedule(config.semantic_schedule, (step - 1) / config.steps),
            probability={"off": 0.0, "diffaugment": 1.0}.get(config.augment, self.ada.probability),
            lazy_r1=self.r1_gamma > 0 and step % config.r1_interval == 0,
        )  # fmt: skip

    def _compute(self, batch: _Batch) -> tuple[_Found, Tensor]:
        """The mean over this process's parts of the batch, and D's logits on its real pictures."""
        first = self.processes.rank * self.config.accumulate
        parts, logits = [], []
        for index in range(first, first + self.config.accumulate):
            part, real_logits = self._compute_part(share_of_fields(batch, index, self.shares))
            parts.append(part)
            logits.append(real_logits)
        return _mean_of(parts), torch.cat(logits)

    def _compute_part(self, batch: _Batch) -> tuple[_Found, Tensor]:
        """Losses and gradients on one part of the batch; changes nothing."""
        config, w_plus, weight = self.config, batch.w_plus, batch.weight
        reals = self._augment(batch.reals, batch.augmented_reals, batch.probability)

        # The one pass through G_t, and L_sem on its features.
        with self._autocast():
            fakes, features = self.target.synthesis(w_plus, return_features=True)
        terms: dict[str, Tensor] = {}
        semantic: Tensor | None = None
        if weight > 0.0:
            with torch.no_grad(), self._autocast():
                _, source_features = self.source_head(w_plus[:, : self.source_head.num_ws], return_features=True)
            semantic, terms = semantic_terms(features, source_features, self.weights, self.probe)

        # The one pass of the fakes through D: `cut` is where G_t's graph ends and D's begins.
        cut = fakes.detach().requires_grad_()
        seen = self._augment(cut, batch.augmented_fakes, batch.probability)
        r1_gradients: tuple[Tensor, ...] | None = None
        if batch.lazy_r1:
            # Its own update, before the graph of the ordinary one is built: the two are never in memory together.
            terms["r1"], _ = r1_penalty(self.discriminator, reals)
            scale = 0.5 * self.r1_gamma * config.r1_interval
            r1_gradients = torch.autograd.grad(
                scale * terms["r1"], self.discriminator_parameters, allow_unused=True, materialize_grads=True
            )
        with self._autocast():
            fake_logits, fake_features = self.discriminator(seen, return_features=True)
            real_logits, real_features = self.discriminator(reals, return_features=True)
        terms["generator"] = generator_loss(fake_logits)
        terms["discriminator"] = discriminator_loss(fake_logits, real_logits)
        pull = terms["generator"]
        textures = self.textures
        if config.match_texture > 0.0:
            moments = self.processes.mean(second_moments(real_features))
            textures = running_statistics(textures, moments, TEXTURE_MEMORY)
            terms["texture"] = texture_distance(second_moments(fake_features), textures)
            pull = pull + config.match_texture * terms["texture"]
        for guide, value in self._guidance(cut, w_plus):
            terms[column(guide)] = value
            pull = pull + guide.weight * value
        (image_gradient,) = torch.autograd.grad(self.loss_scale * pull, cut, retain_graph=True)
        d_gradients = torch.autograd.grad(self.loss_scale * terms["discriminator"], self.discriminator_parameters)

        # On through G_t, both losses at once.
        if semantic is None:
            g_gradients = torch.autograd.grad(fakes, self.generator_parameters, image_gradient)
        else:
            g_gradients = torch.autograd.grad(
                [fakes, self.loss_scale * weight * semantic],
                self.generator_parameters,
                [image_gradient, torch.ones_like(semantic)],
            )
        if self.loss_scale != 1.0:
            g_gradients, d_gradients = (tuple(g / self.loss_scale for g in p) for p in (g_gradients, d_gradients))
        path_gradients: tuple[Tensor, ...] | None = None
        mean_path_length = self.mean_path_length
        if batch.path_w is not None:
            terms["path_length"], mean_path_length, path_gradients = self._path_length(batch)
        found = _Found(terms, g_gradients, d_gradients, r1_gradients, path_gradients, mean_path_length, textures)
        return found, real_logits.detach()

    def _augment(self, images: Tensor, drawn: Tensor, probability: float) -> Tensor:
        if self.config.augment == "diffaugment":
            return apply_diffaugment(images, drawn)
        return apply_augmentation(images, drawn, probability)

    def _averaged(self, gradients: Sequence[Tensor] | None) -> list[Tensor] | None:
        return None if gradients is None else self.processes.mean(gradients)

    def _guidance(self, made: Tensor, w_plus: Tensor) -> list[tuple[Guide, Tensor]]:
        """What each guide says of the faces `made [N, 3, R, R]`, compared with the source's of the same `w_plus`."""
        if not self.guides:
            return []
        with torch.no_grad(), self._autocast():
            source = self.source.generator.synthesis(w_plus)
        return [(guide, guide(made.float(), source.float())) for guide in self.guides]

    def result(self) -> FaceGenerator:
        """The averaged generator, as it is now or as it was best, with its discriminator, style name and provenance."""
        generator, discriminator = copy.deepcopy(self.average), copy.deepcopy(self.discriminator)
        if self.best_weights is not None:
            generator.synthesis.load_state_dict(self.best_weights["average"])
            discriminator.load_state_dict(self.best_weights["discriminator"])
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
            mean_latent=self.source.mean_latent.detach().to(self.device).clone(),
            style=self.config.style_name,
            provenance=provenance,
        )

    @torch.no_grad()
    def preview(self) -> Tensor:
        """A grid `[3, 4R, 5R]` in 0..1 of the same faces; rows: source, now, what `result` would give, nearest style
        picture."""
        if self._preview_source is None:
            self._preview_source = self._draw(self.source.generator.synthesis)
        kept = self._draw(self._kept())
        rows = [self._preview_source, self._draw(self.target.synthesis), kept, self._nearest_styles(kept)]
        grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
        return (grid.float().clamp(-1.0, 1.0) + 1.0) / 2.0

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
            "mean_path_length": self.mean_path_length,
            "textures": self.textures,
            "loss_scale": self.loss_scale,
            "random": self.random.get_state(),
            "order": self.order,
            "position": self.position,
            "steps_done": self.steps_done,
            "scores": self.scores.state_dict(),
            "best_weights": self.best_weights,
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
        self.mean_path_length = state["mean_path_length"].to(self.device)
        self.textures = [texture.to(self.device) for texture in state["textures"]]
        self.loss_scale = state.get("loss_scale", self.loss_scale)
        self.random.set_state(state["random"])
        self.order, self.position = state["order"], state["position"]
        self.steps_done = state.get("steps_done", 0)
        self.scores.load_state_dict(state.get("scores", []))
        self.best_weights = state.get("best_weights")

    @torch.no_grad()
    def _match_palette(self) -> None:
        """Moves the colours of G_t to those of the style pictures; features, and with them L_sem, stay as they are."""
        w_plus = self._latents(PALETTE_FACES, torch.Generator().manual_seed(self.config.seed + 2), mix=False)
        drawn = []
        for part in w_plus.split(4):
            with self._autocast():
                drawn.append(F.adaptive_avg_pool2d(self.source.generator.synthesis(part).float().clamp(-1, 1), 64))
        matrix, offset = colour_map(torch.cat(drawn), F.adaptive_avg_pool2d(self.pictures, 64))
        for synthesis in (self.target.synthesis, self.average.synthesis):
            recolour(synthesis, matrix, offset)

    def _autocast(self) -> torch.autocast:
        half = self.config.precision == "fp16"
        dtype = torch.float16 if half else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=half or self.bf16)

    @torch.no_grad()
    def _latents(self, count: int, random: torch.Generator, mix: bool) -> Tensor:
        """`w_plus [count, num_ws, w_dim]` of fresh z; with `mix`, later layers of most faces come from a second z."""
        num_ws = self.target.num_ws
        z = torch.randn(2 if mix else 1, count, self.target.config.z_dim, generator=random).to(self.device)
        first = self.target.mapping(z[0])[:, None].expand(-1, num_ws, -1)
        if not mix:
            return first
        crossover = torch.randint(1, num_ws, (count, 1), generator=random)
        mixed = torch.rand(count, 1, generator=random) < self.config.style_mixing_prob
        from_second = (mixed & (torch.arange(num_ws) >= crossover)).to(self.device)
        return torch.where(from_second[:, :, None], self.target.mapping(z[1])[:, None], first)

    def _next_styles(self, count: int) -> Tensor:
        """The next `count` style pictures of an endless shuffled order, mirrored half of the time if allowed."""
        chosen: list[Tensor] = []
        while count > 0:
            if self.position >= len(self.order):
                self.order = torch.randperm(self.pictures.shape[0], generator=self.random)
                self.position = 0
            part = self.order[self.position : self.position + count]
            chosen.append(part)
            self.position += len(part)
            count -= len(part)
        pictures = self.pictures[torch.cat(chosen).to(self.device)]
        return flip(pictures, self.random) if self.config.flip_styles else pictures

    def _path_length(self, batch: _Batch) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The penalty, its new running mean and its gradients, on half a batch, in fp32."""
        config = self.config
        assert batch.path_w is not None  # noqa: S101 - for mypy: asked by the caller
        w_plus = batch.path_w.clone().requires_grad_()
        images = self.target.synthesis(w_plus)
        penalty, mean = path_length_penalty(
            images, w_plus, self.mean_path_length, direction=batch.path_direction,
            average=lambda length: self.processes.mean([length])[0],
        )  # fmt: skip
        scaled = penalty * (config.path_length_weight * config.path_length_interval)
        gradients = torch.autograd.grad(scaled, self.generator_parameters, allow_unused=True, materialize_grads=True)
        return penalty, mean, gradients

    def _draw(self, synthesis: Draw) -> Tensor:
        with self._autocast():
            return synthesis(self._preview_w)

    def _nearest_styles(self, pictures: Tensor) -> Tensor:
        """For each picture the style picture that is nearest when both are seen from afar (16 px)."""
        seen, known = (F.adaptive_avg_pool2d(p.float(), 16).flatten(1) for p in (pictures, self.pictures))
        return self.pictures[torch.cdist(seen, known).argmin(1)]


def _norms(gradients: Iterable[Tensor] | None, network: str) -> dict[str, Tensor]:
    return {} if gradients is None else {f"gradient of the {network}": torch.nn.utils.get_total_norm(gradients)}


def _settings_that_must_match(
    config: FinetuneConfig,
    source: FaceGenerator,
    pictures: Tensor,
    guides: Sequence[Guide],
    validation: Tensor | None,
) -> dict[str, Any]:
    """What decides the course of a run, so that a state is only continued by the run it is from."""
    settings = settings_of_a_run(config)
    assert source.discriminator is not None  # noqa: S101 - check_source has been there
    return {
        **settings,
        "source": digest([*source.generator.state_dict().values(), *source.discriminator.state_dict().values()]),
        "style_pictures": digest([pictures]),
        **({} if validation is None else {"validation_pictures": digest([validation])}),
        **{column(guide): f"{guide.identity} x {guide.weight}" for guide in guides},
    }


def settings_of_a_run(config: FinetuneConfig) -> dict[str, Any]:
    """The settings that may not change while a run lasts, as plain values; later ones only where they are used, so
    that runs begun before they existed are still known."""
    settings = {name: value for name, value in to_mapping(config).items() if name not in SETTINGS_FREE_TO_CHANGE}
    for name in LATER_SETTINGS:
        if settings[name] == getattr(FinetuneConfig, name):
            del settings[name]
    return settings


def digest(tensors: Iterable[Tensor]) -> str:
    """A short hash of the values of tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]

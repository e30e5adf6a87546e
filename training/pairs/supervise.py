"""Stage 2: a style generator learns on from pseudo-pairs (docs/method.md, "Stage 2").

    L_G = pair_weight * sum_k a_k L_pair,k + adversarial_weight * softplus(-D(G_t)) + semantic_weight * s(t) * L_sem
          + sum of weight * guide
    L_pair, style pictures, level 3:  |y' - y| + edges_weight |grad y' - grad y| + feature_weight |D_l(y') - D_l(y)|
    L_pair, levels 1 and 2:           |blur(luma y') - blur(luma y)| + L_self(y', y)

Pairs of level 3 are the generator's own filtered pictures: their gradient starts near zero, and they anchor to what was
best. Levels 1 and 2 are right about structure and wrong about style, so only structure is taken from them. What is new
comes from anchors, whose target is a true style picture. Their codes are corrected on the way, as far as that makes the
picture fit; the semantic constraint and the guides hold fresh faces, so that the few anchors are not learned by heart.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.filters import luma
from ...core.settings import to_mapping
from ...core.sheets import comparison_grid
from ...latents.sampling import mixed_w_plus, w_statistics
from ...models.types import FaceGenerator, device_of
from ..data.inputs import check_source
from ..guides.protocol import Guide, check_guides, column, guides_identity
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch
from ..kit.ema import ExponentialMovingAverage
from ..kit.fingerprint import generator_fingerprint, settings_of
from ..kit.freezing import shallow_synthesis, to_rgb_layers
from ..kit.loop import train
from ..kit.precision import autocast
from ..kit.schedule import warm_up_cosine
from ..kit.state import State
from ..kit.step import Step, Update
from ..losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from ..losses.pictures import edge_distance, feature_distance, importance, pixel_distance
from ..losses.semantic import HIGHEST_RESOLUTION, SemanticWeights, schedule, self_similarity_distance, semantic_terms
from .renderer import PairRenderer, check_generators, move_pictures
from .supervision_settings import PairSupervisionConfig
from .types import PAIR_ORIGINS, StylePairs, pairs_fingerprint

ANCHOR = PAIR_ORIGINS.index("anchor")
PREVIEW_FACES = 5
R1_INTERVAL = 16
WARM_UP = 30
MATCHED_LAYERS = 3
"""Feature maps of the discriminator nearest the picture, in which pairs are compared."""
STYLE_MIXING = 0.5
GRAIN = 32
"""Noise of this many pixels and more becomes strokes; coarser noise would move parts of the face."""
NOISE_LR_FACTOR = 10.0
"""Noise maps take so many times the generator's steps: their values are of the order of 1, weights far below."""


@dataclass(frozen=True, eq=False)
class PairSupervisionResult:
    """What training with pairs gives."""

    generator: FaceGenerator
    """The averaged generator with the discriminator as it ended."""
    history: list[dict[str, float]]
    """A row of numbers per step."""
    codes: Tensor
    """`[N, num_ws, w_dim]` codes of all pairs, those of anchors corrected."""


def supervise(
    source: FaceGenerator,
    style: FaceGenerator,
    pairs: StylePairs,
    config: PairSupervisionConfig | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    processes: Processes = SINGLE_PROCESS,
    guides: Sequence[Guide] = (),
) -> PairSupervisionResult:
    """Trains a copy of `style` on pairs that were made with `source` and `style`; both stay as they are.

    Args:
        source: the generator before the style; the semantic constraint compares with it.
        style: stage 1's generator with its discriminator.
        pairs: from `make_pairs`, of any levels and origins; pairs whose input is a photo are left out, for a generator
            takes codes.
        callbacks: progress, previews (rows: source, stage 1, now, averaged), a question whether to stop.
        run_dir: folder for state, losses and previews; with `resume` a run there is continued exactly.
        processes: where several train together, see `distributed`; all are given the same of everything else.
        guides: further pulls on the generator's fresh faces, see `guides.protocol`.

    Raises:
        ValueError: no discriminator, pairs of other generators, or none that can be used.
        TrainingDiverged: the losses stay NaN or infinite.
    """
    config = config or PairSupervisionConfig()
    check_source(style)
    check_guides(guides)
    check_generators(pairs, source, style)
    usable = without_photos(pairs)
    if not len(usable):
        raise ValueError(
            "None of these pairs starts from a code (all are photos); make some synthetic or anchor pairs."
        )
    for name in ("batch_size", "free_batch_size"):
        check_batch(getattr(config, name), processes.count, f"{processes.count} processes", name)
    with torch.inference_mode(False), torch.enable_grad():
        task = PairSupervisionTask(source, style, usable, config, guides)
        history = train(
            task,
            config.steps,
            callbacks,
            run_dir,
            resume,
            settings=run_identity(config, source, style, pairs, guides),
            snapshot_interval=config.snapshot_interval,
            preview_interval=config.preview_interval,
            processes=processes,
        )
        return PairSupervisionResult(task.result(), history, task.codes.detach().cpu().clone())


def run_identity(
    config: PairSupervisionConfig,
    source: FaceGenerator,
    style: FaceGenerator,
    pairs: StylePairs,
    guides: Sequence[Guide] = (),
) -> dict[str, Any]:
    """What decides the course of a run, see `identity`; the arguments are those of `supervise`."""
    return {
        **settings_of(config),
        "source": generator_fingerprint(source, discriminator=False),
        "style": generator_fingerprint(style),
        "pairs": pairs_fingerprint(without_photos(pairs)),
        **guides_identity(guides),
    }


def without_photos(pairs: StylePairs) -> StylePairs:
    """The pairs whose input is a code."""
    return pairs.select(pairs.origin != PAIR_ORIGINS.index("photo"))


class PairSupervisionTask:
    """One training with pairs, a `loop.Task`."""

    terms: tuple[str, ...] = (
        "pixel",
        "edges",
        "features",
        "blurred",
        "structure",
        "generator",
        "discriminator",
        "feature",
        "self",
        "r1",
        "semantic_weight",
    )

    def __init__(
        self,
        source: FaceGenerator,
        style: FaceGenerator,
        pairs: StylePairs,
        config: PairSupervisionConfig,
        guides: Sequence[Guide] = (),
    ) -> None:
        assert style.discriminator is not None  # noqa: S101 - check_source has been there
        self.source, self.style, self.pairs, self.config = source, style, pairs, config
        self.guides = [guide for guide in guides if guide.weight > 0.0]
        self.terms = (*self.terms, *map(column, self.guides))
        self.device = device_of(style)
        self.renderer = PairRenderer(pairs, source, style)
        self.target = copy.deepcopy(style.generator).requires_grad_(False).train()
        self.target.synthesis.requires_grad_(True)
        noise_maps = self._unfreeze_noise()
        if config.freeze_palette:
            for to_rgb in to_rgb_layers(self.target.synthesis):
                to_rgb.requires_grad_(False)
        self.average = copy.deepcopy(style.generator).requires_grad_(False).eval()
        self.ema = ExponentialMovingAverage(self.target.synthesis, self.average.synthesis, config.ema_decay)
        self.source_head = shallow_synthesis(source.generator.synthesis, HIGHEST_RESOLUTION)
        self.discriminator = copy.deepcopy(style.discriminator).requires_grad_(True).train()
        self.g_parameters = [*(p for p in self.target.parameters() if p.requires_grad), *noise_maps]
        self.d_parameters = list(self.discriminator.parameters())
        weights = self.g_parameters[: len(self.g_parameters) - len(noise_maps)]
        groups: list[dict[str, Any]] = [{"params": weights}]
        if noise_maps:
            groups.append({"params": noise_maps, "lr_factor": NOISE_LR_FACTOR})
        self.optimise_g = torch.optim.Adam(groups, lr=1.0, betas=(0.0, 0.99))
        self.optimise_d = torch.optim.Adam(self.d_parameters, lr=1.0, betas=(0.0, 0.99))
        codes = pairs.w_plus if pairs.target_w_plus is None else pairs.target_w_plus
        self.codes = codes.detach().to(self.device, torch.float32).clone().requires_grad_(True)
        self.optimise_codes = torch.optim.SparseAdam([self.codes], lr=1.0, betas=(0.9, 0.99))
        _, spread = w_statistics(style.generator, style.mean_latent.to(self.device), config.seed)
        self.code_rate = config.refine_codes * float(spread)
        self.importance = importance(style.resolution).to(self.device)
        self.weights = SemanticWeights(config.keep_shape, config.keep_structure)
        self.is_anchor = pairs.origin == ANCHOR
        self.random = torch.Generator().manual_seed(config.seed)
        preview = torch.Generator().manual_seed(config.seed + 1)
        self._preview_w = mixed_w_plus(self.target, PREVIEW_FACES, 0.0, preview, self.device)
        self.state = State(
            target=self.target.synthesis,
            ema=self.ema,
            discriminator=self.discriminator,
            optimise_g=self.optimise_g,
            optimise_d=self.optimise_d,
            optimise_codes=self.optimise_codes,
            codes=self.codes,
            random=self.random,
        )

    def _unfreeze_noise(self) -> list[Tensor]:
        """Lets the generator's noise learn as far as the settings say; the noise maps that do."""
        config, size = self.config, self.style.resolution
        # Noise of the full size by itself becomes grain and not strokes.
        grain = range(min(GRAIN, size // 4), size + 1 if config.learn_noise else size) if config.noise_strength else ()
        noise_maps: list[Tensor] = []
        for convolution in self.target.synthesis.convolutions():
            released = convolution.noise_const.shape[-1] in grain
            convolution.noise_strength.requires_grad_(released)
            if released:
                convolution.noise_strength.data.fill_(config.noise_strength)
                if config.learn_noise:
                    noise_maps.append(convolution.noise_const.requires_grad_(True))
        return noise_maps

    def step(self, at: Step) -> dict[str, float]:
        """One update of G_t, D, the anchors' codes and the average; nothing has moved when it raises."""
        config, step = self.config, at.number
        # Drawn for the whole batch; from here on there is this shard of it.
        every_row = self._rows()
        fresh = mixed_w_plus(self.target, config.free_batch_size, STYLE_MIXING, self.random, self.device)
        others = self._style_rows(config.free_batch_size)
        rows, fresh, others = (at.shard(drawn) for drawn in (every_row, fresh, others))
        learning, rate = step > config.discriminator_alone, 1.0
        if learning:
            passed = step - config.discriminator_alone
            rate = warm_up_cosine(passed, at.total - config.discriminator_alone, WARM_UP, floor=0.05)
        targets = self.renderer.targets(rows).clamp(-1.0, 1.0)
        codes = self.codes[rows.to(self.device)]
        reals = torch.cat([targets, self.renderer.targets(others).clamp(-1.0, 1.0)])

        with torch.set_grad_enabled(learning), self._autocast():
            fakes, features = self.target.synthesis(torch.cat([codes, fresh]), return_features=True)
        fakes = torch.cat([move_pictures(fakes[: len(rows)].float(), self.pairs, rows), fakes[len(rows) :].float()])
        with self._autocast():
            fake_logits, fake_features = self.discriminator(fakes, return_features=True)
            real_logits, real_features = self.discriminator(reals, return_features=True)
        terms = {"discriminator": discriminator_loss(fake_logits, real_logits)}
        d_gradients = torch.autograd.grad(terms["discriminator"], self.d_parameters, retain_graph=learning)
        if config.r1_gamma and step % R1_INTERVAL == 0:
            terms["r1"] = r1_penalty(self.discriminator, reals)
            extra = torch.autograd.grad(
                0.5 * config.r1_gamma * R1_INTERVAL * terms["r1"],
                self.d_parameters,
                allow_unused=True,
                materialize_grads=True,
            )
            d_gradients = tuple(a + b for a, b in zip(d_gradients, extra, strict=True))

        d_rate = config.discriminator_learning_rate * rate
        updates = [Update("discriminator", self.optimise_d, self.d_parameters, d_gradients, d_rate)]
        weight = config.semantic_weight * schedule(config.semantic_schedule, step / (config.steps + 1))
        if learning:
            loss, found = self._pair_loss(fakes[: len(rows)], targets, fake_features, real_features, rows)
            terms |= found
            if config.adversarial_weight:
                terms["generator"] = generator_loss(fake_logits)
                loss = loss + config.adversarial_weight * terms["generator"]
            if weight:
                with torch.no_grad(), self._autocast():
                    _, before = self.source_head(fresh[:, : self.source_head.num_ws], return_features=True)
                after = {r: f[len(rows) :] for r, f in features.items()}
                semantic, found = semantic_terms(after, before, self.weights)
                loss = loss + weight * semantic
                terms |= found
            if self.guides:
                with torch.no_grad(), self._autocast():
                    unstyled = self.source.generator.synthesis(fresh).float()
                for guide in self.guides:
                    terms[column(guide)] = guide(fakes[len(rows) :], unstyled)
                    loss = loss + guide.weight * terms[column(guide)]
            *g_gradients, codes_gradient = torch.autograd.grad(
                loss, [*self.g_parameters, codes], allow_unused=True, materialize_grads=True
            )
            g_rate = config.learning_rate * rate
            updates.append(Update("generator", self.optimise_g, self.g_parameters, g_gradients, g_rate))
            codes_gradient = at.unshard(codes_gradient / at.shards)
            terms["gradient of the codes"] = codes_gradient.norm()

        numbers = at.apply(terms, *updates)
        if learning:
            self._refine(every_row, codes_gradient, rate)
            self.ema.update()
        return {name: numbers[name] for name in self.terms if name in numbers} | {"semantic_weight": weight}

    def _pair_loss(
        self,
        predictions: Tensor,
        targets: Tensor,
        fake_features: list[Tensor],
        real_features: list[Tensor],
        rows: Tensor,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum over the pairs of a batch, divided by their number, and its terms unweighted,
        a number for each pair that has the term."""
        config, level, anchor = self.config, self.pairs.level[rows], self.is_anchor[rows]
        by_level = torch.tensor([0.0, config.level_1_weight, config.level_2_weight, config.level_3_weight])
        each = torch.where(anchor, torch.tensor(config.anchor_weight), by_level[level]) * config.pair_weight
        whole = (anchor | (level == 3)).to(predictions.device)
        each = each.to(predictions.device) / len(rows)
        terms: dict[str, Tensor] = {}
        loss = predictions.new_zeros(())
        if bool((each * whole).any()):
            weight = each * whole
            freedom, pictures = config.stroke_freedom, (predictions, targets, self.importance)
            pixel, edges = pixel_distance(*pictures, freedom), edge_distance(*pictures, freedom)
            layers = [
                (a[: len(rows)], b[: len(rows)].detach())
                for a, b in list(zip(fake_features, real_features, strict=True))[:MATCHED_LAYERS]
            ]
            matched = feature_distance([a for a, _ in layers], [b for _, b in layers], freedom)
            loss = loss + (weight * (pixel + config.edges_weight * edges + config.feature_weight * matched)).sum()
            terms |= {"pixel": pixel[whole], "edges": edges[whole], "features": matched[whole]}
        structural = ~whole & (each > 0)
        if bool(structural.any()):
            weight = each[structural]
            soft, soft_targets = (F.avg_pool2d(luma(x[structural]), 4) for x in (predictions, targets))
            blurred = (soft - soft_targets).abs().mean((1, 2, 3))
            structure = torch.stack(
                [self_similarity_distance(a[None], b[None]) for a, b in zip(soft, soft_targets, strict=True)]
            )
            loss = loss + (weight * (blurred + structure)).sum()
            terms |= {"blurred": blurred, "structure": structure}
        return loss, terms

    def _refine(self, rows: Tensor, gradient: Tensor, rate: float) -> None:
        """Moves the codes of anchors; a row that comes twice moves by the sum."""
        chosen = self.is_anchor[rows]
        if not self.code_rate or not bool(chosen.any()):
            return
        where = rows[chosen].to(self.device)[None]
        self.codes.grad = torch.sparse_coo_tensor(
            where, gradient[chosen.to(self.device)], self.codes.shape, check_invariants=False
        )
        for group in self.optimise_codes.param_groups:
            group["lr"] = self.code_rate * rate
        self.optimise_codes.step()
        self.codes.grad = None

    def _rows(self) -> Tensor:
        """Indices `[batch_size]` of the next pairs: true style pictures in their share, the rest evenly."""
        count = self.config.batch_size
        anchors, others = torch.nonzero(self.is_anchor)[:, 0], torch.nonzero(~self.is_anchor)[:, 0]
        anchor_count = len(anchors) and (count if not len(others) else round(self.config.anchor_share * count))
        parts = [
            known[torch.randint(len(known), (number,), generator=self.random)]
            for known, number in ((anchors, anchor_count), (others, count - anchor_count))
            if number
        ]
        return torch.cat(parts)

    def _style_rows(self, count: int) -> Tensor:
        """Whose targets the discriminator takes for real beside the fresh faces: other pairs of the whole style."""
        known = torch.nonzero(self.is_anchor if bool(self.is_anchor.any()) else self.pairs.level == 3)[:, 0]
        if not len(known):
            known = torch.arange(len(self.pairs))
        return known[torch.randint(len(known), (count,), generator=self.random)]

    def _autocast(self) -> torch.autocast:
        return autocast(self.config.precision, self.device)

    def result(self) -> FaceGenerator:
        """The averaged generator as it is now, with its discriminator and what it was trained with."""
        provenance = {
            **self.style.provenance,
            "training": "fine-tuned with the semantic preservation constraint, then with pseudo-pairs",
            "pairs": str(len(self.pairs)),
            "pair_settings": json.dumps(to_mapping(self.config), sort_keys=True),
        }
        return self.style.replace(
            generator=copy.deepcopy(self.average).eval().requires_grad_(False),
            discriminator=copy.deepcopy(self.discriminator).eval().requires_grad_(False),
            provenance=provenance,
        )

    @torch.no_grad()
    def preview(self) -> Tensor:
        """A grid `[3, 4R, 5R]` in 0..1 of the same faces; rows: source, stage 1, now, averaged."""
        networks = (self.source.generator, self.style.generator, self.target, self.average)
        rows = [network.synthesis(self._preview_w).float() for network in networks]
        return comparison_grid(*rows, faces=PREVIEW_FACES)

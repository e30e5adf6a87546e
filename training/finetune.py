"""Stage 1: few-shot adversarial fine-tuning of a face generator with the semantic preservation constraint.

The generator G_t and the discriminator D start as copies of the source's; the mapping network stays frozen, so W is
shared and a face found in the source is drawn by the style (AgileGAN, Song et al. 2021). One iteration minimises

    L_G = softplus(-D(aug(G_t(w)))) + weight * schedule * L_sem(G_t, G_s; w)          see `semantic`
    L_D = softplus(D(aug(G_t(w)))) + softplus(-D(aug(style))) + gamma / 2 * R1        R1 lazily, in fp32

and does no work twice: the generated batch serves both networks, its one pass through D gives both losses, the features
of L_sem come from the same pass as the pictures, and the source is evaluated only as deep as L_sem looks.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.discriminator import Discriminator
from ..models.generator import SynthesisNetwork, resolutions_up_to
from ..models.sampling import device_of
from ..models.types import FaceGenerator
from .augment import AdaptiveProbability, augment, flip
from .config import AUTOMATIC, FinetuneConfig, to_mapping
from .ema import ExponentialMovingAverage
from .guides.protocol import Guide, check_guides, column
from .loop import Callbacks, require_finite, train
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
from .semantic import FEW_SHOTS, HIGHEST_RESOLUTION, SemanticProbe, SemanticWeights, schedule, semantic_terms

PREVIEW_FACES = 5
PALETTE_FACES = 64
TEXTURE_MEMORY = 0.9
"""How much of the style pictures' running texture statistics a step keeps."""
SETTINGS_FREE_TO_CHANGE = ("style_name", "preview_interval", "snapshot_interval")
"""What may differ when a run is resumed."""


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What fine-tuning gives."""

    generator: FaceGenerator
    """The averaged generator with the discriminator as it ended, on the source's device."""
    history: list[dict[str, float]]
    """A row of numbers per step: `step`, the losses, the augmentation probability."""


def finetune(
    source: FaceGenerator,
    style_images: Tensor,
    config: FinetuneConfig | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    probe: SemanticProbe | None = None,
    guides: Sequence[Guide] = (),
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
        task = FinetuneTask(source, pictures, config, probe, guides)
        history = train(
            task,
            config.steps,
            callbacks,
            run_dir,
            resume,
            settings=_settings_that_must_match(config, source, pictures, guides),
            snapshot_interval=config.snapshot_interval,
            preview_interval=config.preview_interval,
        )
        return FinetuneResult(task.result(), history)


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


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: as told, or for "auto" where the device does so natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()
    return False


class FinetuneTask:
    """One fine-tuning: the networks, their optimisers, and one iteration (`step`). Driven by `loop.train`."""

    terms: tuple[str, ...] = (
        "generator", "discriminator", "feature", "self", "relation", "probe", "texture", "r1", "path_length",
        "semantic_weight", "augment_probability",
    )  # fmt: skip

    def __init__(
        self,
        source: FaceGenerator,
        pictures: Tensor,
        config: FinetuneConfig,
        probe: SemanticProbe | None = None,
        guides: Sequence[Guide] = (),
    ) -> None:
        """`pictures [N, 3, R, R]` as `prepare_style_images` gives them."""
        assert source.discriminator is not None  # noqa: S101 - check_source has been there
        self.source, self.pictures, self.config, self.probe = source, pictures, config, probe
        self.guides = tuple(guide for guide in guides if guide.weight > 0.0)
        self.terms = (*self.terms, *map(column, self.guides))
        self.device = device_of(source)
        self.bf16 = use_bf16(config.precision, self.device)

        # Copies, also because weights loaded under inference mode cannot be trained.
        self.target = copy.deepcopy(source.generator).requires_grad_(False).train()
        self.target.synthesis.requires_grad_(True)
        # The noise is fixed, so a strength that grew would print one pattern of grain into every picture.
        for convolution in self.target.synthesis.convolutions():
            convolution.noise_strength.requires_grad_(False)
        if config.freeze_palette:
            for to_rgb in projections(self.target.synthesis):
                to_rgb.weight.requires_grad_(False)
                to_rgb.bias.requires_grad_(False)
        self.average = copy.deepcopy(source.generator).requires_grad_(False).eval()
        self.source_head = shallow_synthesis(source.generator.synthesis, HIGHEST_RESOLUTION)
        self.discriminator = copy.deepcopy(source.discriminator).requires_grad_(True).train()
        for part in frozen_parts(self.discriminator, config.freeze_d_blocks):
            part.requires_grad_(False)
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
        self._preview_w = self._latents(PREVIEW_FACES, torch.Generator().manual_seed(config.seed + 1), mix=False)
        self._preview_source: Tensor | None = None
        if config.match_palette:
            self._match_palette()

    def step(self, step: int) -> dict[str, float]:
        """One update of G_t, D and the average. Nothing but the random generator has moved when it raises."""
        config = self.config
        probability = 0.0 if config.augment == "off" else self.ada.probability
        w_plus = self._latents(config.batch_size, self.random, mix=True)
        reals = augment(self._next_styles(config.batch_size), probability, self.random)

        # The one pass through G_t, and L_sem on its features.
        with self._autocast():
            fakes, features = self.target.synthesis(w_plus, return_features=True)
        terms: dict[str, Tensor] = {}
        weight = config.semantic_weight * schedule(config.semantic_schedule, (step - 1) / config.steps)
        semantic: Tensor | None = None
        if weight > 0.0:
            with torch.no_grad(), self._autocast():
                _, source_features = self.source_head(w_plus[:, : self.source_head.num_ws], return_features=True)
            semantic, terms = semantic_terms(features, source_features, self.weights, self.probe)

        # The one pass of the fakes through D: `cut` is where G_t's graph ends and D's begins.
        cut = fakes.detach().requires_grad_()
        seen = augment(cut, probability, self.random)
        lazy_r1 = self.r1_gamma > 0 and step % config.r1_interval == 0
        r1_gradients: tuple[Tensor, ...] | None = None
        if lazy_r1:
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
            textures = running_statistics(textures, second_moments(real_features), TEXTURE_MEMORY)
            terms["texture"] = texture_distance(second_moments(fake_features), textures)
            pull = pull + config.match_texture * terms["texture"]
        for guide, value in self._guidance(cut, w_plus):
            terms[column(guide)] = value
            pull = pull + guide.weight * value
        (image_gradient,) = torch.autograd.grad(pull, cut, retain_graph=True)
        d_gradients = torch.autograd.grad(terms["discriminator"], self.discriminator_parameters)

        # On through G_t, both losses at once.
        if semantic is None:
            g_gradients = torch.autograd.grad(fakes, self.generator_parameters, image_gradient)
        else:
            g_gradients = torch.autograd.grad(
                [fakes, weight * semantic], self.generator_parameters, [image_gradient, torch.ones_like(semantic)]
            )
        path_gradients: tuple[Tensor, ...] | None = None
        mean_path_length = self.mean_path_length
        if config.path_length_weight > 0 and step % config.path_length_interval == 0:
            terms["path_length"], mean_path_length, path_gradients = self._path_length()

        # Everything is known and finite before anything changes.
        numbers = require_finite(terms | _norms(g_gradients, "generator") | _norms(d_gradients, "discriminator"))
        _apply(self.generator_optimiser, self.generator_parameters, g_gradients)
        _apply(self.generator_optimiser, self.generator_parameters, path_gradients)
        _apply(self.discriminator_optimiser, self.discriminator_parameters, d_gradients)
        _apply(self.discriminator_optimiser, self.discriminator_parameters, r1_gradients)
        self.mean_path_length = mean_path_length
        self.textures = textures
        self.ema.update()
        if config.augment == "ada":
            self.ada.update(real_logits)
        reported = {name: numbers[name] for name in self.terms if name in numbers}
        return {**reported, "semantic_weight": weight, "augment_probability": probability}

    def _guidance(self, made: Tensor, w_plus: Tensor) -> list[tuple[Guide, Tensor]]:
        """What each guide says of the faces `made [N, 3, R, R]`, compared with the source's of the same `w_plus`."""
        if not self.guides:
            return []
        with torch.no_grad(), self._autocast():
            source = self.source.generator.synthesis(w_plus)
        return [(guide, guide(made.float(), source.float())) for guide in self.guides]

    def result(self) -> FaceGenerator:
        """The averaged generator as it is now, with its discriminator, style name and provenance."""
        provenance = {
            **self.source.provenance,
            "training": "fine-tuned with the semantic preservation constraint",
            "base_style": self.source.style,
            "base_w_space": self.source.w_space,
            "style_pictures": str(self.pictures.shape[0]),
            "settings": json.dumps(to_mapping(self.config), sort_keys=True),
        }
        return self.source.replace(
            generator=copy.deepcopy(self.average).eval().requires_grad_(False),
            discriminator=copy.deepcopy(self.discriminator).eval().requires_grad_(False),
            mean_latent=self.source.mean_latent.detach().to(self.device).clone(),
            style=self.config.style_name,
            provenance=provenance,
        )

    @torch.no_grad()
    def preview(self) -> Tensor:
        """A grid `[3, 4R, 5R]` in 0..1 of the same faces; rows: source, now, averaged, nearest style picture."""
        if self._preview_source is None:
            self._preview_source = self._draw(self.source.generator.synthesis)
        average = self._draw(self.average.synthesis)
        rows = [self._preview_source, self._draw(self.target.synthesis), average, self._nearest_styles(average)]
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
            "random": self.random.get_state(),
            "order": self.order,
            "position": self.position,
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
        self.random.set_state(state["random"])
        self.order, self.position = state["order"], state["position"]

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
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

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

    def _path_length(self) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The penalty, its new running mean and its gradients, on half a batch, in fp32."""
        config = self.config
        w_plus = self._latents(max(config.batch_size // 2, 1), self.random, mix=True).clone().requires_grad_()
        images = self.target.synthesis(w_plus)
        penalty, mean = path_length_penalty(images, w_plus, self.mean_path_length, self.random)
        scaled = penalty * (config.path_length_weight * config.path_length_interval)
        gradients = torch.autograd.grad(scaled, self.generator_parameters, allow_unused=True, materialize_grads=True)
        return penalty, mean, gradients

    def _draw(self, synthesis: nn.Module) -> Tensor:
        with self._autocast():
            pictures: Tensor = synthesis(self._preview_w)
        return pictures

    def _nearest_styles(self, pictures: Tensor) -> Tensor:
        """For each picture the style picture that is nearest when both are seen from afar (16 px)."""
        seen, known = (F.adaptive_avg_pool2d(p.float(), 16).flatten(1) for p in (pictures, self.pictures))
        return self.pictures[torch.cdist(seen, known).argmin(1)]


def shallow_synthesis(synthesis: SynthesisNetwork, resolution: int) -> SynthesisNetwork:
    """A frozen copy of a synthesis network that stops at `resolution`, with features equal to the whole one's."""
    kept = [r for r in synthesis.config.resolutions if r <= resolution]
    config = dataclasses.replace(
        synthesis.config, resolution=kept[-1], channels=synthesis.config.channels[: len(kept)]
    )
    head = copy.deepcopy(synthesis).requires_grad_(False).eval()
    head.blocks = head.blocks[: len(kept)]
    head.config, head.num_ws = config, config.num_ws
    return head


def frozen_parts(discriminator: Discriminator, blocks: int) -> list[nn.Module]:
    """What FreezeD (Mo et al., arXiv 2002.10964) keeps: from_rgb and the first `blocks` blocks, nearest the picture.

    `AUTOMATIC` keeps the blocks above 128 px: at 128 px the first three would be all that sees lines up close, and with
    them frozen the outlines of a drawn look came out weaker after 400 steps than after 120 with none frozen.
    """
    if blocks == AUTOMATIC:
        blocks = sum(r > 128 for r in resolutions_up_to(discriminator.config.resolution))
    return [discriminator.from_rgb, *list(discriminator.blocks)[:blocks]] if blocks else []


def lazy_adam(parameters: list[nn.Parameter], rate: float, interval: int, lazy: bool) -> torch.optim.Adam:
    """Adam with betas (0, 0.99), corrected for an extra regularisation update every `interval` steps (StyleGAN2, B)."""
    ratio = interval / (interval + 1) if lazy else 1.0
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.Adam(parameters, lr=rate * ratio, betas=(0.0, 0.99**ratio), eps=1e-8, fused=fused)


def _apply(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], gradients: Iterable[Tensor] | None
) -> None:
    if gradients is None:
        return
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _norms(gradients: Iterable[Tensor], network: str) -> dict[str, Tensor]:
    return {f"gradient of the {network}": torch.nn.utils.get_total_norm(gradients)}


def _settings_that_must_match(
    config: FinetuneConfig, source: FaceGenerator, pictures: Tensor, guides: Sequence[Guide]
) -> dict[str, Any]:
    """What decides the course of a run, so that a state is only continued by the run it is from."""
    settings = {name: value for name, value in to_mapping(config).items() if name not in SETTINGS_FREE_TO_CHANGE}
    assert source.discriminator is not None  # noqa: S101 - check_source has been there
    return {
        **settings,
        "source": digest([*source.generator.state_dict().values(), *source.discriminator.state_dict().values()]),
        "style_pictures": digest([pictures]),
        **{column(guide): f"{guide.identity} x {guide.weight}" for guide in guides},
    }


def digest(tensors: Iterable[Tensor]) -> str:
    """A short hash of the values of tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]

"""Everything random about a fine-tuning: fresh faces, the order of the style pictures, augmentations.

All of it is drawn on the CPU from one generator, so that a seed means the same on every device, and for whole batches,
so that it means the same in however many parts they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...latents.sampling import mixed_w_plus
from ...models.generator import Generator
from ..data.augment import draw_augmentation, flip
from ..kit.state import Attributes, State
from ..losses.semantic import schedule
from .settings import FinetuneConfig


@dataclass(frozen=True, eq=False)
class FinetuneBatch:
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


class FinetuneBatches:
    """Draws the batches of a run.

    Args:
        pictures: `[N, 3, R, R]` in -1..1, of the style.
        mapping: the generator whose W is drawn from; its mapping is not trained.
        shards: into how many equal parts each batch will be divided.
        r1_gamma: weight of the R1 penalty, which is left out at 0.
    """

    def __init__(
        self, config: FinetuneConfig, pictures: Tensor, mapping: Generator, shards: int, r1_gamma: float
    ) -> None:
        self.config, self.pictures, self._mapping = config, pictures, mapping
        self._shards, self._r1_gamma = shards, r1_gamma
        self.random = torch.Generator().manual_seed(config.seed)
        self.order = torch.randperm(pictures.shape[0], generator=self.random)
        self.position = 0
        self.state = State(random=self.random, place=Attributes(self, "order", "position"))

    def draw(self, step: int, ada_probability: float) -> FinetuneBatch:
        """All random choices of one step, for the whole batch: the same in every part."""
        config = self.config
        w_plus = self.latents(config.batch_size, self.random, mix=True)
        reals = self.next_styles(config.batch_size)
        augmented_reals, augmented_fakes = (draw_augmentation(config.batch_size, self.random) for _ in range(2))
        path_w = path_direction = None
        if config.path_length_weight > 0 and step % config.path_length_interval == 0:
            half = max(config.batch_size // 2, 1)
            half += -half % self._shards
            path_w = self.latents(half, self.random, mix=True)
            size = self.pictures.shape[-1]
            path_direction = torch.randn(half, 3, size, size, generator=self.random)
        return FinetuneBatch(
            w_plus,
            reals,
            augmented_reals,
            augmented_fakes,
            path_w,
            path_direction,
            weight=config.semantic_weight * schedule(config.semantic_schedule, (step - 1) / config.steps),
            probability={"off": 0.0, "diffaugment": 1.0}.get(config.augment, ada_probability),
            lazy_r1=self._r1_gamma > 0 and step % config.r1_interval == 0,
        )

    def latents(self, count: int, random: torch.Generator, mix: bool) -> Tensor:
        """`w_plus [count, num_ws, w_dim]` of fresh z; with `mix`, later layers of most faces come from a second z."""
        probability = self.config.style_mixing_prob if mix else 0.0
        return mixed_w_plus(self._mapping, count, probability, random, self.pictures.device)

    def next_styles(self, count: int) -> Tensor:
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
        pictures = self.pictures[torch.cat(chosen).to(self.pictures.device)]
        return flip(pictures, self.random) if self.config.flip_styles else pictures

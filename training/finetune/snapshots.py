"""Which moment of a fine-tuning is given: the last, or the one that was measured best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...models.discriminator import Discriminator
from ..kit.state import Attributes, State
from ..reports.scoring import Draw, Score, ScoreHistory, Scorer
from .settings import FinetuneConfig

Once = Callable[[Callable[[], Any]], Any]
"""Gives what a function makes."""


class Snapshots:
    """Measures the averaged weights on the way and, where the settings ask for the best, keeps a copy of those.

    Args:
        networks: `average`, a synthesis network, and `discriminator`, as they are trained.
        draw_source, discriminator: the source's, which nothing trains.
        w_plus: `[N, num_ws, w_dim]`: the faces that are measured.
        pictures: `[M, 3, R, R]` in -1..1, of the style, best ones that nothing learns from.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        draw_source: Draw,
        discriminator: Discriminator,
        w_plus: Tensor,
        pictures: Tensor,
        config: FinetuneConfig,
    ) -> None:
        self._networks, self._discriminator, self._draw_source = networks, discriminator, draw_source
        self._w_plus, self._pictures = w_plus, pictures
        self._keep_best = config.keep_snapshot == "best"
        self.scores = ScoreHistory(config.structure_limit, config.patience)
        self.best_weights: dict[str, dict[str, Tensor]] | None = None
        """Of both networks where they were best, on the CPU."""
        self._scorer: Scorer | None = None
        self.state = State(scores=self.scores, best=Attributes(self, "best_weights"))

    def measure(self, step: int, once: Once) -> Score:
        """Scores the weights as they are after a step, `once` for all that train together, so that they come to the
        same decision, and keeps a copy of them where they are the best so far."""
        score = Score(step, *once(self._scores))
        if self.scores.add(score) and self._keep_best:
            self.best_weights = {
                name: {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
                for name, network in self._networks.items()
            }
        return score

    def _scores(self) -> tuple[float, float]:
        if self._scorer is None:
            self._scorer = Scorer(self._draw_source, self._discriminator, self._w_plus, self._pictures)
        return self._scorer(self._networks["average"])

    def measure_the_end(self, step: int, once: Once) -> None:
        """Measures the weights after the last step where that would decide which are kept and has not been done."""
        measured = self.scores.all[-1].step if self.scores.all else 0
        if self._keep_best and measured < step:
            self.measure(step, once)

    def chosen_step(self, last: int) -> int:
        """The step whose weights are given, where `last` is the last one done."""
        chosen = self.scores.best if self._keep_best else None
        return last if chosen is None else chosen.step

    def chosen(self) -> Draw:
        """How the generator draws that would be given now."""
        average = self._networks["average"]
        if self.best_weights is None:
            return average
        device = next(average.parameters()).device
        weights = {name: value.to(device) for name, value in self.best_weights["average"].items()}
        return lambda w_plus: torch.func.functional_call(average, weights, (w_plus,))

    def restore_chosen(self, average: nn.Module, discriminator: nn.Module) -> None:
        """Loads the kept weights into copies of the two networks; leaves them where the last are given."""
        if self.best_weights is not None:
            average.load_state_dict(self.best_weights["average"])
            discriminator.load_state_dict(self.best_weights["discriminator"])

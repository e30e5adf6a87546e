"""What a step applies: all of its updates or none, with each one's rate and clip; and a state that comes back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from facestylist.training.kit.ema import ExponentialMovingAverage
from facestylist.training.kit.state import Attributes, State
from facestylist.training.kit.step import NonFiniteLoss, Step, Update


def weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((4,), value))


def descent(parameter: nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [parameter], "lr_factor": 0.5}], lr=9.0)


def test_nothing_moves_where_one_gradient_is_not_finite() -> None:
    a, b = weight(), weight()
    bad = torch.tensor([1.0, float("nan"), 1.0, 1.0])
    updates = Update("a", descent(a), [a], a.sum(), 0.1), Update("b", descent(b), [b], [bad], 0.1)
    with pytest.raises(NonFiniteLoss, match="`gradient of the b`"):
        Step(1, 1).apply({"loss": a.sum()}, *updates)
    assert torch.equal(a, weight()) and torch.equal(b, weight()) and a.grad is None


def test_rates_factors_and_clips_are_each_updates_own() -> None:
    a, b, unused = weight(), weight(), weight()
    updates = (
        Update("a", descent(a), [a, unused], 3.0 * a.sum(), 0.1),
        Update("b", (descent(b), descent(unused)), [b, unused], [torch.full((4,), 3.0), None], 0.1, clip=1.0),
    )
    told = Step(1, 1).apply({"each": torch.tensor([1.0, 3.0])}, *updates)
    assert told == {"each": 2.0}
    assert torch.allclose(a, weight(1.0 - 0.1 * 0.5 * 3.0)) and torch.equal(unused, weight())
    assert torch.allclose(b, weight(1.0 - 0.1 * 0.5 * 0.5)), "a gradient of norm 6 is cut to one of norm 1"


def test_a_state_gives_back_whatever_it_is_of() -> None:
    class Held:
        def __init__(self) -> None:
            self.network, self.codes, self.random = nn.Linear(2, 2), torch.zeros(2), torch.Generator()
            self.average = nn.Linear(2, 2)
            self.ema = ExponentialMovingAverage(self.network, self.average, 0.9)
            self.count, self.maps = 0, list[Tensor]()
            plain = Attributes(self, "count", "maps")
            self.state = State(network=self.network, ema=self.ema, codes=self.codes, random=self.random, plain=plain)

    with torch.random.fork_rng(devices=[]):
        one, two = Held(), Held()
    one.ema.update()
    one.codes.fill_(3.0)
    one.random.manual_seed(7)
    one.count, one.maps = 5, [torch.ones(1)]
    codes = two.codes
    two.state.load_state_dict(one.state.state_dict())
    assert torch.equal(two.network.weight, one.network.weight) and torch.equal(two.average.weight, one.average.weight)
    assert codes is two.codes and torch.equal(codes, one.codes) and two.random.get_state().equal(one.random.get_state())
    assert (two.count, two.maps, two.ema.updates) == (5, [torch.ones(1)], 1)

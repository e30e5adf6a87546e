"""Muon and Adam behind one learning rate."""

from __future__ import annotations

import copy

import pytest
import torch
from tolerances import assert_close
from torch import nn

from facestylist.training.kit.optimiser import MuonAndAdam, as_matrix
from facestylist.training.kit.step import Step, Update


def network(channels_last: bool = False) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 20, 3, padding=1))
    return layers.to(memory_format=torch.channels_last) if channels_last else layers


def loss_of(layers: nn.Sequential) -> torch.Tensor:
    pictures = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    target = torch.randn(4, 20, 8, 8, generator=torch.Generator().manual_seed(2))
    return (layers(pictures) - target).square().mean()


def train(layers: nn.Sequential, optimiser: MuonAndAdam, steps: int) -> float:
    for _ in range(steps):
        Step(1, 1).apply({}, Update("layers", optimiser, optimiser.parameters, loss_of(layers), 5e-3))
    return float(loss_of(layers).detach())


def test_convolutions_are_seen_as_matrices_of_the_same_memory():
    for channels_last in (False, True):
        weight = network(channels_last)[2].weight.detach()
        matrix = as_matrix(weight)
        assert matrix.shape == (20, 24 * 9)
        assert matrix.data_ptr() == weight.data_ptr()


def test_a_step_moves_every_direction_of_a_matrix_equally_and_small_weights_by_adam():
    layers = network()
    optimiser = MuonAndAdam(layers.parameters())
    assert [tuple(p.shape) for p in optimiser.matrices] == [(24, 3, 3, 3), (20, 24, 3, 3)]
    before = [p.detach().clone() for p in layers.parameters()]
    (gradient,) = torch.autograd.grad(loss_of(layers), [layers[2].bias])
    train(layers, optimiser, 1)
    moved = as_matrix(layers[2].weight.detach() - before[2])
    singular = torch.linalg.svdvals(moved)
    assert float(singular.max() / singular.min()) < 2.5  # of the gradient it is far more
    steps = (layers[2].bias.detach() - before[3]).abs()
    assert_close(steps, 5e-3 * gradient.abs() / (gradient.abs() + 1e-8), 4, float(before[3].abs().max()))


def test_both_layouts_learn_the_same():
    ends = []
    for channels_last in (False, True):
        layers = network(channels_last)
        start = float(loss_of(layers).detach())
        ends.append(train(layers, MuonAndAdam(layers.parameters()), 30))
        assert ends[-1] < 0.9 * start
    assert abs(ends[0] - ends[1]) < 0.02 * ends[0]


def test_frozen_parameters_stay_and_a_saved_state_continues_exactly():
    layers = network()
    layers[0].requires_grad_(False)
    first = layers[0].weight.detach().clone()
    optimiser = MuonAndAdam(layers.parameters())
    train(layers, optimiser, 3)
    weights, state = {k: v.clone() for k, v in layers.state_dict().items()}, copy.deepcopy(optimiser.state_dict())

    other = network()
    other[0].requires_grad_(False)
    other.load_state_dict(weights)
    continued = MuonAndAdam(other.parameters())
    continued.load_state_dict(state)
    assert train(other, continued, 2) == train(layers, optimiser, 2)
    assert torch.equal(layers[0].weight, first)


def test_gradients_with_channels_last_reach_the_right_weights() -> None:
    """As convolutions give them to `autograd.grad`: to a matrix for Muon and to a weight that Adam takes."""
    random = torch.Generator().manual_seed(0)
    for shape in ((32, 16, 3, 3), (4, 8, 3, 3)):
        weight, gradient = torch.randn(2, *shape, generator=random)
        found = []
        for given in (gradient, gradient.contiguous(memory_format=torch.channels_last)):
            parameter = nn.Parameter(weight.clone())
            optimiser = MuonAndAdam([parameter])
            Step(1, 1).apply({}, Update("weight", optimiser, [parameter], [given], 0.1))
            found.append(parameter.detach())
        assert torch.equal(found[0], found[1]) and not torch.equal(found[0], weight)


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(RuntimeError, match=r"needs torch\.optim\.Muon.*Install PyTorch 2\.9"):
        MuonAndAdam(network().parameters())
    assert MuonAndAdam([nn.Parameter(torch.zeros(4))]).param_groups, "without a matrix nothing asks for it"

"""The semantic constraint: zero when nothing moved, a pull back when something did, blind to what styles may change."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from tolerances import rounding
from torch import Tensor

from facestylist.models.types import FaceGenerator
from facestylist.training.losses.semantic import (
    SemanticWeights,
    cross_sample_loss,
    feature_loss,
    schedule,
    self_similarity_distance,
    self_similarity_loss,
    semantic_terms,
)

pytestmark = pytest.mark.numeric

ALL = SemanticWeights(1.0, 1.0, 1.0)


def features_of(generator: torch.nn.Module, count: int = 4, seed: int = 0) -> dict[int, Tensor]:
    z = torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        w_plus = generator.broadcast(generator.mapping(z))
    return generator.synthesis(w_plus, return_features=True)[1]


@pytest.fixture(scope="module")
def features(source: FaceGenerator) -> dict[int, Tensor]:
    return features_of(source.generator)


@pytest.mark.parametrize("bf16", [False, True])
def test_exactly_zero_at_the_start_and_a_gradient_after_a_perturbation(source: FaceGenerator, bf16: bool) -> None:
    target = copy.deepcopy(source.generator)
    target.synthesis.requires_grad_(True)
    parameters = list(target.synthesis.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        known = features_of(source.generator)
        total, terms = semantic_terms(features_of(target), known, ALL)
    assert set(terms) == {"feature", "self", "relation"}
    assert {name: term.item() for name, term in terms.items()} == dict.fromkeys(terms, 0.0)
    assert total.item() == 0.0

    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        _, terms = semantic_terms(features_of(target), known, ALL)
    for name, term in terms.items():
        assert term.item() > 0.0, name
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        reached = [g is not None and bool(g.abs().max() > 0) for g in gradients]
        # The 4 px constant is the first parameter: the pull reaches all the way back to it.
        assert reached[0] and sum(reached) > len(reached) // 2, name


def test_self_similarity_is_smooth_l1_of_the_whole_map(features: dict[int, Tensor]) -> None:
    source = features[16]
    target = source + 0.1 * source.std() * torch.randn(source.shape, generator=torch.Generator().manual_seed(2))
    maps = []
    for f in (target, source):
        x = F.normalize(f.flatten(2), dim=1)
        maps.append(x.transpose(1, 2) @ x)
    assert (maps[0] - maps[1]).abs().max() < 1.0, "within SmoothL1's quadratic part"
    expected = F.smooth_l1_loss(maps[0], maps[1])
    # Found as a difference of squares of these maps, from sums over 16 x 16 places and as many pairs of channels.
    near = rounding(2 * 16 * 16, float(maps[1].square().mean()))
    assert self_similarity_distance(target, source).item() == pytest.approx(expected.item(), abs=near)


def test_self_similarity_ignores_the_scale_of_every_position(features: dict[int, Tensor]) -> None:
    random = torch.Generator().manual_seed(3)
    scaled = {r: f * (0.2 + 3 * torch.rand(f.shape[0], 1, r, r, generator=random)) for r, f in features.items()}
    moved = {r: f.roll(r // 4, 3) for r, f in features.items()}
    assert self_similarity_loss(scaled, features).item() < 0.001 * self_similarity_loss(moved, features).item()
    assert feature_loss(scaled, features).item() > 0.05


def test_self_similarity_ignores_a_change_of_colours_but_not_of_places(features: dict[int, Tensor]) -> None:
    turned = {}
    for r, f in features.items():
        random = torch.Generator().manual_seed(r)
        rotation = torch.linalg.qr(torch.randn(f.shape[1], f.shape[1], generator=random))[0]
        turned[r] = torch.einsum("oc,nchw->nohw", rotation, f)
    moved = {r: f.roll(r // 4, 3) for r, f in features.items()}
    assert self_similarity_loss(turned, features).item() < 0.001 * self_similarity_loss(moved, features).item()
    assert self_similarity_loss(moved, features).item() > 1e-3


def test_feature_term_is_relative_to_the_sources_power(features: dict[int, Tensor]) -> None:
    assert feature_loss({r: f * 0.5 for r, f in features.items()}, features).item() == pytest.approx(0.25)
    louder = {r: f * 10 for r, f in features.items()}
    assert feature_loss({r: f * 0.5 for r, f in louder.items()}, louder).item() == pytest.approx(0.25)


def test_relation_term_ignores_what_all_faces_share_and_needs_three(features: dict[int, Tensor]) -> None:
    assert cross_sample_loss({r: f * 2.0 for r, f in features.items()}, features).item() == 0.0
    collapsed = {r: f.mean(0, keepdim=True).expand_as(f) for r, f in features.items()}
    assert cross_sample_loss(collapsed, features).item() > 1e-6
    two = {r: f[:2] for r, f in features.items()}
    assert cross_sample_loss({r: f[:2] for r, f in collapsed.items()}, two).item() == 0.0


def test_schedules() -> None:
    assert [schedule("constant", p) for p in (0, 0.5, 1)] == [1, 1, 1]
    assert [schedule("cosine", p) for p in (0, 0.6, 0.8, 1)] == pytest.approx([1, 1, 0.75, 0.5])
    assert [schedule("ramp_up", p) for p in (0, 0.3, 0.6, 1)] == pytest.approx([0, 0.5, 1, 1])
    with pytest.raises(ValueError, match="Unknown schedule"):
        schedule("sine", 0)

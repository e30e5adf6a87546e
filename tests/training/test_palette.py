"""Moving a generator's palette to a style's, in closed form."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close

from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator
from facestylist.training.finetune.palette import colour_map, colour_statistics, recolour
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.finetune.task import FinetuneTask
from facestylist.training.kit.step import Step

pytestmark = pytest.mark.numeric


def coloured(seed: int, mixing: list[list[float]], mean: list[float]) -> torch.Tensor:
    noise = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.einsum("ij,njhw->nihw", torch.tensor(mixing), noise) + torch.tensor(mean)[:, None, None]


SOURCE = coloured(0, [[0.3, 0.0, 0.0], [0.1, 0.2, 0.0], [0.0, 0.1, 0.2]], [0.1, -0.1, 0.2])
GREY = coloured(1, [[0.4, 0.0, 0.0], [0.4, 1e-3, 0.0], [0.4, 0.0, 1e-3]], [0.7, 0.7, 0.6])


def test_mean_and_covariance_become_the_styles():
    matrix, offset = colour_map(SOURCE, GREY)
    moved = torch.einsum("ij,njhw->nihw", matrix, SOURCE.double()) + offset[:, None, None]
    # Directions without spread get a variance of 1e-6, seen from a source whose own is this.
    least, spread = 1e-6, float(torch.linalg.eigvalsh(colour_statistics(SOURCE)[1])[0])
    for found, wanted in zip(colour_statistics(moved), colour_statistics(GREY), strict=True):
        assert torch.allclose(found, wanted, rtol=0, atol=least / spread)
    assert torch.allclose(matrix, matrix.t())  # the smallest movement is symmetric


def test_a_palette_that_is_right_already_is_left_alone():
    matrix, offset = colour_map(SOURCE, SOURCE)
    # Five products of 3 x 3, one with an inverse.
    spreads = torch.linalg.eigvalsh(colour_statistics(SOURCE)[1])
    narrow = float(spreads[-1] / spreads[0])
    assert_close(matrix, torch.eye(3, dtype=torch.float64), 5 * 9, narrow)
    assert_close(offset, torch.zeros(3, dtype=torch.float64), 5 * 9, narrow)


def test_a_recoloured_network_draws_exactly_the_mapped_colours_with_the_same_features():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(GeneratorConfig(32, (8, 8, 8, 8), z_dim=8, w_dim=8, mapping_layers=1)).eval()
    w_plus = torch.randn(2, generator.num_ws, 8, generator=torch.Generator().manual_seed(2))
    matrix, offset = colour_map(SOURCE, GREY)
    with torch.no_grad():
        before, features = generator.synthesis(w_plus, return_features=True)
        recolour(generator.synthesis, matrix, offset)
        after, same = generator.synthesis(w_plus, return_features=True)
    wanted = torch.einsum("ij,njhw->nihw", matrix.float(), before) + offset.float()[:, None, None]
    # Exact at the rim too, where the enlarging filter sees zeros: the offset goes into the last projection only.
    # Four projections: sums over 8 channels, 4 x 4 taps of the filter and 3 colours.
    assert_close(after, wanted, 4 * (8 + 4 * 4 + 3))
    assert all(torch.equal(features[r], same[r]) for r in features)


def test_a_frozen_palette_stays_and_the_rest_learns(source: FaceGenerator, styles: torch.Tensor):
    config = FinetuneConfig(steps=2, batch_size=2, freeze_palette=True, preview_interval=0, precision="fp32")
    task = FinetuneTask(source, styles, config)
    before = {name: value.clone() for name, value in task.target.synthesis.state_dict().items()}
    task.step(Step(1, 4))
    moved = {n for n, value in task.target.synthesis.state_dict().items() if not torch.equal(value, before[n])}
    assert not {n for n in moved if n.endswith(("to_rgb.weight", "to_rgb.bias"))}
    assert any(n.endswith("conv1.weight") for n in moved) and any(n.endswith("to_rgb.affine.weight") for n in moved)


def test_fine_tuning_begins_with_the_styles_palette(source: FaceGenerator, styles: torch.Tensor):
    tasks = [
        FinetuneTask(source, styles, FinetuneConfig(match_palette=match, preview_interval=0, precision="fp32"))
        for match in (True, False)
    ]
    w_plus = tasks[0].batches.latents(16, torch.Generator().manual_seed(9), mix=False)
    wanted = colour_statistics(styles)[0]
    with torch.no_grad():
        near, far = ((colour_statistics(task.average.synthesis(w_plus))[0] - wanted).abs().max() for task in tasks)
    assert float(near) < 0.5 * float(far)

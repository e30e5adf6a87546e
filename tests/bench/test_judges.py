"""The measures of the benchmarks, on cases whose answer is known."""

from __future__ import annotations

import torch

from facestylist.procedural import NUM_LABELS
from facestylist.tools.bench.judges import Judge, frechet_distance, kernel_distance, mean_iou, parse
from facestylist.tools.bench.stages import interval
from facestylist.training.losses.distances import sliced_patch_distance


def random_pictures(count: int, seed: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def judge() -> Judge:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Judge().eval().requires_grad_(False)


def test_iou_counts_only_labels_that_are_there():
    truth = torch.zeros(2, 4, 4, dtype=torch.long)
    truth[:, :2] = 3
    found = truth.clone()
    found[1, 0] = 0  # 4 of the 8 pixels of label 3 are lost to the background: 4/8 and 8/12
    assert torch.allclose(mean_iou(found, truth), torch.tensor([1.0, (4 / 8 + 8 / 12) / 2]))


def test_distances_are_small_within_a_style_and_grow_with_the_difference():
    a, b = random_pictures(48, 1), random_pictures(48, 2)
    blurred = torch.nn.functional.avg_pool2d(b, 3, 1, 1)
    tinted = (b + torch.tensor([0.5, 0.0, -0.5])[:, None, None]).clamp(-1, 1)
    judges = (lambda x, y: kernel_distance(judge(), x, y)), (lambda x, y: frechet_distance(judge(), x, y))
    for distance in (*judges, sliced_patch_distance):
        same = distance(a, b)
        assert distance(blurred, a) > 5 * abs(same) + 1e-3
        assert distance(tinted, a) > 5 * abs(same) + 1e-3


def test_the_parser_gives_a_label_per_pixel():
    maps = parse(judge(), random_pictures(3, 3))
    assert maps.shape == (3, 32, 32)
    assert int(maps.max()) < NUM_LABELS


def test_the_interval_covers_a_planted_difference_and_excludes_zero():
    noise = torch.randn(3, 200, generator=torch.Generator().manual_seed(4))
    mean, low, high = interval(0.05 + 0.1 * noise)
    assert low < mean < high
    assert 0 < low < 0.05 < high

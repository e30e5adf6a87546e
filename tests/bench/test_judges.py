"""The measures of the benchmarks, on cases whose answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tolerances import rounding

from facestylist.procedural import NUM_LABELS
from facestylist.tools.bench import judges
from facestylist.tools.bench.judges import LANDMARKS, LOOKS, Judge, _twice, frechet_distance, mean_iou, parse
from facestylist.training.losses.distances import kernel_discrepancy, sliced_patch_distance


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
    features = judge().features
    judges = [lambda x, y, d=d: d(features(x), features(y)) for d in (kernel_discrepancy, frechet_distance)]
    for distance in (*judges, sliced_patch_distance):
        same = distance(a, b)
        assert distance(blurred, a) > 5 * abs(same) + 1e-3
        assert distance(tinted, a) > 5 * abs(same) + 1e-3


def test_the_parser_gives_a_label_per_pixel():
    maps = parse(judge(), random_pictures(3, 3))
    assert maps.shape == (3, 32, 32)
    assert int(maps.max()) < NUM_LABELS


def test_landmarks_are_where_the_heat_is():
    network = judge()
    with torch.no_grad():
        network.points.weight.zero_()
        read = network(random_pictures(1, 4))
    # No heat anywhere is the same heat everywhere, whose mean is the middle.
    assert read.landmarks.shape == (1, LANDMARKS, 2) and torch.allclose(
        read.landmarks, torch.tensor(0.5), atol=rounding(32 * 32)
    )
    assert torch.allclose(read.person.norm(dim=1), torch.ones(1))


def test_everybody_is_shown_in_two_looks():
    people = 6
    # As `_renders` lays them out: the second half of a look's people are the next look's first half.
    who = [
        (number + (place >= 3)) % len(LOOKS) * 3 + place % 3 for number in range(len(LOOKS)) for place in range(people)
    ]
    index = _twice(torch.arange(len(who)), people)
    one, other = index.chunk(2)
    assert [who[i] for i in one] == [who[i] for i in other]
    assert bool((one // people != other // people).all())


def test_a_judge_is_trained_once_and_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    people = 4
    pictures = ((random_pictures(len(LOOKS) * people, 6) + 1) * 127.5).byte()
    labels = torch.randint(NUM_LABELS, (len(pictures), 32, 32), generator=torch.Generator().manual_seed(7))
    looks, landmarks = (
        torch.arange(len(LOOKS)).repeat_interleave(people),
        torch.full((len(pictures), LANDMARKS, 2), 0.2),
    )
    monkeypatch.setattr(judges, "_renders", lambda *a: (pictures, labels, looks, landmarks))
    made = [judges.train_judge(tmp_path / f"{n}.pt", 32, people, steps=2, batch=4) for n in "ab"]
    monkeypatch.setattr(judges, "_renders", None)
    made.append(judges.train_judge(tmp_path / "a.pt", 32, people))
    for name, tensor in made[0].state_dict().items():
        assert all(torch.equal(tensor, other.state_dict()[name]) for other in made[1:]), name
        assert not torch.equal(tensor, judge().state_dict()[name]) or tensor.numel() == 0, f"{name} was not trained"

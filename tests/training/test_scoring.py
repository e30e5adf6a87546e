"""Scores while a style is learned: what they say, which snapshot they keep, when they end a run, and resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_finetune import equal, quick
from tiny_networks import make_source, make_styles
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.models.types import FaceGenerator
from facestylist.training.data.inputs import split_pictures
from facestylist.training.finetune import snapshots as module
from facestylist.training.finetune.run import finetune
from facestylist.training.finetune.task import FinetuneTask
from facestylist.training.kit.kept import CannotResume
from facestylist.training.losses.distances import PatchJudge, sliced_patch_distance
from facestylist.training.reports.scoring import Score, ScoreHistory, Scorer

Weights = Callable[[FaceGenerator], dict[str, Tensor]]
SCORED = {"score_interval": 2, "match_texture": 0.0, "path_length_weight": 0.0, "preview_interval": 0}


def latents(source: FaceGenerator, count: int = 6) -> Tensor:
    z = torch.randn(count, source.generator.config.z_dim, generator=torch.Generator().manual_seed(5))
    return source.generator.broadcast(source.generator.mapping(z))


def test_the_quick_judge_agrees_with_the_thorough_one() -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(6, 3, 32, 32, generator=random)
    near, far = (target + amount * torch.randn(target.shape, generator=random) for amount in (0.05, 0.3))
    judge = PatchJudge(target)
    for pictures in (near, far):
        thorough = sliced_patch_distance(pictures, target, count=2048, directions=64)
        assert judge(pictures) == pytest.approx(thorough, rel=0.3)
    assert judge(near) < 0.5 * judge(far) and judge(near) == judge(near)


def test_structure_is_0_for_the_same_faces_and_1_for_anybodys(source: FaceGenerator, styles: Tensor) -> None:
    assert source.discriminator is not None
    w_plus = latents(source)
    scorer = Scorer(source.generator.synthesis, source.discriminator, w_plus, styles)
    synthesis = source.generator.synthesis
    style, structure = scorer(synthesis)
    assert style > 0.0 and structure == 0.0
    _, half, moved = (scorer(lambda w, share=share: synthesis(w.lerp(w.roll(1, 0), share)))[1] for share in (0, 0.5, 1))
    assert 0.0 < half < moved and moved > 0.5
    everybody = w_plus.mean(0, keepdim=True)
    _, gone = scorer(lambda w: synthesis(everybody.expand(len(w), -1, -1)))
    assert gone == pytest.approx(1.0, abs=0.05)


def test_within_the_limit_style_decides_and_beyond_it_structure() -> None:
    scores = ScoreHistory(structure_limit=0.5, patience=0)
    for step, style, structure in ((1, 0.5, 0.9), (2, 0.6, 0.7), (3, 0.4, 0.2), (4, 0.3, 0.5), (5, 0.1, 0.6)):
        scores.add(Score(step, style, structure))
    assert [min(scores.all[:n], key=lambda s: s.order(0.5)).step for n in range(1, 6)] == [1, 2, 3, 4, 4]
    assert scores.best is not None and scores.best.step == 4
    assert Score(1, float("nan"), 0.0).order(0.5) > Score(2, 9.0, 0.0).order(0.5)


def test_patience_counts_scores_since_the_best() -> None:
    scores = ScoreHistory(structure_limit=1.0, patience=2)
    seen = []
    for step, style in enumerate((0.5, 0.6, 0.4, 0.4, 0.5), start=1):
        scores.add(Score(step, style, 0.0))
        seen.append(scores.out_of_patience)
    assert seen == [False, False, False, False, True]
    again = ScoreHistory(1.0, 2)
    again.load_state_dict(scores.state_dict())
    assert again.out_of_patience and again.best == scores.best


def test_held_back_pictures_depend_on_the_pictures_alone() -> None:
    pictures = make_styles(10)
    kept, held = split_pictures(pictures, 0.2)
    assert len(held) == 2 and sorted(kept + held) == list(range(10))
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    _, held_again = split_pictures(pictures[order], 0.2)
    assert {int(order[i]) for i in held_again} == set(held)
    assert len(split_pictures(pictures[:2], 0.01)[1]) == 1
    with pytest.raises(ValueError, match="there is only one"):
        split_pictures(pictures[:1], 0.1)


def test_scores_are_in_the_table_and_change_nothing(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, tmp_path: Path, global_rng_untouched: None
) -> None:
    scored = finetune(source, styles, quick(steps=5, **SCORED), run_dir=tmp_path)
    assert [score.step for score in scored.scores] == [2, 4, 5]
    rows = {row["step"]: row for row in scored.history}
    assert "style_distance" not in rows[1] and rows[4]["style_distance"] == scored.scores[1].style_distance
    header, *lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert header.endswith("style_distance,structure_distance") and lines[0].endswith(",,") and lines[1][-1] != ","
    plain = finetune(source, styles, quick(steps=5, **SCORED | {"score_interval": 0}))
    assert equal(weights_of(scored.generator), weights_of(plain.generator)) and not plain.scores


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Style distances that the scorer is to find, one measurement after the other."""
    values: list[float] = []

    class Told:
        def __init__(self, *_: object) -> None:
            pass

        def __call__(self, _: object) -> tuple[float, float]:
            return values.pop(0), 0.1

    monkeypatch.setattr(module, "Scorer", Told)
    return values


def test_the_best_snapshot_is_given_and_shown_and_a_run_ends_when_nothing_better_comes(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, tmp_path: Path, told: list[float]
) -> None:
    told += [0.5, 0.3, 0.4, 0.35]
    previews: dict[int, Tensor] = {}
    config = quick(steps=20, **SCORED | {"preview_interval": 4}, keep_snapshot="best", patience=2)
    found = finetune(source, styles, config, Callbacks(on_preview=previews.__setitem__), tmp_path)
    assert (found.steps, found.chosen_step, found.finished) == (8, 4, True)
    # The schedule depends on `steps`, so the comparison is with the same run, ended at step 4.
    done: list[int] = []
    stop = Callbacks(on_progress=lambda step, *_: done.append(step), should_stop=lambda: done[-1:] == [4])
    at_four = finetune(source, styles, quick(steps=20, **SCORED | {"score_interval": 0}), stop)
    assert at_four.steps == 4 and not at_four.finished
    assert equal(weights_of(found.generator), weights_of(at_four.generator))
    assert list(previews) == [4, 8], "the last preview shows the end, however early it comes"
    assert torch.equal(previews[4][:, 64:96], previews[8][:, 64:96]), "its third row is what is given"
    assert not torch.equal(previews[4][:, 32:64], previews[8][:, 32:64])
    # Nothing is left to do.
    again = finetune(source, styles, config, run_dir=tmp_path, resume=True)
    assert again.steps == 8 and equal(weights_of(found.generator), weights_of(again.generator))


def test_ended_by_hand_the_style_as_it_is_competes_too(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, tmp_path: Path, told: list[float]
) -> None:
    told += [0.5, 0.2]
    done: list[int] = []
    stop = Callbacks(on_progress=lambda step, *_: done.append(step), should_stop=lambda: done[-1:] == [3])
    config = quick(steps=8, **SCORED, keep_snapshot="best")
    ended = finetune(source, styles, config, stop, tmp_path)
    assert ended.chosen_step == 3 and not ended.finished
    # A resumed run knows nothing of that measurement.
    told[:] = [0.6, 0.6, 0.6]
    resumed = finetune(source, styles, config, run_dir=tmp_path, resume=True)
    assert [score.step for score in resumed.scores] == [2, 4, 6, 8] and resumed.chosen_step == 2


@pytest.mark.parametrize("stopped_at", [3, 4])
def test_a_resumed_run_scores_and_chooses_as_an_unbroken_one(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, tmp_path: Path, stopped_at: int
) -> None:
    config = quick(steps=7, **SCORED, keep_snapshot="best", patience=3, validation=0.25, learning_rate=2e-2)
    whole = finetune(source, styles, config)
    assert len(whole.held_out) == 3
    done: list[int] = []
    stop = Callbacks(on_progress=lambda s, *_: done.append(s), should_stop=lambda: done[-1:] == [stopped_at])
    finetune(source, styles, config, stop, tmp_path)
    resumed = finetune(source, styles, config, run_dir=tmp_path, resume=True)
    assert resumed.history == whole.history and resumed.scores == whole.scores
    assert equal(weights_of(whole.generator), weights_of(resumed.generator))
    assert resumed.generator.provenance["card"] == whole.generator.provenance["card"]
    with pytest.raises(CannotResume, match="validation"):
        finetune(source, styles, quick(steps=7, **SCORED), run_dir=tmp_path, resume=True)


def test_given_pictures_are_measured_with_and_not_trained_on(source: FaceGenerator, styles: Tensor) -> None:
    config = quick(steps=2, **SCORED)
    with_given = finetune(source, styles[:9], config, validation_images=styles[9:])
    plain = finetune(source, styles[:9], config)
    losses = [{k: v for k, v in run.history[-1].items() if k != "style_distance"} for run in (with_given, plain)]
    assert losses[0] == losses[1]
    assert with_given.history[-1]["style_distance"] != plain.history[-1]["style_distance"]
    assert json.loads(with_given.generator.provenance["card"])["held_out"] == 3


def test_the_first_process_decides_for_all(source: FaceGenerator, styles: Tensor) -> None:
    from facestylist.training.kit.distributed import Processes

    class Second(Processes):
        rank, count = 1, 2

        def broadcast(self, value: object) -> object:
            assert value is None, "it has measured nothing"
            return 0.25, 0.5

    task = FinetuneTask(source, styles, quick(steps=2, **SCORED, keep_snapshot="best"))
    assert task.snapshots.measure(2, Second().once) == Score(2, 0.25, 0.5) and task.snapshots.best_weights is not None


def test_choosing_without_measuring_is_refused() -> None:
    with pytest.raises(ValueError, match="`patience` is above 0, but nothing is measured"):
        quick(patience=3)
    with pytest.raises(ValueError, match="`keep_snapshot` is best, but nothing is measured"):
        quick(keep_snapshot="best")


def test_a_source_of_few_pixels_can_be_scored() -> None:
    source = make_source(8)
    assert source.discriminator is not None
    scorer = Scorer(source.generator.synthesis, source.discriminator, latents(source, 2), make_styles(2, 8))
    assert scorer(source.generator.synthesis)[1] == 0.0

"""Several processes: two over gloo train what one trains, and a run changes hands between them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_finetune import quick
from tiny_networks import make_source, make_styles
from tolerances import rounding, roundings
from two_processes import HALF, STEPS, TRAININGS, begin, run_two, train_together

from facestylist.cli.main import main
from facestylist.core.callbacks import Callbacks
from facestylist.models.checkpoints import load_generator, save_generator
from facestylist.models.types import FaceGenerator
from facestylist.training.finetune.run import finetune
from facestylist.training.finetune.task import FinetuneTask
from facestylist.training.kit import distributed
from facestylist.training.kit.distributed import shard_rows
from facestylist.training.kit.loop import train
from facestylist.training.kit.step import Step
from facestylist.training.pairs import supervise

SETTINGS = {"batch_size": 8, "steps": 4, "match_texture": 0.0, "freeze_d_blocks": 0}
SHARE = 1e-3
"""Of what training changes. A shard that is left out or counted twice turns a step by about half of it, 0.5 here."""


def depth(source: FaceGenerator) -> int:
    """Roundings in a row of a gradient: through both networks, back, and for R1 and path lengths both once more."""
    assert source.discriminator is not None
    return 4 * (roundings(source.generator) + roundings(source.discriminator))


def distance(ours: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest difference of two lists of gradients, relative to the largest number of the same tensor."""
    pairs = zip(ours, expected, strict=True)
    return max((float((a - b).abs().max() / (b.abs().max() + 1e-12)) for a, b in pairs), default=0.0)


def work(folder: Path, processes: distributed.Processes) -> dict[str, Any]:
    """What one of two processes does, once for all tests; see `two_processes.run_two`."""
    before = torch.get_rng_state()
    task = FinetuneTask(make_source(), make_styles(12), quick(**SETTINGS), shards=2)
    averaged = []
    for step in (1, 2, 3):
        found, _ = task.compute(task.batches.draw(step, task.ada.probability), Step(step, 4, processes))
        kinds = found.g_gradients, found.d_gradients, found.r1_gradients, found.path_gradients
        averaged.append([processes.all_reduce_mean(gradients or []) for gradients in kinds])
    done: list[int] = []
    told = Callbacks(on_progress=lambda step, *_: done.append(step))
    task = smooth(FinetuneTask(make_source(), make_styles(12), quick(**SETTINGS), shards=2))
    history = train(task, 4, told, folder / "finetune", True, processes=processes)
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(done) == processes.is_main, "only the first one talks"
    finetuned = (dict(task.result().generator.state_dict()), history, averaged)
    return {"finetune": finetuned, **train_together(folder, processes)}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Where two processes trained, and what each of them came to."""
    pytest.importorskip("lightning_fabric", reason="several processes need it: pip install lightning-fabric")
    folder = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervise, "R1_INTERVAL", 2)
        for name in TRAININGS:
            begin(name, folder / f"{name}-one")
    return folder, run_two("test_distributed.work", folder)


@pytest.mark.slow
def test_two_processes_train_what_one_does(together: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, found = together
    alone = smooth(FinetuneTask(make_source(), make_styles(12), quick(**SETTINGS)))
    expected_history = train(alone, 4)
    whole = alone.result().generator.state_dict()

    (one, history, averaged), (two, _, _) = (result["finetune"] for result in found)
    assert all(torch.equal(one[name], two[name]) for name in one), "the processes keep the same weights, bit for bit"
    task = FinetuneTask(make_source(), make_styles(12), quick(**SETTINGS))
    for step, gradients in enumerate(averaged, start=1):
        part, _ = task.compute(task.batches.draw(step, task.ada.probability), Step(step, 4))
        kinds = part.g_gradients, part.d_gradients, part.r1_gradients, part.path_gradients
        for ours, expected in zip(gradients, kinds, strict=True):
            assert distance(ours, expected or []) < rounding(depth(make_source()))
    start = make_source().generator.state_dict()
    apart = norm_apart(one, whole) / norm_apart(whole, start)
    assert apart < SHARE
    for row, expected in zip(history, expected_history, strict=True):
        assert row == pytest.approx(expected, rel=SHARE, abs=rounding(8))
    assert {p.name for p in (folder / "finetune").iterdir()} >= {"losses.csv", "settings.json", "state"}


@pytest.mark.slow
@pytest.mark.numeric
@pytest.mark.parametrize("name", TRAININGS)
def test_other_trainings_are_shared_too_and_change_hands(
    together: tuple[Path, list[dict[str, Any]]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two go on where one began, one goes on where two began, and both end where one alone does."""
    folder, (first, second) = together
    monkeypatch.setattr(supervise, "R1_INTERVAL", 2)
    expected, expected_history = TRAININGS[name](None, None, False, distributed.SINGLE_PROCESS)
    start, _ = TRAININGS[name](None, Callbacks(should_stop=lambda: True), False, distributed.SINGLE_PROCESS)

    ours, theirs = (result[name]["weights"] for result in (first, second))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours), "the same weights in both, bit for bit"
    assert not (folder / "elsewhere").exists(), "the first process writes the files"
    again, history = TRAININGS[name](folder / f"{name}-two", None, True, distributed.SINGLE_PROCESS)
    for weights, rows in ((ours, first[name]["history"]), (again, history)):
        # Of the codes of stage 2 more than of the weights is rounding: their gradient has the signs of differences of
        # pixels that are nearly none, and SparseAdam makes whole steps.
        for part, share in (({"codes"} & expected.keys(), 0.05), (expected.keys() - {"codes"}, SHARE)):
            a, b, begun = ({key: found[key] for key in part} for found in (weights, expected, start))
            assert norm_apart(a, b) <= share * norm_apart(b, begun)
        for row, other in zip(rows, expected_history, strict=True):
            assert row == pytest.approx(other, rel=SHARE, abs=rounding(8))
    for folder_name, ended in ((f"{name}-one", ours), (f"{name}-two", again)):
        assert norm_apart(ended, expected) > 0.0, "rounding tells that it has not been one process all along"
        assert len((folder / folder_name / "losses.csv").read_text().splitlines()) == STEPS + 1
        shown = sorted(path.name for path in (folder / folder_name / "previews").iterdir())
        assert shown == [f"step-{step:06}.png" for step in (HALF, STEPS)]


@pytest.mark.slow
def test_torchrun_trains_with_two_processes_and_one_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command itself, as a person starts it; then the same run, resumed from its second step without a launcher."""
    pytest.importorskip("lightning_fabric", reason="several processes need it: pip install lightning-fabric")
    save_generator(make_source(), tmp_path / "source.safetensors", {})
    (tmp_path / "styles").mkdir()
    for index, picture in enumerate(make_styles(12)):
        pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / "styles" / f"{index}.png")
    run, two, one = tmp_path / "run", tmp_path / "two.safetensors", tmp_path / "one.safetensors"
    command = [
        "finetune",
        "--source",
        str(tmp_path / "source.safetensors"),
        "--styles",
        str(tmp_path / "styles"),
        "--no-align",
        "--steps",
        "4",
        "--batch-size",
        "8",
        "--precision",
        "fp32",
        "--snapshot-interval",
        "2",
        "--preview-interval",
        "2",
        "--validation",
        "0.2",
        "--score-interval",
        "2",
        "--style-name",
        "ink",
        "--match-palette",
        "--device",
        "cpu",
    ]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ended = subprocess.run(
        [*launcher, "-m", "facestylist", *command, "--run-dir", str(run), "--out", str(two), "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    told = json.loads(ended.stdout)
    assert told["pictures"] == 10 and len(told["held_out"]) == 2 and [s["step"] for s in told["scores"]] == [2, 4]
    rows = (run / "losses.csv").read_text().splitlines()
    assert len(rows) == 5, "one process writes the table"
    states = sorted((run / "state").iterdir())
    assert [path.name for path in states] == ["step-00000002.pt", "step-00000004.pt"]
    assert sorted(path.name for path in (run / "previews").iterdir()) == ["step-000002.png", "step-000004.png"]

    states[1].unlink()
    assert main([*command, "--resume", str(run), "--out", str(one), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["scores"][0] == told["scores"][0]
    # Adam makes steps of rounding here (see `smooth`): weights come out a little apart, and losses less.
    for name, value in told["last"].items():
        assert again["last"][name] == pytest.approx(value, rel=0.02, abs=rounding(100)), name
    start, a, b = (load_generator(path).generator.state_dict() for path in (tmp_path / "source.safetensors", two, one))
    # Equal but for rounding; and not equal, as they would be had each of the two trained alone on whole batches.
    assert 0.0 < norm_apart(a, b) < 0.3 * norm_apart(a, start)


def smooth(task: FinetuneTask) -> FinetuneTask:
    """Adam makes whole steps of gradients that are nearly nothing, which turns rounding into weights; not here."""
    for optimiser in (task.generator_optimiser, task.discriminator_optimiser):
        for group in optimiser.param_groups:
            group["eps"] = 1e-2
    return task


def norm_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return float(sum((a[name] - b[name]).square().sum() for name in a)) ** 0.5


def test_a_share_holds_whole_groups_of_the_minibatch_deviation() -> None:
    batch, group = torch.arange(16), 4
    groups = {frozenset(batch[i :: 16 // group].tolist()) for i in range(16 // group)}
    parts = [shard_rows(batch, index, 2) for index in range(2)]
    of_parts = {frozenset(part[i :: 8 // group].tolist()) for part in parts for i in range(8 // group)}
    assert groups == of_parts


def test_parts_of_a_batch_make_the_gradients_of_the_whole(source: FaceGenerator) -> None:
    tasks = [FinetuneTask(source, make_styles(12), quick(**SETTINGS | {"accumulate": n})) for n in (1, 2)]
    for step in (1, 2):
        whole, parts = (task.compute(task.batches.draw(step, task.ada.probability), Step(step, 4))[0] for task in tasks)
        for kind in ("g_gradients", "d_gradients", "r1_gradients"):
            assert distance(getattr(parts, kind) or [], getattr(whole, kind) or []) < rounding(depth(source))
        for name, value in whole.terms.items():
            assert parts.terms[name].item() == pytest.approx(value.item(), rel=rounding(depth(source)))


def test_an_uneven_batch_is_refused(source: FaceGenerator) -> None:
    with pytest.raises(ValueError, match="`batch_size` is 4, which cannot be computed in 3 equal parts"):
        quick(accumulate=3)
    two = distributed.Processes()
    two.count = 2
    with pytest.raises(ValueError, match="choose a multiple of 2"):
        finetune(source, make_styles(12), quick(batch_size=5), processes=two)


def test_several_processes_without_fabric_are_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="pip install lightning-fabric. Without it, start one process"):
        distributed.launch()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert distributed.launch() is distributed.SINGLE_PROCESS

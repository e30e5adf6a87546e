"""The comparison of the stages: what the arms differ in, and what the table says of planted numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from facestylist.models import checkpoints
from facestylist.tools.bench import stages
from facestylist.tools.bench.renders import renders


def test_arms_differ_in_the_constraint_and_the_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Any] = []
    monkeypatch.setattr(stages, "finetune", lambda *a: runs.append(a[2]) or SimpleNamespace(generator="first"))
    monkeypatch.setattr(stages, "supervise", lambda *a: runs.append(a[3]) or SimpleNamespace(generator="second"))
    for name in ("destylise", "make_pairs"):
        monkeypatch.setattr(stages, name, lambda *a: None)
    monkeypatch.setattr(checkpoints, "load_encoder", lambda name: None)
    for arm in stages.ARMS:
        stages.fine_tune(stages.Run(arm, "sketch", 2, 120), None, torch.empty(0))  # type: ignore[arg-type]
    plain, constrained, first, second = runs
    assert plain.semantic_weight == 0.0 < constrained.semantic_weight
    assert plain == stages.replace(constrained, semantic_weight=0.0)
    assert first == stages.replace(constrained, steps=40)
    assert (second.steps, second.seed, plain.seed) == (80, 2, 2)


def test_the_table_names_means_and_intervals() -> None:
    def row(l1: float, kid: float) -> dict[str, Any]:
        return {
            "L1": [l1] * 8,
            "face L1": [l1] * 8,
            "mIoU": [0.5] * 8,
            "Frechet": kid,
            "KID": kid,
            "patches": 0.1,
            "seconds": 60.0,
        }

    rows = {"plain": [row(0.2, 2.0)] * 3, "constrained": [row(0.1, 1.9)] * 3, "pairs": [row(0.05, 1.9)] * 2}
    lines = stages.table("cartoon", rows, 0.9)
    assert "| plain | 0.2000 | 0.2000 | 0.5000 | 2.0000 | 2.0000 | 0.1000 | 60 |" in lines
    assert "| plain -> constrained | -0.1000 (-0.1000 .. -0.1000) |" in "\n".join(lines)
    assert "-5.0% | -5.0% | +0.0% | |" in "\n".join(lines)
    assert "| constrained -> pairs | -0.0500 (-0.0500 .. -0.0500) |" in "\n".join(lines), "two seeds of three"


def test_patches_of_finished_runs_are_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    look = stages.Renders("sketch", pictures, torch.zeros(4, 32, 32).long(), pictures, pictures)
    monkeypatch.setattr(stages, "renders", lambda *a: look)
    monkeypatch.setattr(stages, "fresh_faces", lambda style, count: pictures[:count] + 0.3)
    source = checkpoints.load_generator("rendered")
    monkeypatch.setattr(checkpoints, "load_generator", lambda name: source)
    finished, missing = (stages.Run("pairs", "sketch", seed, 120) for seed in (0, 1))
    stages.weights_of(finished, source, tmp_path).touch()
    lines = stages.patches_apart([finished, missing], tmp_path, tmp_path)
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    names, cells = [row[0] for row in rows], [[float(cell) for cell in row[1:]] for row in rows]
    assert names == ["sketch, true", finished.name], "what is not finished is left out"
    true, lighter = cells
    assert lighter[0] > 2 * true[0] and lighter[1] > 2 * true[1] and lighter[2] == pytest.approx(true[2], abs=0.02)


def test_renders_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"held": torch.zeros(2, 3, 8, 8), "labels": torch.ones(2, 8, 8, dtype=torch.uint8)}
    calls: list[str] = []
    draw = lambda look, size, count: calls.append(f"{look} {count}") or drawn  # noqa: E731
    monkeypatch.setattr("facestylist.tools.bench.renders._draw", draw)
    for _ in range(2):
        found = renders("photo", 8, tmp_path)
        assert found.labels.dtype == torch.int64 and found.others.shape == (0, 3, 8, 8)
    assert renders("photo", 8, tmp_path, 1).held.shape == (1, 3, 8, 8)
    assert calls == ["photo 256"], "fewer are taken from the file of all"
    renders("sketch", 8, tmp_path, 1)
    assert calls[1:] == ["sketch 1"], "a few are drawn where all are not there"

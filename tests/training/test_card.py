"""The run card: files, sentences, metadata; and TensorBoard's files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_finetune import quick
from torch import Tensor

from facestylist.models.checkpoints import inspect, load_generator, save_generator
from facestylist.models.types import FaceGenerator
from facestylist.training.finetune.run import finetune
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.reports.card import CURVE_POINTS, RunCard, draw_card, make_card
from facestylist.training.reports.curves import plot_history
from facestylist.training.reports.scoring import Score


def card() -> RunCard:
    history = [{"step": float(n), "generator": 1.0 / n} | ({"r1": 0.5} if n % 16 == 0 else {}) for n in range(1, 101)]
    return make_card(
        "ink",
        {"style_name": "ink", "steps": 100, "batch_size": 8, "seed": 0},
        history,
        [Score(50, 0.02, 0.31)],
        pictures=27,
        held_out=3,
        source="",
        resolution=128,
        steps=100,
        chosen_step=50,
    )


def test_a_card_reads_as_sentences() -> None:
    assert card().lines(FinetuneConfig) == [
        "27 style pictures, 3 held back; 100 steps at 128 px",
        "kept as it was after step 50",
        "style distance 0.02, structure distance 0.31",
        "settings: batch_size 8",
    ]


def test_curves_are_short_and_a_card_survives_json() -> None:
    made = card()
    assert len(made.curves["generator"]) == CURVE_POINTS and made.curves["generator"][-1][0] == 100
    assert made.curves["r1"] == [[step, 0.5] for step in range(16, 97, 16)]
    assert RunCard.from_json(made.to_json()) == made
    with pytest.raises(ValueError, match="no run card"):
        RunCard.from_json('{"style": "ink"}')


def test_a_run_leaves_its_card_in_the_folder_and_in_the_saved_style(
    source: FaceGenerator, styles: Tensor, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    result = finetune(source, styles, quick(steps=3, score_interval=2, style_name="ink"), run_dir=run)
    saved = json.loads((run / "card.json").read_text())
    assert saved["style"] == "ink" and saved["pictures"] == 12 and [s["step"] for s in saved["scores"]] == [2, 3]
    with Image.open(run / "card.png") as picture:
        assert picture.width > 160 and picture.height > 4 * 32 and len(picture.getcolors(2**24) or ()) > 50
    assert not list(run.rglob("*.tmp"))
    save_generator(result.generator, tmp_path / "ink.safetensors", dict(result.generator.provenance))
    text = inspect(tmp_path / "ink.safetensors").metadata["card"]
    assert json.loads(text) == saved and len(text) < 20_000
    assert load_generator(tmp_path / "ink.safetensors").provenance["card"] == text


def test_without_matplotlib_a_card_has_no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    pytest.importorskip("matplotlib", reason="curves are drawn by matplotlib: pip install matplotlib")
    history = [{"step": float(n), "generator": 1.0 / n} for n in range(1, 13)]
    with_curves = draw_card(card(), torch.rand(3, 64, 80, generator=torch.Generator()), history, FinetuneConfig)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    without = draw_card(card(), torch.rand(3, 64, 80, generator=torch.Generator()), history, FinetuneConfig)
    assert without.height < with_curves.height and without.width == 80 + 40


def test_values_are_plotted_at_their_steps() -> None:
    pytest.importorskip("matplotlib", reason="curves are drawn by matplotlib: pip install matplotlib")
    history = [{"step": float(n), "a": 1.0} | ({"b": float(n)} if n % 50 == 0 else {}) for n in range(1, 101)]
    shown = plot_history(history, 300, 200)
    assert shown.shape == (3, 200, 300) and shown.std() > 0.01


def test_tensorboard_files_hold_losses_and_previews(source: FaceGenerator, styles: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="event files are written by tensorboard: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    finetune(source, styles, quick(steps=3, preview_interval=3, tensorboard=True), run_dir=tmp_path)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("generator")] == [1, 2, 3]
    assert [event.step for event in events.Images("preview")] == [3]


def test_without_tensorboard_it_says_what_to_install(
    source: FaceGenerator, styles: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(RuntimeError, match="pip install tensorboard"):
        finetune(source, styles, quick(steps=1, tensorboard=True), run_dir=tmp_path)

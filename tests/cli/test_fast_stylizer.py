"""`train-stylizer` and `stylise --stylizer` from folder to picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facestylist.cli.main import main
from facestylist.models import checkpoints


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for name in ("a", "b"):
        pixels = random.randint(0, 255, (56, 64, 3)).astype(np.uint8)
        for folder, picture in (("before", pixels), ("after", 255 - pixels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_train_and_use(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = [
        "train-stylizer",
        "--before",
        "before",
        "--after",
        "after",
        "--out",
        "negative.safetensors",
        "--steps",
        "2",
        "--batch-size",
        "1",
        "--size",
        "48",
        "--width",
        "0.25",
        "--preview-interval",
        "0",
    ]
    assert main([*train, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["style_name"] == "negative" and told["last"]["step"] == 2
    rate = told["settings"]["learning_rate"]
    assert main(["stylise", "before/a.png", "--stylizer", "negative.safetensors", "--out", "out", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(file).name for file in told["photos"][0]["files"]] == ["a_negative.png"]
    with Image.open(work / "out" / "a_negative.png") as picture:
        assert picture.size == (64, 56)
    first = checkpoints.load_stylizer("negative.safetensors").network.state_dict()
    train[6] = "later.safetensors"
    assert main([*train, "--start", "negative.safetensors", "--seed", "1", "--width", "0.5"]) == 0
    later = checkpoints.load_stylizer("later.safetensors").network.state_dict()
    # It began there, moved by two steps of Adam, each of the learning rate at most.
    assert all(torch.allclose(later[name], value, rtol=0, atol=2 * rate) for name, value in first.items())
    assert main(["inspect", "negative.safetensors"]) == 0
    assert "stylizer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stylise", "a.png", "--out", "out"], "one of --style and --stylizer"),
        (["train-stylizer", "--out", "x.safetensors"], "one of --look, --pairs"),
        (["train-stylizer", "--before", "before", "--out", "x.safetensors"], "go together"),
        (
            ["train-stylizer", "--look", "sketch", "--start", "embedded:student-cartoon", "--out", "x.safetensors"],
            "draws with the medium cel, the sketch with pencil",
        ),
        (["train-stylizer", "--look", "sketch", "--as-rendered", "2", "--out", "x.safetensors"], "0 to 1"),
        (["train-stylizer", "--pairs", "p.safetensors", "--out", "x.safetensors"], "needs --target"),
    ],
)
def test_wrong_usage(work: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_an_unknown_student_is_named(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stylise", "before/a.png", "--style", "chalk", "--fast", "--out", "out"]) == 1
    assert "student-chalk" in capsys.readouterr().err

"""The command line's manners: exit status, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.commands import COMMANDS
from facestylist.cli.commands import run as run_command
from facestylist.cli.files import read_array, write_array
from facestylist.cli.main import main
from facestylist.cli.options import seeds
from facestylist.cli.photos import unique_stems


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Default folders are those of the working directory."""
    monkeypatch.chdir(tmp_path)


def write_workflow(path: Path, picture: str = "a.png") -> Path:
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    path.write_text(json.dumps(nodes))
    return path


def make_input(folder: Path) -> None:
    folder.mkdir()
    Image.new("RGB", (4, 3), (10, 20, 30)).save(folder / "a.png")


def test_help_loads_nothing_heavy() -> None:
    code = """
        import sys
        from facestylist.cli.main import main
        try:
            main(["--help"])
        except SystemExit as stop:
            assert stop.code == 0
        heavy = {"torch", "numpy", "PIL", "kornia"} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"\n    {name}" in done.stdout


def test_a_command_loads_no_other() -> None:
    code = """
        import sys
        from facestylist.cli.main import main
        try:
            main(["inspect", "--help"])
        except SystemExit as stop:
            assert stop.code == 0
        print(sorted(name for name in sys.modules if name.startswith("facestylist.cli.commands.")))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "['facestylist.cli.commands.inspect']", done.stderr


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_and_the_common_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in ("--device", "--models-dir", "--seed", "--json", "--traceback"):
        assert option in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["run"],
        ["run", "x.json", "--seed", "-1"],
        ["run", "x.json", "--device", "toaster"],
        ["generate", "embedded", "--seeds", "3-1"],
        ["generate", "embedded", "--z", "a", "--seeds", "0"],
        ["stylise", "a.png", "--style", "cartoon", "--out", "d", "--strength", "2"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["convert", "a.pt", "b.ckpt"], "has to end in .safetensors"),
        (["finetune", "--styles", "s", "--out", "a.pt"], "has to end in .safetensors"),
        (["finetune", "--styles", "s", "--out", "a.safetensors", "--resume", "nowhere"], "no run in nowhere"),
        (["render", "--count", "1", "--style", "baroque", "--out", "d"], "no style 'baroque'"),
        (["invert", "a.png", "--generator", "my.pt", "--steps", "0", "--out", "w.npy"], "an --encoder is needed"),
    ],
)
def test_combinations_that_mean_nothing_are_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "missing.json"], "There is no workflow missing.json"),
        (["render", "--count", "1", "--out", "d", "--device", "cuda:99"], "cuda"),
        (["run", "w.json"], "There is no picture"),
        (["run", "w.json", "--server", "ftp://x"], "is not the address of a ComfyUI server"),
        (["run", "w.json", "--server", "127.0.0.1:9"], "No ComfyUI answers at http://127.0.0.1:9"),
        (["inspect", "nothing.pt"], "nothing.pt"),
        (["generate", "nothing.pt"], "There is no model 'nothing.pt'"),
        (["align", "nothing.png", "--out", "d", "--detector", "yunet"], "YuNet"),
    ],
)
def test_failure_is_1_and_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_workflow(tmp_path / "w.json", "missing.png")
    assert main(arguments) == 1
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "missing.json", "--traceback"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_command, "run", interrupted)
    assert main(["run", "x.json"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_an_error_nobody_phrased_keeps_its_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("colour")

    monkeypatch.setattr(run_command, "run", broken)
    assert main(["run", "x.json"]) == 1
    assert "KeyError: 'colour'" in capsys.readouterr().err


def test_run_prints_paths_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_input(tmp_path / "input")
    workflow = write_workflow(tmp_path / "w.json")
    assert main(["run", str(workflow), "--set", "2.filename_prefix=deep/y"]) == 0
    shown = capsys.readouterr()
    path = tmp_path / "output" / "deep" / "y_00001_.png"
    assert shown.out == f"{path}\n"
    assert "[2/2] Save Image (node 2)" in shown.err
    with Image.open(path) as picture:
        assert picture.getpixel((0, 0)) == (10, 20, 30)

    assert main(["run", str(workflow), "--output-dir", str(tmp_path / "o"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["files"] == [str(tmp_path / "o" / "x_00001_.png")]
    assert record["outputs"]["2"]["files"] == record["files"]


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    make_input(tmp_path / "input")
    workflow = write_workflow(tmp_path / "w.json")
    command = f"{sys.executable} -m facestylist run {workflow} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_seed_ranges() -> None:
    assert seeds("0-3,7") == [0, 1, 2, 3, 7]


def test_arrays(tmp_path: Path) -> None:
    array = np.random.RandomState(0).randn(2, 3).astype(np.float64)
    np.save(tmp_path / "a.npy", array)
    assert np.allclose(read_array(str(tmp_path / "a.npy"), (None, 3), "codes").numpy(), array)
    path = write_array(read_array(str(tmp_path / "a.npy"), (None, 3), "codes"), tmp_path / "deep" / "raw")
    assert path.name == "raw"
    assert np.load(path).dtype == np.float32
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("hello")
    for name, sentence in [
        ("a.npy", r"codes, \[N, 4\], is needed, and the file holds an array \[2, 3\]"),
        ("o.npy", "no arrays of numbers are in it"),
        ("text.npy", r"this is a text.*Accepted are arrays in \.npy"),
        ("none.npy", "There is no file"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            read_array(str(tmp_path / name), (None, 4), "codes")


def test_stems_stay_apart() -> None:
    assert unique_stems(["a/x.png", "b/x.jpg", "y.png"]) == ["x", "x-2", "y"]

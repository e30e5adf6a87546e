"""What cannot be written is found before any work: one sentence for every command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facestylist.cli.main import main
from facestylist.core.files import check_writable, make_folder, write_atomically

FILES = {
    "finetune": ["--styles", "s"],
    "train-pairs": ["--style", "s.pt", "--pairs", "p.safetensors"],
    "train-stylizer": ["--look", "sketch"],
    "train-encoder": [],
    "train-detector": [],
    "pairs": ["--target", "cartoon"],
    "invert": ["a.png", "--generator", "embedded"],
}
FOLDERS = {
    "render": ["--count", "1"],
    "stylise": ["a.png", "--style", "cartoon"],
    "align": ["a.png"],
    "generate": ["embedded"],
    "demo": [],
    "train-embedded": ["--quick"],
    "train-base": ["--photos", "."],
}
COMMANDS = [
    *([name, *rest, "--out", "afile/x.safetensors"] for name, rest in FILES.items()),
    *([name, *rest, "--out", "afile/x"] for name, rest in FOLDERS.items()),
    *([name, *FILES[name], "--out", "x.safetensors", "--run-dir", "afile/x/y"] for name in FILES if "train" in name),
    ["generate", "embedded", "--raw", "afile/x.npy"],
    ["encode", "embedded", "--images", "x.npy", "--raw", "afile/x.npy"],
    ["discriminate", "embedded", "--images", "x.npy", "--raw", "afile/x.npy"],
    ["convert", "embedded", "afile/x.safetensors"],
    ["invert", "a.png", "--generator", "embedded", "--out", "w.npy", "--pivotal", "afile/x.safetensors"],
    ["invert", "a.png", "--generator", "embedded", "--out", "w.npy", "--reconstructions", "afile/x"],
    ["pairs", "--target", "cartoon", "--out", "x.safetensors", "--export", "afile/x"],
    ["run", "w.json", "--output-dir", "afile/x"],
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("x")
    Path("w.json").write_text("{}")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_file_in_the_place_of_a_folder_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert said == "afile is a file, and a folder is needed in its place. Choose another name, or move the file.\n"
    assert sorted(os.listdir()) == ["afile", "w.json"], "nothing was begun"


def test_what_can_and_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(Path("new.npy"), Path("a/b/c.npy"), None, Path("afile"), Path(os.devnull))
    check_writable(Path("a/b"), tmp_path, folder=True)
    assert sorted(os.listdir()) == ["afile", "w.json"], "it leaves nothing behind"
    with pytest.raises(ValueError, match="is a folder. Give the name of a file in it"):
        check_writable(tmp_path)
    with pytest.raises(ValueError, match="afile is a file, and a folder is needed"):
        check_writable(Path("afile"), folder=True)
    with pytest.raises(ValueError, match="cannot be written .File name too long"):
        check_writable(Path("x" * 300) / "y")
    with pytest.raises(OSError, match="afile is a file, and a folder is needed"):
        make_folder(Path("afile/b"))
    with pytest.raises(OSError, match="afile is a file, and a folder is needed"):
        write_atomically(Path("afile/b.npy"), b"")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(ValueError, match="new.npy cannot be written .Read-only file system.. Choose another place"):
        check_writable(Path("new.npy"))

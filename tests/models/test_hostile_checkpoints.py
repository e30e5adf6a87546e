"""Files that attack: every one is refused with a sentence, soon, with nothing run and no memory taken.

The files are made here (`hostile_files.py`) and read in a process of its own, whose memory can be watched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import hostile_files
import pytest

NAMES = list(hostile_files.corpus())
SECONDS = 2.0
GROWTH = 96 << 20
"""Bytes by which a file may raise the process's peak beyond twice its own size."""
LIBRARIES = ("facestylist", "torch", "numpy", "encodings")
DESCRIBED = ("safetensors: ours, wide",)
"""An incomplete file: `inspect` says what it lacks, without building anything."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process's peak memory is read as POSIX has it")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What reading each file came to."""
    folder, elsewhere = tmp_path_factory.mktemp("hostile"), tmp_path_factory.mktemp("cwd")
    hostile_files.write(folder)
    command = [sys.executable, str(Path(hostile_files.__file__)), str(folder)]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert not list(elsewhere.iterdir()), "a file left its canary"
    assert not list(Path.cwd().glob(f"{hostile_files.CANARY}*"))
    return dict(zip(NAMES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_refused_at_once_with_nothing_run(name: str, results: dict[str, dict[str, Any]]) -> None:
    result = results[name]
    for outcome in result["outcomes"][name in DESCRIBED :]:
        assert outcome != "read", "it was accepted"
        assert not outcome.startswith("!"), outcome
        assert "\n" not in outcome and outcome.endswith(".") and len(outcome) < 900, outcome
        assert outcome.isprintable(), "a name in the file reached the terminal as it is"
    assert result["seconds"] < SECONDS
    assert result["grown"] < GROWTH + 2 * result["size"]
    assert not [module for module in result["modules"] if not module.startswith(LIBRARIES)]


def test_the_attacks_are_real(tmp_path: Path) -> None:
    """The corpus would do what it says to someone who unpickles."""
    data = hostile_files.corpus()["pickle: builtins.exec"]
    program = f"import pickle; pickle.loads({data!r})"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)  # noqa: S603
    assert (tmp_path / hostile_files.CANARY).exists()

"""Every training command, with signals at moments spread over its run; `tools/bench/interrupts.py` tries many more."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from facestylist.tools.bench.interrupts import Trials, run
from facestylist.tools.bench.small_trainings import Training, trainings
from facestylist.training.kit.kept import kept_losses, kept_step

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="trials are forks of this process")
INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGKILL", 9)
QUICK = [
    ("finetune", (INT, KILL)),
    ("train-pairs", (TERM,)),
    ("train-stylizer", (TERM, KILL)),
    ("train-encoder", (INT,)),
]
SLOW = [
    pytest.param(name, (number,), marks=pytest.mark.slow)
    for name, number in (("train-detector", TERM), ("train-embedded", INT))
]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Training]:
    torch.set_num_threads(1)
    return trainings(tmp_path_factory.mktemp("networks"))


@pytest.mark.parametrize(("name", "numbers"), [*QUICK, *SLOW])
def test_nothing_is_lost_whatever_ends_it(
    name: str, numbers: tuple[int, ...], known: dict[str, Training], tmp_path: Path
) -> None:
    trials = Trials(known[name], tmp_path)
    moments = random.Random(name)
    for number in numbers:
        assert trials(number, moments)[1] == []


def test_a_folder_is_resumed_only_with_what_it_was_begun_with(known: dict[str, Training], tmp_path: Path) -> None:
    """The command line's view; what belongs to a run is tested in tests/training/test_identity.py."""
    training = known["train-encoder"]
    begun = training.command(tmp_path / "run", tmp_path / "out", False)
    again = [*training.command(tmp_path / "run", tmp_path / "later", True), "--seed", "3"]
    assert "holds no run to go on from" in run(again).said
    assert run(begun).status == 0
    told = run(begun)
    assert told.status == 1 and "already holds a run" in told.said
    told = run(again)
    assert told.status == 1 and "other settings (seed)" in told.said and not (tmp_path / "later").exists()


def test_signals_while_the_process_ends_change_nothing(known: dict[str, Training], tmp_path: Path) -> None:
    arguments = known["finetune"].command(tmp_path / "run", tmp_path / "out", False)
    command = [sys.executable, "-m", "facestylist", *arguments, "--steps", "500"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        while kept_losses(tmp_path / "run") < 2 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(INT)
        said = []
        for line in process.stderr:
            said.append(line)
            if "The same command" in line:
                process.send_signal(TERM)
                process.send_signal(INT)
    assert process.returncode == 130, "".join(said)
    step = kept_step(tmp_path / "run")
    assert step == kept_losses(tmp_path / "run") >= 2
    assert said[-1] == (
        f"The run is kept in {tmp_path / 'run'} after step {step}. The same command with --resume {tmp_path / 'run'} "
        "goes on from there.\n"
    )

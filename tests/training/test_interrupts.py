"""Signals at any moment of a training: the last finished step is kept, and a resumed run is as one never stopped."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import Interrupt, Walk, raise_at

from facestylist.core.callbacks import Callbacks
from facestylist.training.kit import interrupts, run_folder
from facestylist.training.kit.distributed import Processes
from facestylist.training.kit.interrupts import as_keyboard_interrupt, hand_over, held_back
from facestylist.training.kit.kept import CannotResume, check_run, kept_losses, kept_step
from facestylist.training.kit.loop import train
from facestylist.training.kit.step import Step

STEPS, SNAPSHOT = 5, 2
TRACED = ("training/kit/loop.py", "training/kit/run_folder.py", "training/kit/interrupts.py", "core/files.py")


def walk(run_dir: Path | None, resume: bool = False, steps: int = STEPS) -> tuple[torch.Tensor, list[dict[str, float]]]:
    task = Walk(bad_steps=(3,))
    rows = train(task, steps, run_dir=run_dir, resume=resume, snapshot_interval=SNAPSHOT, preview_interval=SNAPSHOT)
    return task.place, rows


class SignalAt:
    """Sends this process signals before line number `moment` of our code, counted as lines are executed."""

    def __init__(self, moment: int, *numbers: int) -> None:
        self.moment, self.numbers, self.lines = moment, numbers, 0

    def __call__(self, frame: Any, event: str, _: Any) -> Any:
        if event == "call" and not frame.f_code.co_filename.replace(os.sep, "/").endswith(TRACED):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.moment:
                for number in self.numbers:
                    signal.raise_signal(number)
        return self

    def run(self, run_dir: Path) -> bool:
        """Whether the training was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            walk(run_dir)
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


@pytest.mark.skipif(os.name == "nt", reason="signals are another thing there")
def test_a_signal_before_any_line_keeps_the_last_finished_step(tmp_path: Path) -> None:
    place, rows = walk(tmp_path / "whole")
    table = (tmp_path / "whole/losses.csv").read_bytes()
    with as_keyboard_interrupt():
        counting = SignalAt(0)
        assert not counting.run(tmp_path / "counted")
        kept = set()
        for moment in range(1, counting.lines + 1, 17):
            run_dir = tmp_path / str(moment)
            twice = (signal.SIGINT, signal.SIGTERM)[: 1 + moment % 2]
            interrupts._interrupts.forget()
            assert SignalAt(moment, *twice).run(run_dir), f"the signal at {moment} was swallowed"
            step = kept_step(run_dir)
            kept.add(step)
            # Step 3 is not finite and has no row.
            assert kept_losses(run_dir) == step - (step > 2), "a finished step was lost"
            assert not list(run_dir.rglob("*.tmp"))
            again, resumed = walk(run_dir, resume=True)
            assert torch.equal(again, place) and resumed == rows, f"another course after a signal at {moment}"
            assert (run_dir / "losses.csv").read_bytes() == table
    assert kept == set(range(STEPS + 1)), "moments before, in and after every step"


def test_signals_that_nobody_handles_are_left_alone_afterwards() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with pytest.raises(KeyboardInterrupt), held_back() as held:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert held.came
        with held_back():
            pass  # the outermost block decides
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with held_back() as held:
            signal.raise_signal(signal.SIGTERM)
            assert not held.came, "what nohup has switched off stays off"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_second_signal_does_not_disturb_the_way_out() -> None:
    tidied = False
    with as_keyboard_interrupt(), pytest.raises(KeyboardInterrupt):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            tidied = True
    assert tidied


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_the_error_of_saving_never_takes_the_place_of_what_ended_a_search(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def keep(_: int) -> None:
        raise OSError(17, "File exists")

    with pytest.raises(kind, match="first"):
        try:
            raise kind("first")
        except BaseException:
            hand_over(lambda: keep(1))
            raise
    assert "could not be saved: [Errno 17] File exists" in caplog.text


def test_an_interrupt_stays_one_where_the_state_cannot_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder.RunFolder, "save", refuse)
    interrupt = Callbacks(on_progress=lambda step, *_: signal.raise_signal(signal.SIGINT) if step == 2 else None)
    with pytest.raises(KeyboardInterrupt):
        train(Walk(), 9, interrupt, tmp_path)
    assert "Permission denied" in caplog.text and "No state was kept" in caplog.text


def test_slow_steps_are_saved_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facestylist.training.kit import loop

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)

    class Killed(Walk):
        def step(self, at: Step) -> dict[str, float]:
            if at.number == 4:
                raise ValueError  # nothing more is saved
            return super().step(at)

    with pytest.raises(ValueError):
        train(Killed(), 9, run_dir=tmp_path, snapshot_interval=1000)
    assert kept_step(tmp_path) == 3


def killed_at(run_dir: Path, step: int) -> bytes:
    """A run that was killed after `step`, its state being older; its loss table."""

    class Killed(Walk):
        def step(self, at: Step) -> dict[str, float]:
            if at.number == step + 1:
                raise ValueError
            return super().step(at)

    with pytest.raises(ValueError):
        train(Killed(), 9, run_dir=run_dir, snapshot_interval=4)
    return (run_dir / "losses.csv").read_bytes()


def test_rows_beyond_the_state_are_never_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(Walk(), 9, run_dir=tmp_path / "whole", snapshot_interval=4)
    run_dir = tmp_path / "run"
    known = killed_at(run_dir, 7)
    assert kept_step(run_dir) == 4 and known.count(b"\n") == 8
    with pytest.raises(Interrupt):
        train(Walk(), 9, raise_at(5), run_dir, resume=True, snapshot_interval=4)
    assert "the steps up to 7, which no state was saved of, are done again" in caplog.text
    assert (run_dir / "losses.csv").read_bytes() == known, "an interrupted resume has not shortened it"
    train(Walk(), 9, run_dir=run_dir, resume=True, snapshot_interval=4)
    assert (run_dir / "losses.csv").read_bytes() == (tmp_path / "whole/losses.csv").read_bytes()
    assert not list(run_dir.glob("losses-*"))


def test_rows_that_come_out_otherwise_are_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = killed_at(tmp_path, 7)
    lines = known.splitlines(keepends=True)
    other = b"".join([*lines[:6], b"6.0,0.5,\n", *lines[7:]])
    (tmp_path / "losses.csv").write_bytes(other)
    rows = train(Walk(), 9, run_dir=tmp_path, resume=True)
    assert rows == train(Walk(), 9) and kept_losses(tmp_path) == 9
    assert (tmp_path / "losses-1.csv").read_bytes() == other and "Step 6 came out otherwise" in caplog.text


def test_losses_without_a_state_are_spoken_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = killed_at(tmp_path, 3)
    with pytest.raises(CannotResume, match="the losses of 3 steps, but no state to go on from"):
        check_run(tmp_path, resume=True, begun=True)
    assert len(train(Walk(), 9, run_dir=tmp_path, resume=True)) == 9
    assert "begins anew" in caplog.text and (tmp_path / "losses-1.csv").read_bytes() == known
    with pytest.raises(CannotResume, match="holds no run to go on from"):
        check_run(tmp_path / "nowhere", resume=True, begun=True)


def test_a_damaged_state_is_moved_and_not_deleted(tmp_path: Path) -> None:
    train(Walk(), 8, run_dir=tmp_path, snapshot_interval=4)
    (tmp_path / "state/step-00000008.pt").write_bytes(b"nothing")
    train(Walk(), 8, run_dir=tmp_path, resume=True)
    assert (tmp_path / "damaged-step-00000008.pt").read_bytes() == b"nothing"


def interrupted_together(folder: Path, processes: Processes) -> dict[str, Any]:
    """A training of two processes, of which the one that writes nothing gets a signal in the middle of a step."""

    class Told(Walk):
        def step(self, at: Step) -> dict[str, float]:
            if at.number == 3 and not processes.is_main:
                signal.raise_signal(signal.SIGTERM)
            return super().step(at)

    run_dir = folder / "run"
    try:
        train(Told(), 9, run_dir=run_dir, snapshot_interval=100, processes=processes)
    except KeyboardInterrupt:
        return {"interrupted": True, "kept": kept_step(run_dir), "losses": kept_losses(run_dir)}
    return {"interrupted": False}


def test_a_signal_to_one_of_two_processes_ends_both_with_everything_kept(tmp_path: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="several processes need it: pip install lightning-fabric")
    from two_processes import run_two

    first, second = run_two("test_interrupts.interrupted_together", tmp_path)
    assert first == second == {"interrupted": True, "kept": 3, "losses": 3}

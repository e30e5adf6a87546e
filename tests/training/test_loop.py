"""The training loop on a task small enough to see through: resumption, interruption, non-finite steps, files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.training.kit.kept import CannotResume
from facestylist.training.kit.loop import DiskFull, OutOfMemory, TrainingDiverged, train
from facestylist.training.kit.run_folder import STATE_FORMAT
from facestylist.training.kit.state import Attributes, State
from facestylist.training.kit.step import NonFiniteLoss, Step, require_finite


class Walk:
    """A random walk: its state is its place and its random generator."""

    terms: tuple[str, ...] = ("place", "odd")

    def __init__(self, bad_steps: tuple[int, ...] = ()) -> None:
        self.random = torch.Generator().manual_seed(3)
        self.place = torch.zeros(2)
        self.bad_steps = bad_steps
        self.state = State(random=self.random, walked=Attributes(self, "place"))

    def step(self, at: Step) -> dict[str, float]:
        step = at.number
        move = torch.randn(2, generator=self.random)
        if step in self.bad_steps:
            require_finite({"place": torch.tensor(1.0), "odd": torch.tensor(float("nan"))})
        self.place = self.place + move
        return {"place": self.place.sum().item()} | ({"odd": float(step)} if step % 2 else {})

    def preview(self) -> Tensor:
        return torch.full((3, 8, 8), 0.5)


class Interrupt(Exception):
    """Stands for ComfyUI's InterruptProcessingException, which is an Exception too."""


def raise_at(at: int) -> Callbacks:
    def on_progress(step: int, total: int, losses: dict[str, float]) -> None:
        if step == at:
            raise Interrupt

    return Callbacks(on_progress=on_progress)


def test_progress_and_previews_are_reported() -> None:
    seen: list[tuple[int, int, list[str]]] = []
    previews: list[int] = []
    callbacks = Callbacks(
        on_progress=lambda step, total, losses: seen.append((step, total, list(losses))),
        on_preview=lambda step, picture: previews.append(step),
    )
    rows = train(Walk(), 5, callbacks, preview_interval=2)
    assert seen[0] == (1, 5, ["place", "odd"]) and seen[-1][0] == 5
    assert previews == [2, 4, 5], "every second step and the last"
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("interrupted_at", [1, 4, 6, 9])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, interrupted_at: int) -> None:
    whole = Walk()
    rows = train(whole, 9, run_dir=tmp_path / "whole", snapshot_interval=4)
    with pytest.raises(Interrupt):
        train(Walk(), 9, raise_at(interrupted_at), tmp_path / "run", snapshot_interval=4)
    resumed = Walk()
    assert train(resumed, 9, run_dir=tmp_path / "run", resume=True, snapshot_interval=4) == rows
    assert torch.equal(resumed.place, whole.place)
    assert (tmp_path / "run/losses.csv").read_text() == (tmp_path / "whole/losses.csv").read_text()


def test_killed_run_forgets_rows_after_its_last_state(tmp_path: Path) -> None:
    whole, run_dir = Walk(), tmp_path / "run"
    rows = train(whole, 6)

    class Dies(Walk):
        def step(self, at: Step) -> dict[str, float]:
            if at.number == 6:
                raise MemoryError  # inside a step: nothing is saved, as in a kill
            return super().step(at)

    with pytest.raises(MemoryError):
        train(Dies(), 6, run_dir=run_dir, snapshot_interval=3)
    with (run_dir / "losses.csv").open("a") as file:
        file.write("6,0.")  # a row cut short
    assert [p.name for p in (run_dir / "state").iterdir()] == ["step-00000003.pt"]
    resumed = Walk()
    assert train(resumed, 6, run_dir=run_dir, resume=True) == rows
    assert torch.equal(resumed.place, whole.place)


def test_should_stop_ends_in_good_order_and_can_be_continued(tmp_path: Path) -> None:
    done: list[int] = []
    callbacks = Callbacks(on_progress=lambda step, *_: done.append(step), should_stop=lambda: len(done) == 3)
    assert len(train(Walk(), 8, callbacks, tmp_path)) == 3
    resumed, whole = Walk(), Walk()
    train(whole, 8)
    assert len(train(resumed, 8, run_dir=tmp_path, resume=True)) == 8
    assert torch.equal(resumed.place, whole.place)


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    rows = train(Walk(), 3, run_dir=tmp_path)
    again = Walk()
    assert train(again, 3, raise_at(4), tmp_path, resume=True) == rows


def test_state_rotates_and_a_damaged_newest_one_is_stepped_over(tmp_path: Path) -> None:
    whole = Walk()
    rows = train(whole, 10)
    train(Walk(), 7, run_dir=tmp_path, snapshot_interval=2)
    states = sorted((tmp_path / "state").iterdir())
    assert [p.name for p in states] == ["step-00000006.pt", "step-00000007.pt"]
    states[1].write_bytes(states[1].read_bytes()[:100])
    resumed = Walk()
    assert train(resumed, 10, run_dir=tmp_path, resume=True) == rows
    assert torch.equal(resumed.place, whole.place)


def test_no_readable_state_is_said(tmp_path: Path) -> None:
    train(Walk(), 2, run_dir=tmp_path)
    for path in (tmp_path / "state").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(CannotResume, match="Start again in an empty folder"):
        train(Walk(), 3, run_dir=tmp_path, resume=True)


def test_other_settings_and_used_folders_are_refused(tmp_path: Path) -> None:
    train(Walk(), 2, run_dir=tmp_path, settings={"rate": 1.0, "size": 3})
    with pytest.raises(CannotResume, match=r"other settings \(rate\)"):
        train(Walk(), 3, run_dir=tmp_path, resume=True, settings={"rate": 2.0, "size": 3})
    with pytest.raises(CannotResume, match="already holds a run"):
        train(Walk(), 3, run_dir=tmp_path, settings={"rate": 1.0, "size": 3})


def test_a_non_finite_step_is_left_out_and_counted() -> None:
    reported: list[dict[str, float]] = []
    callbacks = Callbacks(on_progress=lambda step, total, losses: reported.append(losses))
    rows = train(Walk(bad_steps=(2, 3, 5, 6)), 7, callbacks)
    assert [row["step"] for row in rows] == [1, 4, 7]
    assert reported[1] == {} and len(reported) == 7


def test_three_in_a_row_stop_with_the_terms_name_and_the_good_state(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="`odd` was not a finite number in 3 steps in a row .* step 6"):
        train(Walk(bad_steps=(4, 5, 6)), 9, run_dir=tmp_path)
    good, resumed = Walk(), Walk()
    train(good, 3)
    train(resumed, 3, run_dir=tmp_path, resume=True)
    assert torch.equal(good.place, resumed.place)


def test_bad_steps_in_a_row_are_counted_across_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Interrupt):
        train(Walk(bad_steps=(3, 4, 5)), 9, raise_at(4), tmp_path)
    with pytest.raises(TrainingDiverged):
        train(Walk(bad_steps=(3, 4, 5)), 9, run_dir=tmp_path, resume=True)


def test_first_non_finite_term_is_named() -> None:
    with pytest.raises(NonFiniteLoss, match="`b`"):
        require_finite({"a": torch.tensor(1.0), "b": torch.tensor(float("inf")), "c": torch.tensor(float("nan"))})


def test_files_of_a_run(tmp_path: Path) -> None:
    train(Walk(), 4, run_dir=tmp_path, preview_interval=2, settings={"a": 1})
    with (tmp_path / "losses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "place", "odd"] and len(rows) == 4
    assert rows[1]["odd"] == "" and rows[2]["odd"] == "3.0"
    assert sorted(p.name for p in (tmp_path / "previews").iterdir()) == ["step-000002.png", "step-000004.png"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_stop_file_ends_in_good_order(tmp_path: Path) -> None:
    def on_progress(step: int, total: int, losses: dict[str, float]) -> None:
        if step == 3:
            (tmp_path / "stop").touch()

    assert len(train(Walk(), 9, Callbacks(on_progress=on_progress), tmp_path)) == 3
    assert not (tmp_path / "stop").exists()
    resumed, whole = Walk(), Walk()
    train(whole, 9)
    assert len(train(resumed, 9, run_dir=tmp_path, resume=True)) == 9
    assert torch.equal(resumed.place, whole.place)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 8")]
)
def test_out_of_memory_is_a_sentence(tmp_path: Path, error: Exception) -> None:
    class Large(Walk):
        def step(self, at: Step) -> dict[str, float]:
            if at.number == 4:
                raise error
            return super().step(at)

    with pytest.raises(OutOfMemory, match="step 4. Lower `batch_size`, raise `accumulate`.*after step 2 is kept"):
        train(Large(), 9, run_dir=tmp_path, snapshot_interval=2)


@pytest.mark.parametrize("file", ["losses.csv", "step-00000004.pt", "step-000004.png"])
def test_a_full_disk_is_a_sentence_and_keeps_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """ENOSPC on one file of step 4: the disk refuses its bytes, as a full one does."""
    import errno

    from facestylist.core import files
    from facestylist.training.kit import loop

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if file == "losses.csv":
        append = loop.RunFolder.append
        monkeypatch.setattr(
            loop.RunFolder, "append", lambda self, row: refuse() if row["step"] == 4 else append(self, row)
        )
    else:
        replace = files.os.replace
        monkeypatch.setattr(files.os, "replace", lambda a, b: refuse() if Path(b).name == file else replace(a, b))
    with pytest.raises(DiskFull, match="after step 4: No space left.*The state after step [24] is kept"):
        train(Walk(), 9, run_dir=tmp_path, snapshot_interval=2, preview_interval=4)
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    resumed, whole = Walk(), Walk()
    rows = train(whole, 9)
    assert train(resumed, 9, run_dir=tmp_path, resume=True, snapshot_interval=2) == rows
    assert torch.equal(resumed.place, whole.place)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {here!r})
import torch
from test_loop import Walk
from facestylist.training.kit.state import Attributes, State
from facestylist.training.kit.loop import DiskFull, train
class Grows(Walk):
    def __init__(self):
        super().__init__()
        self.ballast = torch.zeros(0)
        self.state = State(**self.state.parts, heavy=Attributes(self, "ballast"))
    def step(self, at):
        self.ballast = torch.zeros(at.number * 10_000)
        return super().step(at)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    train(Grows(), 9, run_dir=Path({run_dir!r}), snapshot_interval=2)
except DiskFull as error:
    sys.exit("said: " + str(error))
"""


def test_a_limit_on_file_sizes_is_a_sentence_and_keeps_the_last_state(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = LIMITED.format(here=str(Path(__file__).parent), run_dir=str(tmp_path / "run"))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1, "an exit status of its own, not a signal"
    assert "said: " in ended.stderr and "File too large" in ended.stderr and "after step 4 is kept" in ended.stderr
    resumed, whole = Walk(), Walk()
    assert train(resumed, 9, run_dir=tmp_path / "run", resume=True) == train(whole, 9)
    assert torch.equal(resumed.place, whole.place)


def test_a_task_may_say_that_it_is_finished_and_the_last_preview_is_of_the_end(tmp_path: Path) -> None:
    class Content(Walk):
        steps = 0

        def step(self, at: Step) -> dict[str, float]:
            self.steps = at.number
            return super().step(at)

        @property
        def finished(self) -> bool:
            return self.steps >= 5

    previews: list[int] = []
    told = Callbacks(on_preview=lambda step, _: previews.append(step))
    assert len(train(Content(), 9, told, tmp_path, preview_interval=2)) == 5
    assert previews == [2, 4, 5]

    previews.clear()
    done: list[int] = []
    stop = Callbacks(
        on_progress=lambda step, *_: done.append(step),
        on_preview=lambda step, _: previews.append(step),
        should_stop=lambda: done[-1:] == [3],
    )
    train(Walk(), 9, stop, preview_interval=2)
    assert previews == [2, 3], "ended by hand, too"


def test_a_damaged_state_does_not_stand_in_the_way_of_later_ones(tmp_path: Path) -> None:
    train(Walk(), 8, run_dir=tmp_path, snapshot_interval=4)
    newest = tmp_path / "state/step-00000008.pt"
    newest.write_bytes(b"nothing")
    done: list[int] = []
    stop = Callbacks(on_progress=lambda step, *_: done.append(step), should_stop=lambda: done[-1:] == [6])
    train(Walk(), 8, stop, tmp_path, resume=True, snapshot_interval=1)
    assert [p.name for p in sorted((tmp_path / "state").iterdir())] == ["step-00000005.pt", "step-00000006.pt"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[", b"[1]", b'"x"', b"{" * 5000])
def test_damaged_settings_of_a_run_are_a_sentence(tmp_path: Path, content: bytes) -> None:
    train(Walk(), 4, run_dir=tmp_path, snapshot_interval=2)
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(CannotResume, match="settings.json cannot be read. Start again"):
        train(Walk(), 6, run_dir=tmp_path, snapshot_interval=2, resume=True)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\n1,2\n", b"place\n1\n", b"step,place\nstep,place\n", b'step,"pl\n1,1\n', b"\0"]
)
def test_a_damaged_loss_table_does_not_end_a_run(tmp_path: Path, content: bytes) -> None:
    train(Walk(), 4, run_dir=tmp_path, snapshot_interval=2)
    (tmp_path / "losses.csv").write_bytes(content)
    rows = train(Walk(), 6, run_dir=tmp_path, snapshot_interval=2, resume=True)
    assert [row["step"] for row in rows][-2:] == [5, 6]


@pytest.mark.parametrize(
    "content",
    [{}, [1], {"format": STATE_FORMAT}, {"format": STATE_FORMAT, "step": 4, "bad_steps": 0, "task": {"random": 1}}],
)
def test_a_state_of_another_make_is_stepped_over(tmp_path: Path, content: Any) -> None:
    """The newest one is read and does not fit, the one before does."""
    train(Walk(), 4, run_dir=tmp_path, snapshot_interval=2)
    newest = sorted((tmp_path / "state").glob("step-*.pt"))[-1]
    torch.save(content, newest)
    resumed, whole = Walk(), Walk()
    rows = train(resumed, 6, run_dir=tmp_path, snapshot_interval=9, resume=True)
    assert [row["step"] for row in rows] == [*range(1, 7)]
    train(whole, 6)
    assert torch.equal(resumed.place, whole.place)


def test_an_older_state_is_refused(tmp_path: Path) -> None:
    train(Walk(), 4, run_dir=tmp_path)
    newest = sorted((tmp_path / "state").glob("step-*.pt"))[-1]
    torch.save(torch.load(newest, weights_only=True) | {"format": STATE_FORMAT - 1}, newest)
    with pytest.raises(CannotResume, match="is of format 1; this version reads 2. Start again in an empty folder"):
        train(Walk(), 6, run_dir=tmp_path, resume=True)

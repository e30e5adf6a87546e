"""Work in parts: every item once, progress after each part, and an early end where it is asked for."""

from __future__ import annotations

from facestylist.core.callbacks import Callbacks, batched


def test_parts_cover_everything_once_and_tell_how_far_they_are() -> None:
    told: list[tuple[int, int]] = []
    callbacks = Callbacks(on_progress=lambda done, total, losses: told.append((done, total)))
    rows = [list(range(10))[part] for part in batched(10, 4, callbacks)]
    assert rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert list(batched(0, 4, callbacks)) == [] and len(told) == 3


def test_a_stop_leaves_the_rest_out() -> None:
    answers = iter([False, True])
    assert len(list(batched(10, 3, Callbacks(should_stop=lambda: next(answers))))) == 2


def test_after_tells_the_losses_and_asks() -> None:
    told: list[dict[str, float]] = []
    callbacks = Callbacks(on_progress=lambda step, total, losses: told.append(losses), should_stop=lambda: True)
    assert callbacks.after(1, 2, {"error": 0.5}) and told == [{"error": 0.5}]
    assert not Callbacks().after(1, 2)

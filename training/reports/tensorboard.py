"""Losses and previews as TensorBoard event files, beside the loss table of a run: `tensorboard --logdir RUN`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.callbacks import Callbacks

FOLDER = "events"


@contextmanager
def event_files(callbacks: Callbacks, run_dir: Path) -> Iterator[Callbacks]:
    """Callbacks that also write event files into `run_dir/events`, closed when the block ends.

    A resumed run writes on; TensorBoard hides what a killed run had written beyond its last state. Raises RuntimeError
    with a sentence where tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise RuntimeError(
            "`tensorboard` is on, and the package that writes its files is not installed: pip install tensorboard. "
            "The same numbers are in losses.csv in the run's folder."
        ) from error
    writer: Any = None

    def events(step: int) -> Any:
        nonlocal writer
        if writer is None:
            writer = SummaryWriter(str(run_dir / FOLDER), purge_step=step)
        return writer

    def on_progress(step: int, total: int, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            events(step).add_scalar(name.replace(" ", "_"), value, step)
        if callbacks.on_progress is not None:
            callbacks.on_progress(step, total, losses)

    def on_preview(step: int, picture: Tensor) -> None:
        events(step).add_image("preview", picture.detach().float().clamp(0, 1).cpu().numpy(), step)
        if callbacks.on_preview is not None:
            callbacks.on_preview(step, picture)

    try:
        yield Callbacks(on_progress, on_preview, callbacks.should_stop)
    finally:
        if writer is not None:
            writer.close()

"""Progress, previews and interrupts: ComfyUI's bar on the node, a bar on a terminal, or plain lines in a log."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ..core.pictures import to_pil
from .devices import in_comfyui

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.callbacks import Callbacks

logger = logging.getLogger(__name__)

PREVIEW_SIZE = 512
BAR_WIDTH = 24
TERMINAL_INTERVAL = 0.1
LOG_INTERVAL = 5.0
LOSS_INTERVAL = 0.2
LOSS_EVENT = "facestylist.losses"
"""The websocket message from which the front-end extension draws a training's loss curve."""


class Interrupted(Exception):
    """A person cancelled what was running, where there is no ComfyUI to raise its own exception for it."""


class ProgressListener(Protocol):
    """Who follows a run where there is no ComfyUI; every method may raise `Interrupted`."""

    def progress(self, step: int, total: int) -> None:
        """So many steps of the running node are done."""

    def preview(self, picture: Any) -> None:
        """A Pillow picture of how far the running node is."""

    def text(self, line: str) -> None:
        """A line of text for the running node."""

    def losses(self, report: Mapping[str, Any]) -> None:
        """Rows of a loss table, as `LossReport.take` gives them."""

    def check(self) -> None:
        """Only the chance to raise `Interrupted`."""


_watcher: ContextVar[ProgressListener | None] = ContextVar("facestylist_watcher", default=None)


@contextmanager
def listen(watcher: ProgressListener) -> Iterator[None]:
    """Sends progress to `watcher` and not to a terminal, until the block ends."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


class ProgressReporter:
    """Tells the person who waits how far a long step is.

    Args:
        total: number of steps, until `update` says otherwise.
        title: what is being done, for the terminal.
        node_id: the node's UNIQUE_ID inside ComfyUI, for the text on the node.
        stream: where lines go outside ComfyUI; stderr by default.

    Inside ComfyUI every method may raise its InterruptProcessingException, and under `listen` Interrupted; the
    caller lets them through.
    """

    def __init__(
        self, total: int, title: str = "", *, node_id: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._total = max(total, 1)
        self._step = 0
        self._title = title
        self._node_id = node_id
        self._bar = _comfy_bar(self._total, node_id) if in_comfyui() else None
        self._watcher = None if self._bar is not None else _watcher.get()
        self._lines = None if self._bar is not None or self._watcher is not None else _Lines(stream or sys.stderr)
        self._losses = LossReport()
        self._pace = Pace()

    def update(self, step: int, total: int | None = None, losses: Mapping[str, float] | None = None) -> None:
        """Says that `step` of `total` steps are done, with the losses of a training."""
        self._step = step
        self._total = max(total or self._total, 1)
        note = "  ".join(f"{name} {value:.4g}" for name, value in (losses or {}).items())
        if self._bar is not None or self._watcher is not None:
            if losses and self._losses.add(step, losses, last=step >= self._total):
                self._send_losses()
            if note:
                self.text(f"step {step} of {self._total}  {self._pace.note(step, self._total)}{note}")
        if self._bar is not None:
            self._bar.update_absolute(step, self._total)
        elif self._watcher is not None:
            self._watcher.progress(step, self._total)
        elif self._lines is not None:
            self._lines.show(self._title, step, self._total, note)

    def preview(self, step: int, picture: Tensor) -> None:
        """Shows a picture `[3, H, W]` in 0..1 on the node. A terminal has no place for it."""
        self._step = max(step, self._step)
        if self._bar is not None:
            shown = ("JPEG", to_pil(picture.movedim(0, -1)), PREVIEW_SIZE)
            self._bar.update_absolute(self._step, self._total, shown)
        elif self._watcher is not None:
            self._watcher.preview(to_pil(picture.movedim(0, -1)))

    def text(self, line: str) -> None:
        """Shows a line of text on the node, where this ComfyUI can."""
        if self._watcher is not None:
            self._watcher.text(line)
        send = getattr(_prompt_server(), "send_progress_text", None) if self._bar is not None else None
        if send is not None and self._node_id is not None:
            send(line, self._node_id)

    def _send_losses(self) -> None:
        """Sends the rows gathered so far to the loss curve on the node."""
        report = self._losses.take(self._total)
        if self._watcher is not None:
            self._watcher.losses(report)
        server = _prompt_server() if self._bar is not None else None
        send = getattr(server, "send_sync", None)
        if send is not None and self._node_id is not None:
            send(LOSS_EVENT, {"node": self._node_id, **report}, getattr(server, "client_id", None))

    def callbacks(self) -> Callbacks:
        """The same as the callbacks that `training/` takes."""
        from ..core.callbacks import Callbacks

        return Callbacks(on_progress=self.update, on_preview=self.preview, should_stop=self.should_stop)

    def should_stop(self) -> bool:
        """Always False: an interrupt is raised, here or in `update`, so that nothing mistakes it for success."""
        if self._bar is not None:
            import comfy.model_management

            comfy.model_management.throw_exception_if_processing_interrupted()
        if self._watcher is not None:
            self._watcher.check()
        return False

    def close(self) -> None:
        """Ends the terminal's line."""
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> ProgressReporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def stop_on_interrupt(callbacks: Callbacks) -> Callbacks:
    """Callbacks with which a person's cancelling ends a training in good order, with its result, and nothing else.

    Only for a step whose user asked for it: ComfyUI forgets an interrupt that it has raised, so the workflow goes on.
    """
    from ..core.callbacks import Callbacks

    cancelled = False

    def quietly(call: Callable[..., Any] | None) -> Callable[..., None]:
        def run(*arguments: Any) -> None:
            nonlocal cancelled
            try:
                if call is not None:
                    call(*arguments)
            except _interrupts():
                cancelled = True

        return run

    asks = quietly(callbacks.should_stop)

    def should_stop() -> bool:
        if not cancelled:
            asks()
        return cancelled

    return Callbacks(quietly(callbacks.on_progress), quietly(callbacks.on_preview), should_stop)


def _interrupts() -> tuple[type[BaseException], ...]:
    """What is raised when a person cancels."""
    if not in_comfyui():
        return (Interrupted,)
    import comfy.model_management

    return Interrupted, comfy.model_management.InterruptProcessingException


class Pace:
    """How fast steps go and how long the rest takes."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: tuple[int, float] | None = None

    def note(self, step: int, total: int) -> str:
        """`2.1 steps/s  1:05 to go  `, or nothing before two steps; a resumed run is timed anew."""
        now = self._now()
        if self._first is None or step < self._first[0]:
            self._first = step, now
        steps, seconds = step - self._first[0], now - self._first[1]
        if steps <= 0 or seconds <= 0.0:
            return ""
        rate = steps / seconds
        left = round((total - step) / rate)
        hours, minutes = left // 3600, left // 60 % 60
        clock = f"{hours}:{minutes:02}:{left % 60:02}" if hours else f"{minutes}:{left % 60:02}"
        return f"{rate:.2g} steps/s  {clock} to go  "


class LossReport:
    """Gathers the rows of a loss table, so that fast steps do not become a message each."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []
        self._sent = 0.0

    def add(self, step: int, losses: Mapping[str, float], last: bool) -> bool:
        """Takes a row, and says whether it is time to send what has gathered."""
        self._rows.append({"step": step, **losses})
        return last or time.monotonic() - self._sent >= LOSS_INTERVAL

    def take(self, total: int) -> dict[str, Any]:
        """`{"total": steps, "rows": [{"step": 3, "loss": 0.5, ...}, ...]}`, and begins to gather anew."""
        rows, self._rows, self._sent = self._rows, [], time.monotonic()
        return {"total": total, "rows": rows}


class _Lines:
    """One line that is written over on a terminal; a line every few seconds elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._started = time.monotonic()
        self._shown = self._started - LOG_INTERVAL
        self._width = 0
        self._step = 0

    def show(self, title: str, step: int, total: int, note: str) -> None:
        now = time.monotonic()
        if step < self._step:
            # The next stage of something that has several: it has its own pace.
            self._started = now
        self._step = step
        last = step >= total
        if now - self._shown < (TERMINAL_INTERVAL if self._terminal else LOG_INTERVAL) and not last:
            return
        self._shown = now
        elapsed = now - self._started
        remaining = elapsed * (total - step) / step if step else 0.0
        parts = [f"{title} {step}/{total}".strip(), note, f"{elapsed:.0f} s"]
        if step and not last:
            parts.append(f"{remaining:.0f} s to go")
        if self._terminal:
            filled = round(BAR_WIDTH * min(step / total, 1.0))
            parts.insert(0, f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}]")
        line = "  ".join(part for part in parts if part)
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._width:
            self._stream.write("\n")
            self._width = 0


def _prompt_server() -> Any:
    """ComfyUI's server object, or None."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def _comfy_bar(total: int, node_id: str | None) -> Any:
    """ComfyUI's ProgressBar; older ones find the running node by themselves and take no id."""
    from comfy.utils import ProgressBar

    if "node_id" in inspect.signature(ProgressBar.__init__).parameters:
        return ProgressBar(total, node_id=node_id)
    return ProgressBar(total)

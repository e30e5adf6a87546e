"""Progress, previews and interrupts: ComfyUI's bar on the node, a bar on a terminal, or plain lines in a log."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from .host import in_comfyui
from .images import to_pil

if TYPE_CHECKING:
    from torch import Tensor

    from ..training.loop import Callbacks

logger = logging.getLogger(__name__)

PREVIEW_SIZE = 512
BAR_WIDTH = 24
TERMINAL_INTERVAL = 0.1
LOG_INTERVAL = 5.0


class ProgressReporter:
    """Tells the person who waits how far a long step is.

    Args:
        total: number of steps, until `update` says otherwise.
        title: what is being done, for the terminal.
        node_id: the node's UNIQUE_ID inside ComfyUI, for the text on the node.
        stream: where lines go outside ComfyUI; stderr by default.

    Inside ComfyUI every method may raise its InterruptProcessingException, which the caller lets through.
    """

    def __init__(
        self, total: int, title: str = "", *, node_id: str | None = None, stream: TextIO | None = None
    ) -> None:
        self._total = max(total, 1)
        self._step = 0
        self._title = title
        self._node_id = node_id
        self._bar = _comfy_bar(self._total, node_id) if in_comfyui() else None
        self._lines = None if self._bar is not None else _Lines(stream or sys.stderr)

    def update(self, step: int, total: int | None = None, losses: Mapping[str, float] | None = None) -> None:
        """Says that `step` of `total` steps are done, with the losses of a training."""
        self._step = step
        self._total = max(total or self._total, 1)
        note = "  ".join(f"{name} {value:.4g}" for name, value in (losses or {}).items())
        if self._bar is not None:
            self._bar.update_absolute(step, self._total)
            if note:
                self.text(f"step {step} of {self._total}  {note}")
        elif self._lines is not None:
            self._lines.show(self._title, step, self._total, note)

    def preview(self, step: int, picture: Tensor) -> None:
        """Shows a picture `[3, H, W]` in 0..1 on the node. A terminal has no place for it."""
        self._step = max(step, self._step)
        if self._bar is not None:
            shown = ("JPEG", to_pil(picture.movedim(0, -1)), PREVIEW_SIZE)
            self._bar.update_absolute(self._step, self._total, shown)

    def text(self, line: str) -> None:
        """Shows a line of text on the node, where this ComfyUI can."""
        if self._bar is None:
            return
        server = sys.modules.get("server")
        instance = getattr(getattr(server, "PromptServer", None), "instance", None)
        send = getattr(instance, "send_progress_text", None)
        if send is not None and self._node_id is not None:
            send(line, self._node_id)

    def callbacks(self) -> Callbacks:
        """The same as the callbacks that `training/` takes."""
        from ..training.loop import Callbacks

        return Callbacks(on_progress=self.update, on_preview=self.preview, should_stop=self.should_stop)

    def should_stop(self) -> bool:
        """Always False: an interrupt is raised, here or in `update`, so that nothing mistakes it for success."""
        if self._bar is not None:
            import comfy.model_management

            comfy.model_management.throw_exception_if_processing_interrupted()
        return False

    def close(self) -> None:
        """Ends the terminal's line."""
        if self._lines is not None:
            self._lines.close()

    def __enter__(self) -> ProgressReporter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def _comfy_bar(total: int, node_id: str | None) -> Any:
    """ComfyUI's ProgressBar; older ones find the running node by themselves and take no id."""
    from comfy.utils import ProgressBar

    if "node_id" in inspect.signature(ProgressBar.__init__).parameters:
        return ProgressBar(total, node_id=node_id)
    return ProgressBar(total)

"""Ctrl-C and its like at moments of our choosing, so that an interrupt never leaves anything half done.

Python raises KeyboardInterrupt between any two instructions, in the middle of an optimiser's step as well. Within
`held_back` such a signal is only remembered; the code there asks for it where everything is in order.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""Ctrl-C, what `kill` and launchers send, a closed terminal, and Ctrl-Break."""
SAID = b"\nInterrupted: the step at hand is finished first.\n"
AGAIN_SECONDS = 2.0
"""A second signal this soon means what the first one did, and must not disturb what tidies up after that."""


class Interrupts:
    """What has come in."""

    def __init__(self) -> None:
        self.came = False
        """Whether one waits to be raised."""
        self.raised = False
        """Whether one has been raised."""
        self.ignored = False
        """Whether those that come now are of no use: the work is done, or given up."""
        self.depth = 0
        self._raised_at = -math.inf

    def forget(self) -> None:
        """As if none had come yet."""
        self.came = self.raised = self.ignored = False
        self._raised_at = -math.inf

    def raise_if_any(self) -> None:
        """Raises KeyboardInterrupt where one waits: the place to be interrupted at."""
        if self.came:
            raise self.interrupt()

    def interrupt(self) -> KeyboardInterrupt:
        """What to raise, now."""
        self.came, self.raised, self._raised_at = False, True, time.monotonic()
        return KeyboardInterrupt()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of all signals. While they are not held back it does what Ctrl-C does by itself."""
        if self.ignored:
            return
        if not self.depth:
            if time.monotonic() - self._raised_at < AGAIN_SECONDS:
                return
            raise self.interrupt()
        if not self.came:
            self.came = True
            # Not by logging or a stream: this may have interrupted one of them at its work.
            with contextlib.suppress(OSError):
                os.write(2, SAID)


_interrupts = Interrupts()
"""One for the process, as signals are; only its main thread sees any."""
_handle = _interrupts.handle


@contextlib.contextmanager
def held_back() -> Iterator[Interrupts]:
    """Within the block signals are remembered: `raise_if_any` raises them, and so does the end of the block.

    In other threads nothing is held back, for no signal reaches them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    with _installed():
        if not _interrupts.depth:
            _interrupts.came = False
        _interrupts.depth += 1
        try:
            yield _interrupts
        finally:
            _interrupts.depth -= 1
    if not _interrupts.depth:
        _interrupts.raise_if_any()


def hand_over(keep: Callable[[], Any] | None) -> None:
    """Lets `keep` save what was found before an exception, which the caller raises again: no error of saving it, nor
    another signal, takes its place."""
    if keep is None:
        return
    with held_back():
        try:
            keep()
        except Exception as error:
            log.error("The best so far could not be saved: %s", error)


@contextlib.contextmanager
def as_keyboard_interrupt(process: bool = False) -> Iterator[Interrupts]:
    """Within the block `kill` and a closed terminal raise KeyboardInterrupt, as Ctrl-C does.

    process: the block is all that the process does; signals that come while it ends change nothing any more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    with _installed(ends=process) as outermost:
        if outermost:
            _interrupts.forget()
        try:
            yield _interrupts
        finally:
            if outermost:
                _interrupts.ignored = process


@contextlib.contextmanager
def _installed(ends: bool = False) -> Iterator[bool]:
    """Handles the signals that nobody else does; those that are ignored (nohup) or have a handler stay with it.

    ends: the process ends after the block, and has no use for signals until then.

    Yields whether there were any.
    """
    before: dict[int, Any] = {}
    for number in SIGNALS:
        known = signal.getsignal(number)
        # One may come between any two of these lines: our handler, left behind, does no harm.
        if known in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = known
            signal.signal(number, _handle)
    try:
        yield bool(before)
    finally:
        for number, handler in before.items():
            # Python gives up its handlers while it ends, and would then be killed.
            signal.signal(number, signal.SIG_IGN if ends else handler)

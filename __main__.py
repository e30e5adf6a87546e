"""`python -m facestylist`: the command line."""

import contextlib
import ctypes
import os
import sys

from .training.kit.interrupts import as_keyboard_interrupt

INTERRUPTED = 130
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def _keep_large_blocks() -> None:
    """Lets large tensors lie in huge pages and in memory that the process has already (glibc gives it back after each
    one, and the system clears it anew): up to a quarter off drawing at 1024 px. Nothing where the C library is another.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        # Before 2.35 glibc refuses more than 32 MB, and any other call would hold the limit at 128 KB.
        if mallopt(M_MMAP_THRESHOLD, 2**28) or mallopt(M_MMAP_THRESHOLD, 2**25):
            mallopt(M_TRIM_THRESHOLD, 2**29)


def main() -> int:
    """Runs the command that the process was started with, interruptible while its modules still load, too."""
    _keep_large_blocks()
    with as_keyboard_interrupt(process=True) as interrupts:
        try:
            from .cli.main import main as run

            return run()
        except (Exception, KeyboardInterrupt):
            # An interrupted import may come out as another error.
            if not interrupts.raised:
                raise
            sys.stderr.write("\nInterrupted before anything was done.\n")
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

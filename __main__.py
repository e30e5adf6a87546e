"""`python -m facestylist`: the command line."""

import os
import sys

from .training.kit.interrupts import as_keyboard_interrupt

INTERRUPTED = 130


def main() -> int:
    """Runs the command that the process was started with, interruptible while its modules still load, too."""
    # PyTorch asks for huge pages, where the system leaves that to programs: a tenth off each step of a training.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
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

"""The commands, one file each: `HELP` in a line, `add_arguments(parser)`, and `run(args, console)`.

The modules are cheap to import; what is heavy, they import when they run.
"""

from __future__ import annotations

from types import ModuleType

from . import run

COMMANDS: dict[str, ModuleType] = {"run": run}

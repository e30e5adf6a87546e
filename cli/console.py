"""The command line's own voice: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class UsageError(Exception):
    """The command was called in a way that cannot mean anything; exit status 2."""


def require(condition: bool, sentence: str) -> None:
    """Ends the command with exit status 2 unless the condition holds."""
    if not condition:
        raise UsageError(sentence)


class Console:
    """Writes results to stdout, as lines or, with `--json`, as one JSON object at the end."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self.kept: Callable[[], str] = str
        """What an interrupt leaves, and how to go on from there."""

    def line(self, text: str) -> None:
        """A line of the result for a person; nothing with `--json`."""
        if not self.as_json:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def result(self, record: Mapping[str, Any]) -> None:
        """The whole result for a program; nothing without `--json`."""
        if self.as_json:
            sys.stdout.write(json.dumps(record, default=str) + "\n")
            sys.stdout.flush()

    def files(self, paths: Iterable[object], **record: Any) -> None:
        """A result that consists of files, each on a line, and of what else a program may want to know."""
        files = [str(path) for path in paths]
        for path in files:
            self.line(path)
        self.result({"files": files, **record})

    def note(self, text: str) -> None:
        """Something on the way that is not the result."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

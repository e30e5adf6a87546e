"""Say what a checkpoint is, without executing anything from it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..console import Console
from ..files import find_file

HELP = "say what a checkpoint is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any checkpoint, or embedded")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...models.checkpoints import inspect

    record: dict[str, Any] = dataclasses.asdict(inspect(find_file(args.file)))
    metadata = record.pop("metadata")
    for name, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {entry}" for key, entry in value.items())
        elif isinstance(value, tuple):
            value = "; ".join(value) or "nothing"
        console.line(f"{name:<18}{'-' if value in (None, '') else value}")
    for key, entry in metadata.items():
        console.line(f"{key}: {entry}")
    console.result({**record, "metadata": metadata})

"""Say what a checkpoint is, without executing anything from it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..console import Console

HELP = "say what a checkpoint is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any checkpoint, or embedded")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...models.checkpoints import inspect
    from ...runtime.folders import MODEL_EXTENSIONS, find_model

    path = args.file
    for kind in MODEL_EXTENSIONS:
        try:
            path = find_model(kind, args.file)
            break
        except ValueError:
            continue
    record: dict[str, Any] = dataclasses.asdict(inspect(path))
    for name, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {entry}" for key, entry in value.items())
        console.line(f"{name:<18}{'-' if value in (None, '') else value}")
    console.result(record)

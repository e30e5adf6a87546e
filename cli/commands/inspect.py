"""Say what a checkpoint is, without executing anything from it."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from ...pipeline.networks import find_file
from ...training.finetune.settings import FinetuneConfig
from ..console import Console

if TYPE_CHECKING:
    from ...training.reports.card import RunCard

HELP = "say what a checkpoint is"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any checkpoint, or embedded")


def run(args: argparse.Namespace, console: Console) -> None:
    from ...models.checkpoints import inspect

    record: dict[str, Any] = dataclasses.asdict(inspect(find_file(args.file)))
    metadata = record.pop("metadata")
    card = _card(metadata)
    for name, value in record.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {entry}" for key, entry in value.items())
        elif isinstance(value, tuple):
            value = "; ".join(value) or "nothing"
        console.line(f"{name:<18}{'-' if value in (None, '') else value}")
    for key, entry in metadata.items():
        if key != "card" or card is None:
            console.line(f"{key}: {entry}")
    if card is not None:
        console.line("run card:")
        for line in card.lines(FinetuneConfig):
            console.line(f"  {line}")
    console.result({**record, "metadata": metadata, "card": None if card is None else dataclasses.asdict(card)})


def _card(metadata: dict[str, Any]) -> RunCard | None:
    """How the style was made, where the file says so."""
    from ...training.reports.card import RunCard

    try:
        return RunCard.from_json(metadata["card"])
    except (KeyError, ValueError):
        return None

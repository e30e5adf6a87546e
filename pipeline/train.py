"""A training that a node starts: its folder, its device, its progress, and what is left of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..runtime.devices import memory_for_training
from ..runtime.folders import training_run_dir
from ..runtime.progress import ProgressReporter


@dataclass
class TrainingRun:
    """What a training needs from where it runs."""

    folder: Path
    """Its state, losses and previews; the same for the same name and identity, so that a cancelled run goes on."""
    device: torch.device
    progress: ProgressReporter
    finished: bool = True
    """Whether its state can go: that of a large generator fills gigabytes."""


@contextmanager
def training_run(
    name: str, identity: Mapping[str, Any], steps: int, title: str, resume: bool, node_id: str | None
) -> Iterator[TrainingRun]:
    """Room and progress for a training. Its state is removed once it is through, and before where it is not to resume.

    Args:
        name: of the folder, beside a digest of the identity.
        identity: all that decides the course of the run.
        steps: how many there will be.
        title: what is being done, for a terminal.
        resume: whether it goes on from what a cancelled run of the same identity left.
        node_id: the node's UNIQUE_ID.
    """
    folder = training_run_dir(name, identity)
    if not resume:
        shutil.rmtree(folder / "state", ignore_errors=True)
    with memory_for_training() as device, ProgressReporter(steps, title, node_id=node_id) as progress:
        run = TrainingRun(folder, device, progress)
        yield run
    if run.finished:
        shutil.rmtree(folder / "state", ignore_errors=True)

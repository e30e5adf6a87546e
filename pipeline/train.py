"""A training that a node starts: its folder, its device, its progress, and what is left of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.pictures import tensor_to_image
from ..latents.sampling import sample_latent, synthesise
from ..models.types import FaceGenerator
from ..runtime.devices import memory_for_training
from ..runtime.folders import training_run_dir
from ..runtime.progress import ProgressReporter

PREVIEW_FACES = 6
PREVIEW_TRUNCATION = 0.8


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


def same_faces(*generators: FaceGenerator) -> Tensor:
    """IMAGE of a few faces by one generator after the other, from above: what a training has changed."""
    faces = sample_latent(generators[0], range(PREVIEW_FACES), PREVIEW_TRUNCATION)
    rows = [torch.cat(list(synthesise(generator, faces).cpu()), dim=2) for generator in generators]
    return tensor_to_image(torch.cat(rows, dim=1)[None])

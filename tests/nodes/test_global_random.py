"""Every node leaves the global random numbers of torch, numpy and random as they were, bit for bit.

Other packs draw from them, and ComfyUI's own nodes do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from every_node import run_every_node

from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.runtime.folders import Folders


def states() -> dict[str, bytes]:
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": numpy[1].tobytes() + repr(numpy[2:]).encode(),
        "random": repr(random.getstate()).encode(),
    }


def test_every_node_leaves_the_global_random_numbers_alone(
    source: FaceGenerator,
    style: FaceGenerator,
    encoder: FaceEncoder,
    photo: torch.Tensor,
    two_faces: None,
    folders: Folders,
) -> None:
    pytest.importorskip("matplotlib", reason="Loss Plot draws with it: pip install matplotlib")
    changed = []

    @contextmanager
    def watched(name: str) -> Iterator[None]:
        before = states()
        yield
        after = states()
        changed.extend(f"{name}: {library}" for library in before if before[library] != after[library])

    run_every_node(folders, {"source": source, "style": style, "encoder": encoder, "photo": photo}, watched)
    assert not changed

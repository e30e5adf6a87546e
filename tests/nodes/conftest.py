"""Fixtures of the node tests: tiny networks, for the nodes are tested and not what a network has learned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from node_bench import ConstantEncoder, FixedDetector, build_generator
from torch import Tensor

from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.runtime.folders import Folders, use_folders


@pytest.fixture(scope="session")
def source() -> FaceGenerator:
    return build_generator(0)


@pytest.fixture(scope="session")
def style(source: FaceGenerator) -> FaceGenerator:
    """A style of the source: other pictures of the same W."""
    other = build_generator(1)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    return other.replace(style="test style")


@pytest.fixture(scope="session")
def encoder(source: FaceGenerator) -> FaceEncoder:
    return FaceEncoder(ConstantEncoder(source.num_ws, source.w_dim).requires_grad_(False), 24, source.num_ws, 8)


@pytest.fixture
def two_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector finds one face on the left and one on the right."""
    import facestylist.detection.detectors as detection

    monkeypatch.setattr(detection, "load_detector", lambda *_: FixedDetector((60.0, 40.0), (25.0, 40.0)))


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> Iterator[Folders]:
    """Folders that no other test and no person uses."""
    own = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", tmp_path / "models")
    with use_folders(own):
        yield own


@pytest.fixture
def photo() -> Tensor:
    """An IMAGE of one photo, `[1, 80, 90, 3]`."""
    return torch.rand(1, 80, 90, 3, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1

"""Tiny random networks and pictures for the tests of training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_networks import make_source, make_styles
from torch import Tensor

from facestylist.models.types import FaceGenerator


@pytest.fixture(scope="session")
def source() -> FaceGenerator:
    """A 32 px generator with its discriminator; nothing may change it."""
    return make_source()


@pytest.fixture(scope="session")
def styles() -> Tensor:
    """Twelve style pictures of 32 px."""
    return make_styles(12)


@pytest.fixture(scope="session")
def weights_of() -> Callable[[FaceGenerator], dict[str, Tensor]]:
    """All weights of a generator and its discriminator by name, for comparisons."""

    def collect(face_generator: FaceGenerator) -> dict[str, Tensor]:
        found = {f"g.{k}": v.clone() for k, v in face_generator.generator.state_dict().items()}
        assert face_generator.discriminator is not None
        return found | {f"d.{k}": v.clone() for k, v in face_generator.discriminator.state_dict().items()}

    return collect

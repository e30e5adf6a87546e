"""Fixtures of the model tests."""

from __future__ import annotations

import pytest
from checkpoint_files import FakeModules


@pytest.fixture
def fake_modules(monkeypatch: pytest.MonkeyPatch) -> FakeModules:
    """Puts an attribute into a module of any name, so that pickles can refer to it."""
    return FakeModules(monkeypatch)

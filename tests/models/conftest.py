"""Fixtures of the model tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoint_files import FakeModules
from reference_files import ORIGINALS, ORIGINS, write


@pytest.fixture
def fake_modules(monkeypatch: pytest.MonkeyPatch) -> FakeModules:
    """Puts an attribute into a module of any name, so that pickles can refer to it."""
    return FakeModules(monkeypatch)


@pytest.fixture(params=ORIGINS)
def reference_file(request: pytest.FixtureRequest, tmp_path: Path, fake_modules: FakeModules) -> Callable[[str], Path]:
    """A public implementation's file by its name: rebuilt, and the original where there is one."""

    def find(name: str) -> Path:
        if request.param == "rebuilt":
            return write(name, tmp_path, fake_modules)
        if not (ORIGINALS / name).is_file():
            pytest.skip(f"{name} is rebuilt only")
        return ORIGINALS / name

    return find

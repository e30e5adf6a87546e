"""Names of the shipped networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from facestylist.core import assets as embedded
from facestylist.models import checkpoints


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rendered").mkdir()
    for name in (
        "generator",
        "style-sketch",
        "style-cartoon",
        "detector",
        "rendered/generator",
        "rendered/style-chibi",
        "rendered/student-sketch",
    ):
        (tmp_path / f"{name}.safetensors").touch()
    monkeypatch.setattr(embedded, "ASSETS", tmp_path)
    return tmp_path


def test_names_come_from_the_files_that_are_there(assets: Path) -> None:
    assert embedded.list_embedded() == ["embedded", "embedded:cartoon", "embedded:sketch"]
    assert embedded.list_embedded("detector") == ["embedded"]
    assert embedded.list_embedded("encoder") == []
    assert embedded.list_embedded(of="rendered") == ["rendered", "rendered:chibi"]
    assert embedded.list_embedded("stylizer", "rendered") == ["rendered:student-sketch"]


def test_names_resolve_to_files(assets: Path) -> None:
    assert embedded.resolve("embedded") == assets / "generator.safetensors"
    assert embedded.resolve("embedded:cartoon") == assets / "style-cartoon.safetensors"
    assert embedded.resolve("rendered:chibi") == assets / "rendered" / "style-chibi.safetensors"
    assert embedded.resolve("rendered") == assets / "rendered" / "generator.safetensors"
    assert embedded.resolve("rendered:student-sketch", "stylizer").parent == assets / "rendered"
    assert embedded.resolve("embedded", "detector") == assets / "detector.safetensors"


def test_unknown_names_get_a_sentence(assets: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no embedded generator called 'embedded:oil'. Known are: embedded,"):
        embedded.resolve("embedded:oil")
    with pytest.raises(FileNotFoundError, match="Install the pack again"):
        embedded.resolve("embedded", "encoder")
    with pytest.raises(FileNotFoundError):
        embedded.resolve("embedded:/../../generator")
    with pytest.raises(checkpoints.CheckpointError, match="embedded:oil"):
        checkpoints.load_generator("embedded:oil")


def test_only_the_two_forms_are_names() -> None:
    assert embedded.is_embedded("embedded") and embedded.is_embedded("embedded:cartoon")
    assert embedded.is_embedded("rendered") and embedded.is_embedded("rendered:cartoon")
    assert not embedded.is_embedded("embedded.pt") and not embedded.is_embedded("models/embedded")

"""Networks by name and on their device, and free names for new files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facestylist.pipeline import networks
from facestylist.runtime import devices
from facestylist.runtime.folders import Folders, use_folders


def test_placed_brings_what_is_asked_for_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A discriminator of a 1024 px generator takes 100 MB that drawing has no use for."""
    monkeypatch.setattr(devices, "pick_device", lambda name="auto": torch.device("meta"))
    source = networks.read_network("generator", "embedded")
    encoder = networks.read_network("encoder", "embedded")
    assert source.discriminator is not None and source.mean_latent.device.type == "cpu"
    with networks.placed(source, None, encoder):
        assert source.mean_latent.is_meta and next(encoder.network.parameters()).is_meta
        assert not next(source.discriminator.parameters()).is_meta
    with networks.placed(source, discriminators=True):
        assert next(source.discriminator.parameters()).is_meta


def test_new_files_get_the_first_free_number(tmp_path: Path) -> None:
    with use_folders(Folders(output=tmp_path / "output", models=tmp_path / "models")):
        first = networks.new_model_file("encoder", "mine.safetensors")
        assert first == tmp_path / "models" / "face_encoders" / "mine.safetensors"
        first.parent.mkdir(parents=True)
        first.touch()
        assert networks.new_model_file("encoder", "mine").name == "mine-2.safetensors"

        (tmp_path / "output" / "reports").mkdir(parents=True)
        (tmp_path / "output" / "reports" / "a.json").touch()
        pair = networks.new_output_files("reports", "a", ".png", ".json")
        assert [path.name for path in pair] == ["a-2.png", "a-2.json"]
        assert networks.new_output_file("reports", "a.png", ".png").name == "a.png"
        with pytest.raises(ValueError, match="lies outside"):
            networks.new_output_file("reports", "../../../a", ".png")


def test_a_style_is_found_by_its_bare_name() -> None:
    assert networks.style_file("oil") == "embedded:oil"
    assert networks.source_of("rendered:oil") == "rendered" and networks.source_of("my.safetensors") == "embedded"
    with pytest.raises(ValueError, match="The embedded styles are"):
        networks.style_file("nobody")

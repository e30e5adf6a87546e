"""Convert Checkpoint: what it offers, what it writes, what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from node_bench import run_node

from facestylist.models.checkpoints import load_encoder, load_generator
from facestylist.models.checkpoints.export import to_rosinality
from facestylist.models.types import FaceGenerator
from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


def test_a_public_file_becomes_one_of_ours(source: FaceGenerator, folders: Folders) -> None:
    place = folders.models / "stylegan" / "faces"
    place.mkdir(parents=True)
    torch.save(to_rosinality(source), place / "ffhq.pt")
    offered = NODE_CLASS_MAPPINGS["FaceStylistConvertCheckpoint"].INPUT_TYPES()["required"]["checkpoint"][0]  # type: ignore[attr-defined]
    assert offered == ["stylegan/faces/ffhq.pt", "stylegan/embedded"]
    path, report = run_node("ConvertCheckpoint", checkpoint="stylegan/faces/ffhq.pt")
    assert Path(path) == folders.models / "stylegan" / "ffhq.safetensors"
    assert "family: rosinality" in report and "licence: " in report
    loaded = load_generator(path)
    for name, tensor in source.generator.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], tensor), name
    assert loaded.provenance["origin_file"] == "ffhq.pt" and loaded.discriminator is not None
    again, _ = run_node("ConvertCheckpoint", checkpoint="stylegan/faces/ffhq.pt", half_precision=True)
    assert Path(again).name == "ffhq-2.safetensors"
    assert Path(again).stat().st_size < 0.8 * Path(path).stat().st_size


def test_names_stay_inside_the_folder(source: FaceGenerator, folders: Folders) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        run_node("ConvertCheckpoint", checkpoint="stylegan/embedded", name="../../evil")


def test_an_encoder_stays_an_encoder(folders: Folders) -> None:
    from facestylist.core import assets as embedded

    if not embedded.list_embedded("encoder"):
        pytest.skip("the embedded encoder is not there")
    place = folders.models / "face_encoders"
    place.mkdir(parents=True)
    (place / "mine.safetensors").write_bytes(embedded.resolve("embedded", "encoder").read_bytes())
    path, report = run_node("ConvertCheckpoint", checkpoint="face_encoders/mine.safetensors", name="copy")
    assert Path(path) == place / "copy.safetensors" and "kind: encoder" in report
    assert load_encoder(path).num_ws == load_encoder(place / "mine.safetensors").num_ws

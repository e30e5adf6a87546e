"""An encoder as nodes: trained, saved, loaded, used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from node_bench import run_node

from facestylist.models.types import FaceGenerator
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


def test_from_training_to_a_latent(source: FaceGenerator, folders: Folders) -> None:
    quick = {"steps": 2, "batch_size": 2, "width": 0.25, "preview_interval": 0, "picture_start": 0.5}
    faces = torch.rand(2, 48, 48, 3, generator=torch.Generator().manual_seed(0))
    encoder, preview, losses, error = run_node("TrainEncoder", generator=source, images=faces, **quick)
    assert (encoder.num_ws, encoder.w_dim, encoder.resolution) == (source.num_ws, source.w_dim, 64)
    assert preview.shape == (1, 64, 128, 3) and error > 0
    assert len(losses["codes"]) == 2 and len(losses["pixel"]) == 1
    assert not list((folders.output / "facestylist_runs").glob("*/state")), "a finished run needs no state"
    paths = [run_node("SaveEncoder", encoder=encoder, name="mine", half_precision=False)[0] for _ in range(2)]
    assert [Path(path).relative_to(folders.models).as_posix() for path in paths] == [
        "face_encoders/mine.safetensors",
        "face_encoders/mine-2.safetensors",
    ]
    (loaded,) = run_node("LoadEncoder", name="mine.safetensors")
    found, again = (
        run_node("InvertWithEncoder", image=faces, encoder=one, generator=source)[0] for one in (encoder, loaded)
    )
    assert torch.equal(found.w_plus, again.w_plus)

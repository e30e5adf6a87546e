"""The fast stylizer as nodes: trained on a few pictures, saved, loaded, run on pictures and faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from node_bench import run_node
from tolerances import assert_close, layers, rounding

from facestylist.faces.types import FaceCrops
from facestylist.models.types import FaceGenerator, FaceStylizer
from facestylist.runtime.folders import Folders

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

QUICK: dict[str, Any] = {
    "steps": 2,
    "batch_size": 1,
    "size": 48,
    "width": 0.25,
    "preview_interval": 0,
    "style_name": "negative",
}


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.rand(2, 60, 72, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def trained(photos: torch.Tensor, folders: Folders) -> tuple[FaceStylizer, torch.Tensor, dict[str, list[float]]]:
    return run_node("TrainFastStylizer", before=photos, after=1 - photos, medium="pencil", **QUICK)


def test_from_training_to_a_picture(
    trained: tuple[FaceStylizer, torch.Tensor, dict[str, list[float]]], photos: torch.Tensor, folders: Folders
) -> None:
    stylizer, preview, losses = trained
    assert len(losses["pixel"]) == len(losses["gradient"]) == 2
    assert (stylizer.style, stylizer.medium) == ("negative", "pencil")
    assert preview.shape == (1, 3 * 48, 48, 3)
    (drawn,) = run_node("RunFastStylizer", stylizer=stylizer, image=photos)
    assert drawn.shape == photos.shape and drawn.min() >= 0 and drawn.max() <= 1
    (same,) = run_node("RunFastStylizer", stylizer=stylizer, image=photos, strength=0.0)
    assert_close(same, photos, 3)  # to -1..1 and back
    paths = [run_node("SaveFastStylizer", stylizer=stylizer, name="mine")[0] for _ in range(2)]
    assert [Path(path).relative_to(folders.models).as_posix() for path in paths] == [
        "face_stylizers/mine.safetensors",
        "face_stylizers/mine-2.safetensors",
    ]
    (again,) = run_node("LoadFastStylizer", name="mine.safetensors")
    (redrawn,) = run_node("RunFastStylizer", stylizer=again, image=photos)
    # Saved in half precision.
    assert (redrawn - drawn).abs().max() < rounding(layers(stylizer.network), dtype=torch.float16)


def test_faces_are_drawn_as_crops(trained: tuple[FaceStylizer, torch.Tensor, dict[str, list[float]]]) -> None:
    crops = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    faces = FaceCrops(
        crops, torch.zeros(2, 2, 3), torch.zeros(2, dtype=torch.long), torch.zeros(2, 5, 2), torch.ones(2), crops[:1]
    )
    (drawn,) = run_node("RunFastStylizer", stylizer=trained[0], faces=faces)
    assert drawn.shape == (2, 32, 32, 3)
    with pytest.raises(ValueError, match="either `image` or `faces`"):
        run_node("RunFastStylizer", stylizer=trained[0], faces=faces, image=drawn)


def test_it_learns_from_pseudo_pairs(source: FaceGenerator, style: FaceGenerator, folders: Folders) -> None:
    loose = {"min_contrast": 0.0, "max_saturated": 1.0, "duplicate_bits": -1}
    pairs, _ = run_node("MakePairs", source=source, target=style, count=1, **loose)
    stylizer, _, _ = run_node("TrainFastStylizer", pairs=pairs, source=source, target=style, **QUICK)
    assert stylizer.provenance["learnt_from"] == f"{len(pairs)} pairs"
    with pytest.raises(ValueError, match="connect `source` and `target`"):
        run_node("TrainFastStylizer", pairs=pairs, **QUICK)


def test_it_goes_on_from_a_stylizer(
    trained: tuple[FaceStylizer, torch.Tensor, dict[str, list[float]]], photos: torch.Tensor, folders: Folders
) -> None:
    stylizer, _, losses = run_node("TrainFastStylizer", before=photos, after=1 - photos, start=trained[0], **QUICK)
    assert stylizer.medium == "pencil", "auto is what it draws with"
    assert losses != trained[2], "not the run of the new network"
    with pytest.raises(ValueError, match="medium 'pencil'"):
        run_node("TrainFastStylizer", before=photos, after=1 - photos, start=trained[0], medium="paint", **QUICK)


def test_what_does_not_fit_is_refused(photos: torch.Tensor, folders: Folders) -> None:
    with pytest.raises(ValueError, match="nothing to learn from"):
        run_node("TrainFastStylizer", before=photos, **QUICK)
    with pytest.raises(ValueError, match="same number of the same size"):
        run_node("TrainFastStylizer", before=photos, after=photos[:1], **QUICK)

"""Pseudo-pairs as nodes: made, shown, written out, saved and loaded, on tiny networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from node_bench import RESOLUTION, run_node

from facestylist.models.types import FaceGenerator
from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.nodes.pairs import ORDERS
from facestylist.runtime.folders import Folders
from facestylist.training.pairs import export, preview
from facestylist.training.pairs.types import StylePairs

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

LOOSE: dict[str, Any] = {
    "min_contrast": 0.0,
    "max_saturated": 1.0,
    "duplicate_bits": -1,
    "max_reconstruction_error": 4.0,
}


@pytest.fixture
def made(source: FaceGenerator, style: FaceGenerator) -> tuple[StylePairs, str]:
    return run_node("MakePairs", source=source, target=style, count=2, **LOOSE)


def test_pairs_go_from_node_to_node(
    source: FaceGenerator, style: FaceGenerator, made: tuple[StylePairs, str], folders: Folders
) -> None:
    pairs, report = made
    assert "test style" in report and len(pairs) == 8
    (sheet,) = run_node("PreviewPairs", pairs=pairs, source=source, target=style, per_row=2, size=32)
    assert sheet.ndim == 4 and sheet.shape[0] == 1 and sheet.shape[3] == 3
    paths = [run_node("SavePairs", pairs=pairs, name="mine")[0] for _ in range(2)]
    assert [Path(path).relative_to(folders.output).as_posix() for path in paths] == [
        "pairs/mine.safetensors",
        "pairs/mine-2.safetensors",
    ]
    again, told = run_node("LoadPairs", file="pairs/mine.safetensors [output]")
    assert told == report and torch.equal(again.w_plus, pairs.w_plus)
    written = [
        run_node("ExportPairs", pairs=again, source=source, target=style, name="set", levels="1,3")[0] for _ in range(2)
    ]
    assert [Path(folder).name for folder in written] == ["set", "set-2"]
    lines = (Path(written[0]) / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["level"] for line in lines] == [1, 1, 3, 3]
    with pytest.raises(ValueError, match="lies outside"):
        run_node("ExportPairs", pairs=again, source=source, target=style, name="../../elsewhere")
    with pytest.raises(ValueError, match="another target"):
        run_node("PreviewPairs", pairs=again, source=source, target=source)


def test_photos_and_style_pictures_join_in(source: FaceGenerator, style: FaceGenerator) -> None:
    image, latent = run_node("SampleFaces", generator=source, seed=9, count=2)
    pairs, report = run_node(
        "MakePairs",
        source=source,
        target=style,
        count=0,
        photos=image,
        photo_latent=latent,
        style_images=image,
        style_latent=latent,
        **LOOSE,
    )
    assert sorted(set(pairs.origin.tolist())) == [1, 2]
    assert pairs.photos.shape == (2, 3, RESOLUTION, RESOLUTION)
    assert "level 3 anchor" in report and "level 0 photo" in report
    with pytest.raises(ValueError, match="`photos` is connected but `photo_latent` is not"):
        run_node("MakePairs", source=source, target=style, photos=image)
    with pytest.raises(ValueError, match="`style_latent` is connected but `style_images` is not"):
        run_node("MakePairs", source=source, target=style, style_latent=latent)


def test_a_style_without_a_discriminator_is_told(source: FaceGenerator, style: FaceGenerator) -> None:
    _, report = run_node("MakePairs", source=source, target=style.replace(discriminator=None), count=2, **LOOSE)
    assert "no discriminator: `drop_quality` was skipped" in report


def test_the_widgets_are_those_of_the_functions() -> None:
    assert ORDERS == preview.ORDERS
    widget: Any = NODE_CLASS_MAPPINGS["FaceStylistExportPairs"]
    assert widget.INPUT_TYPES()["required"]["prompt"][1]["default"] == export.PROMPT


def test_the_files_of_several_processes_are_one(made: tuple[StylePairs, str], folders: Folders) -> None:
    for part in range(2):
        run_node("SavePairs", pairs=made[0], name=f"all-0000{part}-of-00002")
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadPairs"]
    name = "pairs/all.safetensors [output]"
    assert node.VALIDATE_INPUTS(file=name) is True
    before = node.IS_CHANGED(file=name)
    assert len(run_node("LoadPairs", file=name)[0]) == 2 * len(made[0])
    (folders.output / "pairs" / "all-00001-of-00002.safetensors").unlink()
    assert node.IS_CHANGED(file=name) != before
    with pytest.raises(ValueError, match="not all of one run"):
        run_node("LoadPairs", file=name)


def test_a_missing_file_is_told_before_anything_runs(folders: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadPairs"]
    assert "There is no file" in node.VALIDATE_INPUTS(file="none.safetensors")
    assert node.VALIDATE_INPUTS(file=None) is True


def test_style_pictures_lead_to_their_people_and_train_the_style(
    source: FaceGenerator, style: FaceGenerator, folders: Folders
) -> None:
    latent, faces = run_node("Destylise", source=source, style=style, style_images=_drawn(style), steps=10)
    assert len(latent) == 3 and faces.shape == (3, RESOLUTION, RESOLUTION, 3)
    assert latent.w_space == source.w_space
    pairs, _ = run_node(
        "MakePairs",
        source=source,
        target=style,
        count=2,
        style_images=_drawn(style),
        style_latent=latent,
        **LOOSE,
        drop_quality=0.0,
        drop_structure=0.0,
    )
    settings = {"steps": 3, "batch_size": 2, "discriminator_alone": 1, "preview_interval": 0}
    learned, preview, losses = run_node("TrainWithPairs", source=source, style=style, pairs=pairs, **settings)
    assert preview.shape == (1, 3 * RESOLUTION, 6 * RESOLUTION, 3)
    assert len(losses["discriminator"]) == 3
    assert learned.style == style.style and learned.w_space == source.w_space
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert (run / "losses.csv").exists() and not (run / "state").exists()
    with pytest.raises(ValueError, match="Nothing can find"):
        run_node("Destylise", source=source, style_images=_drawn(style))
    with pytest.raises(ValueError, match="without its discriminator"):
        run_node("TrainWithPairs", source=source, style=style.replace(discriminator=None), pairs=pairs)


def _drawn(style: FaceGenerator) -> torch.Tensor:
    """Three pictures of a style as an IMAGE."""
    pictures: torch.Tensor = run_node("SampleFaces", generator=style, seed=4, count=3)[0]
    return pictures

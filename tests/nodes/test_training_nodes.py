"""Style folders and fine-tuning as nodes, on a tiny generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from node_bench import RESOLUTION, run_node
from torch import Tensor

from facestylist.models.types import FaceGenerator
from facestylist.nodes import NODE_CLASS_MAPPINGS
from facestylist.runtime.folders import Folders
from facestylist.runtime.images import write_picture

pytestmark = pytest.mark.usefixtures("global_rng_untouched")

SHORT: dict[str, Any] = {"steps": 3, "batch_size": 2, "style_name": "red", "precision": "fp32", "preview_interval": 2}


@pytest.fixture
def style_images() -> Tensor:
    """Reddish pictures that differ."""
    noise = torch.rand(6, RESOLUTION, RESOLUTION, 3, generator=torch.Generator().manual_seed(1))
    return noise * 0.3 + torch.tensor([0.7, 0.1, 0.1])


def fill(folder: Path, count: int) -> None:
    random = torch.Generator().manual_seed(2)
    for index in range(count):
        write_picture(torch.rand(90, 80, 3, generator=random), folder / f"{index}.png")


def test_a_folder_becomes_a_batch_and_a_report(folders: Folders) -> None:
    fill(folders.input / "mine", 3)
    (folders.input / "mine" / "broken.png").write_text("not a picture")
    images, report = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert images.shape == (3, 64, 64, 3)
    assert report.startswith("3 pictures taken, 1 left out.")
    assert "broken.png" in report
    by_path, _ = run_node("LoadStyleImages", folder=str(folders.input / "mine"), align=False, size=64)
    assert torch.equal(by_path, images)


@pytest.mark.usefixtures("two_faces")
def test_aligning_takes_the_main_face(folders: Folders) -> None:
    fill(folders.input / "mine", 2)
    images, _ = run_node("LoadStyleImages", folder="mine", size=64)
    whole, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert images.shape == whole.shape
    assert not torch.allclose(images, whole, atol=0.05)


def test_a_folder_counts_as_changed_when_a_picture_is_added(folders: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadStyleImages"]
    fill(folders.input / "mine", 1)
    before = node.IS_CHANGED(folder="mine", align=True, size=64)
    assert node.IS_CHANGED(folder="mine", align=True, size=64) == before
    fill(folders.input / "mine", 2)
    assert node.IS_CHANGED(folder="mine", align=True, size=64) != before
    assert isinstance(node.IS_CHANGED(folder="missing", align=True, size=64), str)


def test_unusable_folders_are_sentences(folders: Folders) -> None:
    with pytest.raises(ValueError, match="no folder"):
        run_node("LoadStyleImages", folder="missing", align=False)
    (folders.input / "empty").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds no pictures"):
        run_node("LoadStyleImages", folder="empty", align=False)
    with pytest.raises(ValueError, match="lies outside"):
        run_node("LoadStyleImages", folder="../elsewhere", align=False)


def test_a_missing_folder_is_said_before_anything_runs(folders: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadStyleImages"]
    (folders.input / "mine").mkdir(parents=True)
    assert node.VALIDATE_INPUTS(folder="mine") is True
    assert node.VALIDATE_INPUTS(folder=None) is True
    assert "There is no folder" in node.VALIDATE_INPUTS(folder="missing")
    assert "lies outside" in node.VALIDATE_INPUTS(folder="../mine")


def test_fine_tuning_makes_a_style_of_the_source(
    source: FaceGenerator, style_images: Tensor, folders: Folders
) -> None:
    before = {name: tensor.clone() for name, tensor in source.generator.state_dict().items()}
    style, preview = run_node("FinetuneGenerator", source=source, style_images=style_images, **SHORT)
    assert style.style == "red"
    assert style.w_space == source.w_space
    assert style.discriminator is not None
    assert preview.shape == (1, 2 * RESOLUTION, 6 * RESOLUTION, 3)
    assert not torch.equal(preview[0, :RESOLUTION], preview[0, RESOLUTION:])
    for name, tensor in source.generator.state_dict().items():
        assert torch.equal(tensor, before[name]), f"the source's {name} was changed"
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert run.name.startswith("red-")
    assert (run / "losses.csv").is_file()
    assert not (run / "state").exists(), "a finished run leaves no state behind"
    again, _ = run_node("FinetuneGenerator", source=source, style_images=style_images, **SHORT)
    for name, tensor in style.generator.state_dict().items():
        assert torch.equal(tensor, again.generator.state_dict()[name]), f"{name} differs in a second run"


class Cancelled(Exception):
    """Stands for ComfyUI's interrupt."""


def test_a_cancelled_run_is_resumed(
    source: FaceGenerator, style_images: Tensor, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.runtime.progress import ProgressReporter

    given = {"source": source, "style_images": style_images, **SHORT}
    whole, _ = run_node("FinetuneGenerator", **given, resume=False)

    steps: list[int] = []

    def update(_: ProgressReporter, step: int, total: int | None = None, losses: Any = None) -> None:
        steps.append(step)
        if step == 2 and steps.count(2) == 1:
            raise Cancelled

    monkeypatch.setattr(ProgressReporter, "update", update)
    with pytest.raises(Cancelled):
        run_node("FinetuneGenerator", **given)
    (run,) = (folders.output / "facestylist_runs").iterdir()
    assert (run / "state").is_dir()
    resumed, _ = run_node("FinetuneGenerator", **given)
    assert steps == [1, 2, 3], "the resumed run starts after the last step"
    for name, tensor in whole.generator.state_dict().items():
        assert torch.equal(tensor, resumed.generator.state_dict()[name]), f"{name} differs after resuming"


def test_a_generator_without_discriminator_is_refused(source: FaceGenerator, style_images: Tensor) -> None:
    with pytest.raises(ValueError, match="without its discriminator"):
        run_node("FinetuneGenerator", source=source.replace(discriminator=None), style_images=style_images, **SHORT)

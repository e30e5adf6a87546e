"""The node that reads a folder of style pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from node_bench import run_node

from facestylist.core.pictures import write_picture
from facestylist.nodes import NODE_CLASS_MAPPINGS, style_images
from facestylist.runtime.folders import Folders, cache_dir

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


def fill(folder: Path, count: int) -> None:
    random = torch.Generator().manual_seed(2)
    for index in range(count):
        write_picture(torch.rand(90, 80, 3, generator=random), folder / f"{index}.png")


def test_a_folder_becomes_a_batch_and_a_report(folders: Folders) -> None:
    fill(folders.input / "mine", 3)
    (folders.input / "mine" / "broken.png").write_text("not a picture")
    images, report, held_out = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert images.shape == (3, 64, 64, 3)
    assert report.startswith("3 pictures taken, 1 left out.")
    assert "broken.png" in report
    assert held_out.shape == (0, 64, 64, 3)
    by_path, _, _ = run_node("LoadStyleImages", folder=str(folders.input / "mine"), align=False, size=64)
    assert torch.equal(by_path, images)


@pytest.mark.usefixtures("two_faces")
def test_aligning_takes_the_main_face(folders: Folders) -> None:
    fill(folders.input / "mine", 2)
    images, _, _ = run_node("LoadStyleImages", folder="mine", size=64)
    whole, _, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64)
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


def test_subfolders_fewer_pictures_and_held_out_ones(folders: Folders) -> None:
    fill(folders.input / "mine", 6)
    fill(folders.input / "mine" / "more", 8)
    images, report, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64, subfolders=True)
    assert len(images) == 8, "six of the second folder's are the first's"
    assert "more/: 2 taken, 6 left out\n  0.png: is the same picture as mine/0.png" in report
    few, _, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64, max_pictures=2)
    whole, _, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert torch.equal(few, whole[[0, 3]])
    train, _, held_out = run_node("LoadStyleImages", folder="mine", align=False, size=64, validation=0.3)
    assert (len(train), len(held_out)) == (4, 2)
    found = torch.cat([train, held_out]).flatten(1)
    assert all(any(torch.equal(a, b) for b in found) for a in whole.flatten(1))


def test_a_changed_picture_is_noticed_whatever_its_date(folders: Folders) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadStyleImages"]
    fill(folders.input / "mine", 1)
    path = folders.input / "mine" / "0.png"
    status, data = path.stat(), path.read_bytes()
    before = node.IS_CHANGED(folder="mine", align=True, size=64)
    path.write_bytes(data[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert node.IS_CHANGED(folder="mine", align=True, size=64) != before


def test_asking_again_reads_nothing(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    node: Any = NODE_CLASS_MAPPINGS["FaceStylistLoadStyleImages"]
    fill(folders.input / "mine", 2)
    before = node.IS_CHANGED(folder="mine", align=True, size=64)
    opened: list[Path] = []
    real = Path.open

    def counting(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counting)
    assert node.IS_CHANGED(folder="mine", align=True, size=64) == before
    assert not [path for path in opened if path.suffix == ".png"]


def test_the_second_run_takes_the_kept_crops(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folders.input / "mine", 2)
    first, _, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert len(list(cache_dir().rglob("*.crop"))) >= 2
    import facestylist.training.data.style_images as module

    def refuse(path: Path) -> Any:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(module, "read_picture", refuse)
    second, _, _ = run_node("LoadStyleImages", folder="mine", align=False, size=64)
    assert torch.equal(first, second)


def test_a_batch_larger_than_the_memory_is_refused(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folders.input / "mine", 2)
    monkeypatch.setattr(style_images, "SHARE_OF_MEMORY", 0.0)
    if hasattr(os, "sysconf"):
        with pytest.raises(ValueError, match="Lower `size` to the generator's, or set `max_pictures`"):
            run_node("LoadStyleImages", folder="mine", align=False, size=64)

"""Compare Faces: what the slider is given, and the pairs side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facestylist.nodes.compare import CompareFaces
from facestylist.runtime.folders import Folders, use_folders


def test_pairs_side_by_side_and_as_previews(tmp_path: Path) -> None:
    a, b = torch.zeros(3, 8, 6, 3), torch.ones(1, 4, 5, 3)
    with use_folders(Folders(tmp_path, tmp_path, tmp_path / "temp", tmp_path)):
        made = CompareFaces().run(a, b)
    (pairs,) = made["result"]
    assert pairs.shape == (3, 8, 6 + 10, 3)
    assert pairs[:, :, :6].max() == 0 and pairs[:, :, 6:].min() > 0.99
    assert [len(made["ui"][key]) for key in ("a_images", "b_images")] == [3, 1]
    for entry in (*made["ui"]["a_images"], *made["ui"]["b_images"]):
        assert entry["type"] == "temp" and (tmp_path / "temp" / entry["filename"]).is_file()


def test_batches_that_cannot_be_paired(tmp_path: Path) -> None:
    with (
        use_folders(Folders(tmp_path, tmp_path, tmp_path, tmp_path)),
        pytest.raises(ValueError, match="2 and 3 pictures cannot be paired"),
    ):
        CompareFaces().run(torch.zeros(2, 4, 4, 3), torch.zeros(3, 4, 4, 3))

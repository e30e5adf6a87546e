"""Pseudo-pairs as a folder of pictures, and as a sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_networks import make_source
from tolerances import assert_close

from facestylist.core.callbacks import Callbacks
from facestylist.models.types import FaceGenerator
from facestylist.training.pairs.export import export_pairs, fill_in
from facestylist.training.pairs.making import make_pairs
from facestylist.training.pairs.preview import preview_pairs
from facestylist.training.pairs.renderer import PairRenderer, to_bytes
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.types import StylePairs

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture(scope="module")
def target(source: FaceGenerator) -> FaceGenerator:
    other = make_source(seed=1)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    return other.replace(style="test style")


@pytest.fixture(scope="module")
def pairs(source: FaceGenerator, target: FaceGenerator) -> StylePairs:
    return make_pairs(source, target, PairsConfig(count=3, min_contrast=0.0, duplicate_bits=-1))


def lines_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metadata.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_folder_holds_what_its_metadata_says(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    folder = export_pairs(pairs, source, target, tmp_path / "out", "{degree} {style}, level {level}", captions=True)
    rows = lines_of(folder)
    assert len(rows) == len(pairs) == 12
    sides = [
        to_bytes(side).permute(0, 2, 3, 1).numpy() for side in PairRenderer(pairs, source, target)(range(len(pairs)))
    ]
    for i, row in enumerate(rows):
        for key, pictures in (("source_file_name", sides[0]), ("file_name", sides[1])):
            with Image.open(folder / row[key]) as picture:
                assert picture.mode == "RGB" and np.array_equal(np.asarray(picture), pictures[i])
        assert row["level"] == int(pairs.level[i]) and row["style"] == "test style" and row["origin"] == "synthetic"
        assert row["structure"] == pytest.approx(float(pairs.scores["structure"][i]))
        # Arrow makes a column of each key: all lines need the same, and none that is never known.
        assert row.keys() == rows[0].keys() and "identity" not in row
        assert (folder / row["file_name"]).with_suffix(".txt").read_text() == row["text"] + "\n"
    assert rows[0]["text"] == "unchanged test style, level 0" and rows[-1]["text"] == "fully test style, level 3"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    assert files == {row[key] for row in rows for key in ("source_file_name", "file_name")}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_chosen_levels_and_sizes(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    folder = export_pairs(pairs, source, target, tmp_path / "out", size=48, levels=(3,))
    rows = lines_of(folder)
    assert [row["level"] for row in rows] == [3, 3, 3]
    with Image.open(folder / rows[2]["file_name"]) as picture:
        assert picture.size == (48, 48)
    assert not list(folder.rglob("*.txt"))


def test_an_interrupt_leaves_nothing(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_pairs(pairs, source, target, tmp_path / "out", callbacks=Callbacks(on_progress=interrupt))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        export_pairs(pairs, source, target, tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="none of {style}"):
        export_pairs(pairs, source, target, tmp_path / "out", "{name}")
    with pytest.raises(ValueError, match="no pairs of these levels"):
        export_pairs(pairs.select(pairs.level == 3), source, target, tmp_path / "out", levels=(1,))
    assert fill_in("100 % {a} {", a="{a}") == "100 % {a} {"


def test_hugging_faces_datasets_reads_it(
    source: FaceGenerator, target: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets", reason="`pip install datasets` to check the export with it")
    folder = export_pairs(pairs, source, target, tmp_path / "out", captions=True)
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=cache)
    assert len(loaded) == len(pairs)
    first = loaded[0]
    assert first["image"].size == first["source"].size == (32, 32)
    assert first["text"] == "turn the portrait into test style"


def test_a_sheet_has_a_row_for_each_level(source: FaceGenerator, target: FaceGenerator, pairs: StylePairs) -> None:
    sheet = preview_pairs(pairs, source, target, per_row=3, size=32, move=False)
    assert sheet.shape[0] == 3 and sheet.min() >= 0 and sheet.max() <= 1
    one = preview_pairs(pairs.select(pairs.level == 3), source, target, per_row=3, size=32, move=False)
    assert sheet.shape[1] - one.shape[1] == 3 * (24 + 32 + 17 + 12)
    # The pictures themselves stand on it: before and after of the first level-3 pair.
    rows = torch.nonzero(pairs.level == 3)[:1, 0]
    for place, side in enumerate(PairRenderer(pairs, source, target)(rows, move=False)):
        x = 12 + 32 * place
        assert_close(one[:, 36:68, x : x + 32] * 255, to_bytes(side)[0].float(), 3, 255)
    worst = preview_pairs(pairs, source, target, per_row=1, size=32, order="worst structure first")
    assert worst.shape[1] == sheet.shape[1]
    with pytest.raises(ValueError, match="is no order"):
        preview_pairs(pairs, source, target, order="best")


def test_worst_first_is_by_that_score(pairs: StylePairs) -> None:
    from facestylist.training.pairs.preview import _shown

    mine = torch.nonzero(pairs.level == 3)[:, 0]
    by_structure = pairs.scores["structure"][_shown(pairs, mine, 3, "worst structure first")]
    assert by_structure.tolist() == sorted(by_structure.tolist(), reverse=True)
    by_quality = pairs.scores["quality"][_shown(pairs, mine, 3, "worst quality first")]
    assert by_quality.tolist() == sorted(by_quality.tolist())
    assert _shown(pairs, torch.arange(12), 3, "as made").tolist() == [0, 6, 11]

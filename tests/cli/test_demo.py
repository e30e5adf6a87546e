"""The demo: the bundled workflow on the embedded networks, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facestylist.cli.commands.demo import VARIATIONS
from facestylist.cli.main import main
from facestylist.core.assets import list_embedded
from facestylist.runtime.folders import list_embedded_styles


@pytest.mark.slow
def test_the_demo_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], global_rng_untouched: None
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "made", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    styles = list_embedded_styles()
    assert record["styles"] == styles
    assert len(styles) >= 4
    assert record["faces"] == 1, "the sample picture shows one person"
    stylizers = list_embedded("stylizer")
    assert len(record["files"]) == 1 + len(styles) + len(stylizers) + 2 + len(styles) + VARIATIONS + 2 + 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"], "nothing is left elsewhere"

    photo = np.asarray(Image.open("made/photo.png")).astype(int)
    pasted = {style: np.asarray(Image.open(f"made/photo_{style}.png")).astype(int) for style in styles}
    for picture in pasted.values():
        changed = np.abs(picture - photo).max(axis=-1) > 8
        assert 0.02 < changed.mean() < 0.5, "the faces, and not everything"
    for first in styles:
        for second in styles:
            assert first == second or np.abs(pasted[first] - pasted[second]).max() > 40, "each style is its own"
    with Image.open(record["contact_sheet"]) as sheet:
        assert sheet.width > photo.shape[1]

"""The benchmark of a style's encoder: perfect codes get perfect numbers, codes of somebody else do not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models import checkpoints
from facestylist.tools.bench import style_encoder
from facestylist.tools.bench.judges import Judge
from facestylist.tools.bench.renders import Renders


def test_the_person_who_was_read_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    source, style = (checkpoints.load_generator(name) for name in ("rendered", "rendered:sketch"))
    codes, others = sample_latent(source, [1, 2]), sample_latent(source, [3, 4])
    drawn = {"photo": synthesise(source, codes).clamp(-1, 1), "sketch": synthesise(style, codes).clamp(-1, 1)}
    labels, none = torch.zeros(2, 128, 128, dtype=torch.long), torch.empty(0, 3, 128, 128)
    monkeypatch.setattr(style_encoder, "renders", lambda look, *a: Renders(look, drawn[look], labels, none, none))
    with torch.random.fork_rng(devices=[]):
        judge = Judge().eval()
    monkeypatch.setattr(style_encoder, "train_judge", lambda *a: judge)
    monkeypatch.setattr(checkpoints, "load_encoder", lambda name: name)
    read = {"rendered": others, "mine.safetensors": codes}
    monkeypatch.setattr(style_encoder, "invert_with_encoder", lambda pictures, name, style: read[name])
    lines, rows = style_encoder.compare(tuple(read), "sketch", 2, Path(), Path())
    shipped, mine = ([float(cell) for cell in line.split("|")[2:-1]] for line in lines[2:])
    assert mine[1] == mine[2] == mine[4] == mine[5] == 0
    assert min(mine[0], mine[3]) > 100 > 25 > max(shipped[0], shipped[3])
    assert list(rows) == [
        "photo",
        "sketch",
        "shipped: drawn again",
        "shipped: the person",
        "of the style: drawn again",
        "of the style: the person",
    ]
    assert torch.equal(rows["of the style: the person"], drawn["photo"])

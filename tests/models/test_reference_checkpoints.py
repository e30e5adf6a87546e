"""Files of the public implementations, converted to ours and back: every tensor they had keeps its bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from facestylist.models.checkpoints import inspect, load_generator
from facestylist.models.checkpoints.convert import convert
from facestylist.models.checkpoints.reader import read_contents

FILES = [("ros_g64_narrow.pt", "rosinality"), ("nv_g64_narrow.pkl", "nvidia"), ("ros_d64_narrow.pt", "rosinality")]


@pytest.mark.parametrize(("name", "layout"), FILES)
def test_bits_survive_the_way_there_and_back(
    name: str, layout: str, reference_file: Callable[[str], Path], tmp_path: Path
) -> None:
    file = reference_file(name)
    assert inspect(file).family == layout
    assert not [lack for lack in inspect(file).missing if not lack.startswith("discriminator")]
    convert(file, tmp_path / "ours.safetensors")
    convert(tmp_path / "ours.safetensors", tmp_path / "back.pt", layout)
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    before = read_contents(file).data
    seen = 0
    for entry in ("g_ema", "G_ema", "D", "d", "latent_avg"):
        if entry not in before:
            continue
        for key, tensor in _tensors(before[entry]).items():
            same = _tensors(back[entry])[key]
            assert same.shape == tensor.shape and torch.equal(same, tensor), f"{entry} {key}"
            seen += 1
    assert seen > (30 if name.startswith("ros_d") else 90)
    if not name.startswith("ros_d"):
        assert load_generator(tmp_path / "ours.safetensors").provenance["origin_file"] == name


def _tensors(value: Any) -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {"": value}
    return value.tensors() if hasattr(value, "tensors") else value

"""Every node on a device without float64, and with no tensor left on another one."""

from __future__ import annotations

from contextlib import nullcontext

import node_bench
import pytest
import torch
from every_node import run_every_node
from node_bench import ConstantEncoder, build_generator
from pretend_mps import pretend_mps

from facestylist.models.types import FaceEncoder
from facestylist.runtime import devices
from facestylist.runtime.folders import Folders


def test_every_node_runs_on_mps(
    photo: torch.Tensor, two_faces: None, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="Loss Plot draws with it: pip install matplotlib")
    monkeypatch.setattr(node_bench, "INFERENCE", False)
    monkeypatch.setattr(devices, "pick_device", lambda name="auto": torch.device("mps"))
    # Networks of its own: those of the session would stay there.
    source, style = build_generator(0), build_generator(1)
    style.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    encoder = FaceEncoder(ConstantEncoder(source.num_ws, source.w_dim).requires_grad_(False), 24, source.num_ws, 8)
    # Computing parts again asks for the driver of the device.
    made = {"source": source, "style": style, "encoder": encoder, "photo": photo, "checkpointing": False}
    with pretend_mps():
        run_every_node(folders, made, nullcontext)

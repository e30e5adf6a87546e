"""Progress on a terminal, in a log and in ComfyUI; devices in both worlds (with stand-ins for ComfyUI's modules)."""

from __future__ import annotations

import copy
import gc
import io
import sys
import weakref
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from facestylist.runtime import devices, progress
from facestylist.runtime.devices import memory_for_training, on_device, pick_device, use_device
from facestylist.runtime.progress import ProgressReporter


class Interrupted(Exception):
    """As ComfyUI's InterruptProcessingException: an ordinary Exception."""


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """A ComfyUI that writes down what it is asked."""
    seen: dict[str, list[Any]] = {"bar": [], "text": [], "loaded": [], "calls": []}

    class ProgressBar:
        def __init__(self, total: int, node_id: str | None = None) -> None:
            seen["bar"].append((total, node_id))

        def update_absolute(self, value: int, total: int, preview: Any = None) -> None:
            if value == 13:
                raise Interrupted
            seen["bar"].append((value, total, preview))

    class ModelPatcher:
        def __init__(self, model: nn.Module, load_device: Any, offload_device: Any) -> None:
            self.model = model

    class PromptServer:
        instance: Any = SimpleNamespace(send_progress_text=lambda text, node: seen["text"].append((text, node)))

    def interrupt() -> None:
        raise Interrupted

    management: Any = ModuleType("comfy.model_management")
    management.get_torch_device = lambda: torch.device("cpu")
    management.unet_offload_device = lambda: torch.device("cpu")
    management.load_models_gpu = lambda patchers: seen["loaded"].append([p.model for p in patchers])
    management.throw_exception_if_processing_interrupted = interrupt
    management.unload_all_models = lambda: seen["calls"].append("unload")
    management.soft_empty_cache = lambda: seen["calls"].append("empty")
    patcher: Any = ModuleType("comfy.model_patcher")
    patcher.ModelPatcher = ModelPatcher
    utils: Any = ModuleType("comfy.utils")
    utils.ProgressBar = ProgressBar
    server: Any = ModuleType("server")
    server.PromptServer = PromptServer
    package: Any = ModuleType("comfy")
    package.model_management, package.model_patcher, package.utils = management, patcher, utils
    for name, module in {
        "comfy": package,
        "comfy.model_management": management,
        "comfy.model_patcher": patcher,
        "comfy.utils": utils,
        "folder_paths": ModuleType("folder_paths"),
        "server": server,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def test_plain_lines_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    log = io.StringIO()
    with ProgressReporter(100, "train", stream=log) as reporter:
        for step in range(1, 101):
            clock[0] += 1
            reporter.update(step, losses={"loss": 0.5} if step < 3 else None)
    lines = log.getvalue().splitlines()
    assert lines[0] == "train 1/100  loss 0.5  1 s  99 s to go"
    assert len(lines) == 21, "one every five seconds, and the last"
    assert lines[-1] == "train 100/100  100 s"
    assert "\r" not in log.getvalue()


def test_a_second_stage_has_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    log = io.StringIO()
    reporter = ProgressReporter(2, "stage", stream=log)
    for step in (1, 2, 1, 2):
        clock[0] += 100
        reporter.update(step)
    assert log.getvalue().splitlines()[-1] == "stage 2/2  100 s"


def test_one_line_on_a_terminal() -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    with ProgressReporter(2, "align", stream=terminal) as reporter:
        reporter.update(1)
        reporter.update(2)
    assert "[############............]  align 1/2" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")
    assert terminal.getvalue().count("\n") == 1


def test_the_nodes_bar_preview_and_text(comfyui: dict[str, list[Any]]) -> None:
    reporter = ProgressReporter(10, node_id="7")
    callbacks = reporter.callbacks()
    assert callbacks.on_progress is not None
    assert callbacks.on_preview is not None
    callbacks.on_progress(3, 20, {"loss": 0.25})
    callbacks.on_preview(4, torch.ones(3, 5, 6))
    assert comfyui["bar"][:2] == [(10, "7"), (3, 20, None)]
    value, total, (kind, picture, size) = comfyui["bar"][2]
    assert (value, total, kind, picture.size, size) == (4, 20, "JPEG", (6, 5), 512)
    assert comfyui["text"] == [("step 3 of 20  loss 0.25", "7")]


def test_interrupts_pass(comfyui: dict[str, list[Any]]) -> None:
    reporter = ProgressReporter(20)
    with pytest.raises(Interrupted):
        reporter.update(13)
    with pytest.raises(Interrupted):
        reporter.should_stop()


def test_networks_go_through_comfyuis_memory_management(comfyui: dict[str, list[Any]]) -> None:
    network = nn.Linear(2, 2)
    with on_device(network) as device:
        assert device == torch.device("cpu")
    with on_device(network):
        pass
    assert comfyui["loaded"] == [[network], [network]]
    assert devices._patcher(network) is devices._patcher(network)
    copied = copy.deepcopy(network)
    assert devices._patcher(copied).model is copied, "a copy has a patcher of its own"
    gone = weakref.ref(network)
    seen = comfyui["loaded"]
    seen.clear()
    del network
    gc.collect()
    assert gone() is None, "nothing keeps a network that nobody uses"
    with memory_for_training():
        assert comfyui["calls"] == ["unload"]
    assert comfyui["calls"] == ["unload", "empty"]


def test_devices_out_of_comfyui() -> None:
    with use_device("cpu"):
        assert pick_device() == torch.device("cpu")
        network = nn.Linear(2, 2)
        with on_device(network) as device:
            assert next(network.parameters()).device == device
    with pytest.raises(ValueError, match="'toaster' is not a device. Choose one of auto, cpu, cuda, mps"):
        pick_device("toaster")
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(ValueError, match="has no"):
        pick_device(missing)

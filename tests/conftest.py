"""What every test can ask for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer, serving

ROOT = Path(__file__).resolve().parent.parent
LONGEST = [
    "test_other_processor.py",
    "test_front_end.py",
    "test_real_comfyui.py",
    "test_interrupted_trainings.py",
    "test_devices.py",
    "test_bundled_workflows.py",
    "test_distributed.py",
    "test_embedded_training.py",
    "test_finetune.py",
    "test_demo.py",
    "test_reference_encoders.py",
]


def pytest_configure() -> None:
    """Refuses to test another clone than this one: `facestylist` is found by name, wherever it is installed."""
    import facestylist

    # A shell that starts the tests in the background has them ignore Ctrl-C, which some of them send.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    found = Path(str(facestylist.__file__)).resolve().parent
    if found != ROOT:
        raise pytest.UsageError(f"`facestylist` is {found}, not {ROOT}. Run `make test` in this folder.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin, so that none of them is what everything waits for in the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository, which is the pack."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the programs they start, keep nothing in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESTYLIST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def comfyui(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A real ComfyUI, started once; see `comfy_server.py` for where it is looked for."""
    with serving(root, tmp_path_factory.mktemp("comfyui")) as server:
        yield server


@pytest.fixture
def global_rng_untouched() -> Iterator[None]:
    """Fails the test when what it ran drew from, or seeded, a global random number generator."""
    import random

    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    assert random.getstate() == before[0], "random's global state was changed"
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True)), "numpy's was"
    assert torch.equal(torch.get_rng_state(), before[2]), "torch's was"

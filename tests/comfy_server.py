"""A real ComfyUI with this pack in it, for the tests marked `comfyui` and for the browser's.

`COMFYUI_DIR` names its checkout (default `~/.cache/facestylist/ComfyUI`) and `COMFYUI_PYTHON` the interpreter that has
its requirements (default `comfy-venv` beside the checkout). Without them these tests are skipped. The server listens on
loopback only and keeps everything it writes in a folder that is removed.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 180


@dataclass(frozen=True)
class ComfyServer:
    """A server that is up."""

    url: str
    base: Path
    """Its base directory, which holds input, output, temp, models and custom_nodes."""
    log: Path

    def read_log(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def _checkout() -> Path:
    return Path(os.environ.get("COMFYUI_DIR") or "~/.cache/facestylist/ComfyUI").expanduser()


def _python(checkout: Path) -> Path:
    given = os.environ.get("COMFYUI_PYTHON")
    return Path(given).expanduser() if given else checkout.parent / "comfy-venv" / "bin" / "python"


def comfyui_python() -> Path | None:
    """The interpreter that has a ComfyUI's requirements, where there is one."""
    python = _python(_checkout())
    return python if python.is_file() else None


@contextmanager
def serving(root: Path, base: Path) -> Iterator[ComfyServer]:
    """A server with the pack linked into an isolated base directory; skips the test where there is no ComfyUI."""
    checkout = _checkout()
    python = _python(checkout)
    if not (checkout / "main.py").is_file():
        pytest.skip(f"no ComfyUI at {checkout}; set COMFYUI_DIR to a checkout")
    if not python.is_file():
        pytest.skip(f"no interpreter at {python}; set COMFYUI_PYTHON to one with ComfyUI's requirements")
    (base / "user" / "default").mkdir(parents=True)
    settings = {"Comfy.TutorialCompleted": True, "Comfy.Notification.ShowVersionUpdates": False}
    (base / "user" / "default" / "comfy.settings.json").write_text(json.dumps(settings))
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "ComfyUI-FaceStylist").symlink_to(root)
    (base / "custom_nodes" / "probe").symlink_to(root / "tests" / "comfyui" / "probe")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = base / "server.log"
    command = [
        str(python),
        str(Path(__file__).with_name("start_comfyui.py")),
        str(checkout / "main.py"),
        "--cpu",
        "--listen",
        "127.0.0.1",
        "--port",
        str(port),
        "--base-directory",
        str(base),
        "--database-url",
        "sqlite:///:memory:",
        "--disable-api-nodes",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=checkout, stdout=output, stderr=subprocess.STDOUT)
        server = ComfyServer(f"http://127.0.0.1:{port}", base, log)
        try:
            _wait_until_up(server, process)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_up(server: ComfyServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"ComfyUI ended while starting:\n{server.read_log()[-3000:]}")
        try:
            with urllib.request.urlopen(f"{server.url}/system_stats", timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail(f"ComfyUI was not up after {START_SECONDS} s:\n{server.read_log()[-3000:]}")

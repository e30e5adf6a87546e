"""Small nodes for the server of `facestylist ui`, and a page that talks to it."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="`facestylist ui` needs aiohttp: pip install aiohttp")

import torch  # noqa: E402
from aiohttp.test_utils import TestClient  # noqa: E402

from facestylist.runtime.progress import ProgressReporter  # noqa: E402

SECONDS = 20


class Work:
    """Reports progress, losses, text and a picture; waits for `gate` half-way."""

    calls: ClassVar[list[int]] = []
    gate: ClassVar[threading.Event] = threading.Event()
    begun: ClassVar[threading.Event] = threading.Event()
    CATEGORY = "Test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"value": ("INT", {"default": 1, "min": 0, "max": 9})}}

    def run(self, value: int) -> tuple[torch.Tensor]:
        self.calls.append(value)
        with ProgressReporter(4, "work") as progress:
            progress.update(2, losses={"loss": 0.5})
            progress.preview(2, torch.full((3, 8, 8), 0.25))
            self.begun.set()
            deadline = time.monotonic() + SECONDS
            while not self.gate.wait(0.01):
                progress.should_stop()
                assert time.monotonic() < deadline
            progress.update(4, losses={"loss": 0.25})
        return (torch.full((1, 8, 8, 3), value / 10),)


class Fail:
    CATEGORY = "Test"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: torch.Tensor) -> None:
        raise ValueError("The picture is upside down. Turn it.")


class Page:
    """What a browser's page does: requests, and the messages of its websocket."""

    def __init__(self, client: TestClient, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.seen: list[tuple[Any, Any]] = []
        self._socket: Any = None
        self._reading: Any = None

    async def open(self, features: bool = True) -> None:
        self._socket = await self.client.ws_connect("/ws?clientId=page")
        self._reading = asyncio.create_task(self._read())
        if features:
            message = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
            await self._socket.send_str(json.dumps(message))
            await self.until("feature_flags")

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                self.seen.append((event["type"], event["data"]))
            else:
                (kind,) = struct.unpack(">I", message.data[:4])
                self.seen.append((kind, message.data[4:]))

    async def until(self, *kinds: Any) -> Any:
        """The data of the first message of one of these kinds, waiting for it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for kind, data in self.seen:
                if kind in kinds:
                    return data
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {kinds} among {[kind for kind, _ in self.seen]}")

    async def get(self, path: str, **headers: str) -> Any:
        answer = await self.client.get(path, headers=headers)
        assert answer.status == 200, (path, answer.status, await answer.text())
        return await answer.json()

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        answer = await self.client.post(path, json=body)
        text = await answer.text()
        return answer.status, json.loads(text) if text else None

    async def queue(self, prompt: dict[str, Any], **more: Any) -> dict[str, Any]:
        status, answer = await self.post("/api/prompt", {"prompt": prompt, "client_id": "page", **more})
        assert status == 200, answer
        return answer

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            await self._reading


def prompt(value: int = 1, prefix: str = "made") -> dict[str, Any]:
    return {
        "1": {"class_type": "Work", "inputs": {"value": value}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }

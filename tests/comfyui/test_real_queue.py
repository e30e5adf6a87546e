"""Watching, cancelling, repeating and failing in a real ComfyUI, over its websocket."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from typing import Any, ClassVar

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="these tests listen to a websocket: pip install aiohttp")

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

SECONDS = 300
END = ("execution_success", "execution_error", "execution_interrupted")


class Client:
    """One page's worth of a ComfyUI: posts prompts and keeps every message."""

    known: ClassVar[dict[str, Any]] = {}

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[tuple[Any, Any]] = []

    async def __aenter__(self) -> Client:
        self.session = aiohttp.ClientSession(self.url)
        self.socket = await self.session.ws_connect("/ws?clientId=test", max_msg_size=0)
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        await self.socket.send_str(json.dumps(flags))
        self.reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        # What a failed test left running would slow every later one.
        await self.post("/queue", {"clear": True})
        await self.post("/interrupt", {})
        await self.socket.close()
        await self.reading
        await self.session.close()

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                event = json.loads(message.data)
                self.seen.append((event["type"], event["data"]))
            else:
                self.seen.append((struct.unpack(">I", message.data[:4])[0], message.data[4:]))

    async def nodes(self) -> dict[str, Any]:
        """The server's `/object_info`, which takes it a second and is asked for once."""
        if not Client.known:
            async with self.session.get("/object_info") as answer:
                Client.known = await answer.json()
        return Client.known

    async def post(self, path: str, body: Any) -> Any:
        async with self.session.post(path, json=body) as answer:
            text = await answer.text()
            return json.loads(text) if text else None

    async def queue(self, prompt: Any) -> str:
        answer = await self.post("/prompt", {"prompt": prompt, "client_id": "test"})
        assert not answer.get("node_errors"), answer
        return answer["prompt_id"]

    async def until(self, kinds: tuple[Any, ...], prompt_id: str = "") -> tuple[Any, Any]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for kind, data in self.seen:
                if kind in kinds and (not prompt_id or data["prompt_id"] == prompt_id):
                    return kind, data
            await asyncio.sleep(0.02)
        raise AssertionError(f"no {kinds} among {[kind for kind, _ in self.seen]}")


def generators(seed: int = 1) -> dict[str, Any]:
    return {
        "1": {"class_type": "FaceStylistLoadGenerator", "inputs": {"name": "embedded"}},
        "2": {
            "class_type": "FaceStylistRenderFaces",
            "inputs": {"count": 2, "seed": seed, "look": "sketch", "size": 64, "background": True},
        },
    }


def defaults(comfyui_info: Any, name: str) -> dict[str, Any]:
    """A node's widgets at their defaults."""
    given = {}
    for key, (kind, *rest) in comfyui_info[name]["input"]["required"].items():
        options = rest[0] if rest else {}
        if isinstance(kind, list):
            given[key] = options.get("default", kind[0])
        elif "default" in options:
            given[key] = options["default"]
    return given


async def training(client: Client, steps: int, style: str) -> dict[str, Any]:
    info = await client.nodes()
    prompt = generators()
    prompt["2"]["inputs"] = {**defaults(info, "FaceStylistRenderFaces"), "count": 2, "size": 64, "look": "sketch"}
    settings = {
        **defaults(info, "FaceStylistFinetuneGenerator"),
        "steps": steps,
        "batch_size": 2,
        "settings": "preview_interval = 2",
        "style_name": style,
    }
    prompt["3"] = {
        "class_type": "FaceStylistFinetuneGenerator",
        "inputs": {**settings, "source": ["1", 0], "style_images": ["2", 0]},
    }
    prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}}
    return prompt


def test_a_training_is_watched_repeated_for_nothing_and_cancelled(comfyui: Any) -> None:
    async def test() -> None:
        async with Client(comfyui.url) as client:
            first = await client.queue(await training(client, 4, "watched"))
            second = await client.queue(await training(client, 4, "watched"))
            kind, data = await client.until(END, first)
            assert kind == "execution_success", data
            states = [d["nodes"]["3"] for k, d in client.seen if k == "progress_state" and "3" in d["nodes"]]
            assert {(state["value"], state["max"]) for state in states} >= {(step, 4) for step in range(1, 5)}
            assert any(k == 4 for k, _ in client.seen), "no preview came"
            texts = [d for k, d in client.seen if k == 3]
            assert any(b"step" in text and b"generator" in text for text in texts)
            rows = [row for k, d in client.seen if k == "facestylist.losses" for row in d["rows"]]
            assert [row["step"] for row in rows] == [1, 2, 3, 4]
            kind, _ = await client.until(END, second)
            assert kind == "execution_success"
            cached = next(d["nodes"] for k, d in client.seen if k == "execution_cached" and d["prompt_id"] == second)
            assert sorted(cached) == ["1", "2", "3", "4"], "an equal prompt does nothing"

            client.seen.clear()
            long = await client.queue(await training(client, 5000, "cancelled"))
            await client.until(("facestylist.losses",))
            started = time.monotonic()
            await client.post("/interrupt", {})
            kind, data = await client.until(END, long)
            assert (kind, data["node_id"]) == ("execution_interrupted", "3")
            assert time.monotonic() - started < 30

    asyncio.run(test())


def test_an_inversion_is_cancelled(comfyui: Any) -> None:
    async def test() -> None:
        async with Client(comfyui.url) as client:
            info = await client.nodes()
            prompt = generators()
            prompt["2"]["inputs"] = {**defaults(info, "FaceStylistRenderFaces"), "count": 1, "size": 64}
            settings = {**defaults(info, "FaceStylistInvertByOptimisation"), "steps": 9000}
            prompt["3"] = {
                "class_type": "FaceStylistInvertByOptimisation",
                "inputs": {**settings, "image": ["2", 0], "generator": ["1", 0]},
            }
            prompt["4"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}}
            prompt_id = await client.queue(prompt)
            await client.until(("facestylist.losses",))
            await client.post("/interrupt", {"prompt_id": prompt_id})
            kind, data = await client.until(END, prompt_id)
            assert (kind, data["node_id"]) == ("execution_interrupted", "3")

    asyncio.run(test())


def test_wrong_inputs_are_errors_on_their_node(comfyui: Any) -> None:
    async def test() -> None:
        async with Client(comfyui.url) as client:
            wrong = {
                "1": {"class_type": "FaceStylistLoadLatents", "inputs": {"file": "nobody.safetensors"}},
                "2": {"class_type": "FaceStylistLoadGenerator", "inputs": {"name": "embedded"}},
                "3": {"class_type": "FaceStylistDecodeLatent", "inputs": {"latent": ["1", 0], "generator": ["2", 0]}},
                "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
            }
            answer = await client.post("/prompt", {"prompt": wrong, "client_id": "test"})
            assert list(answer["node_errors"]) == ["1"]
            assert "nobody.safetensors" in json.dumps(answer["node_errors"]["1"])

            wrong["1"] = {"class_type": "FaceStylistLoadGenerator", "inputs": {"name": "embedded:nothing"}}
            answer = await client.post("/prompt", {"prompt": wrong, "client_id": "test"})
            assert {"1", "3"} & set(answer["node_errors"])

    asyncio.run(test())

"""Messages to the pages that are open, over their websockets."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
"""The kinds of binary message: a JPEG or PNG; a line of text for a node; a picture that says which node it is of."""

JPEG = 1
FEATURES: dict[str, Any] = {
    "supports_preview_metadata": True,
    "max_upload_size": 100 << 20,
    "node_replacements": False,
    "assets": False,
}
"""What the server can do beyond the first version of the protocol."""


@dataclass
class _Client:
    socket: web.WebSocketResponse
    features: Mapping[str, Any] = field(default_factory=dict)


class Hub:
    """The open pages. `send` and its kin may be called from any thread; the rest belongs to the server's own."""

    def __init__(self) -> None:
        self._clients: dict[str, _Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outbox: asyncio.Queue[tuple[str | None, str | bytes | tuple[bytes, bytes]]] = asyncio.Queue()

    async def deliver(self) -> None:
        """Sends what was queued, in order, until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            target, message = await self._outbox.get()
            for name, client in list(self._clients.items()):
                if target is not None and name != target:
                    continue
                try:
                    if isinstance(message, str):
                        await client.socket.send_str(message)
                    elif isinstance(message, bytes):
                        await client.socket.send_bytes(message)
                    else:
                        modern = client.features.get("supports_preview_metadata")
                        await client.socket.send_bytes(message[0] if modern else message[1])
                except (ConnectionError, RuntimeError):
                    # The page has gone; its handler takes it off the list.
                    continue

    async def serve(self, request: web.Request, status: Mapping[str, Any]) -> web.WebSocketResponse:
        """One page's websocket, from its opening to its end."""
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        name = request.query.get("clientId") or uuid.uuid4().hex
        client = self._clients[name] = _Client(socket)
        await socket.send_str(_event("status", {"status": status, "sid": name}))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(client, message.data)
        finally:
            if self._clients.get(name) is client:
                del self._clients[name]
        return socket

    async def _receive(self, client: _Client, text: str) -> None:
        """The one thing a page says: what it can do."""
        try:
            message = json.loads(text)
        except json.JSONDecodeError:
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            client.features = message.get("data") or {}
            await client.socket.send_str(_event("feature_flags", FEATURES))

    async def close(self) -> None:
        """Ends every websocket."""
        for client in list(self._clients.values()):
            await client.socket.close(code=1001, message=b"The server stops.")

    def send(self, kind: str, data: Mapping[str, Any], target: str | None = None) -> None:
        """A message with JSON data to one page, or to all."""
        self._post(target, _event(kind, data))

    def send_text(self, node_id: str, line: str, target: str | None = None) -> None:
        """A line of text for a node."""
        name = node_id.encode()
        self._post(target, struct.pack(">II", TEXT, len(name)) + name + line.encode())

    def send_preview(self, picture: Any, metadata: Mapping[str, Any], target: str | None = None) -> None:
        """A Pillow picture of how far a node is."""
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=90)
        note = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
        modern = struct.pack(">II", PREVIEW_WITH_METADATA, len(note)) + note + buffer.getvalue()
        plain = struct.pack(">II", PREVIEW, JPEG) + buffer.getvalue()
        self._post(target, (modern, plain))

    def _post(self, target: str | None, message: str | bytes | tuple[bytes, bytes]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._outbox.put_nowait, (target, message))


def _event(kind: str, data: Mapping[str, Any]) -> str:
    return json.dumps({"type": kind, "data": data}, default=str)

"""A pack for the tests alone: it tells which of our networks a ComfyUI holds, and which of them are loaded."""

from __future__ import annotations

import gc
import sys
from typing import Any

import comfy.model_management
from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: dict[str, type] = {}


@PromptServer.instance.routes.get("/probe/networks")
async def networks(request: web.Request) -> web.Response:
    """Names of the loaded networks, in ComfyUI's own list, and how many of ours exist at all."""
    loaded = [type(entry.model.model).__name__ for entry in comfy.model_management.current_loaded_models]
    gc.collect()
    pack = next(name for name in sys.modules if name.endswith("FaceStylist.models.generator"))
    generator: Any = sys.modules[pack].Generator
    alive = sum(isinstance(thing, generator) for thing in gc.get_objects())
    return web.json_response({"loaded": loaded, "generators": alive})

"""What ComfyUI's front end queues for the workflows of `graph_corpus.py`, against what was recorded of it.

`RECORD=1` writes the recording anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graph_corpus import CORPUS
from graph_files import CLASSES

from facestylist.headless import builtin_nodes
from facestylist.headless.runner import Runner
from facestylist.runtime.folders import Folders

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RECORDED = Path(__file__).resolve().parents[1] / "cli" / "front_end_prompts.json"
READY = "() => !!(window.app?.extensionManager?.command && LiteGraph.registered_node_types.Show)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the front end that has the small nodes of these workflows."""
    package = pytest.importorskip("comfyui_frontend_package")
    web = pytest.importorskip("aiohttp.web")
    from facestylist.headless.ui.server import create_app

    folder = tmp_path_factory.mktemp("graphs")
    folders = Folders(folder / "input", folder / "output", folder / "temp", folder / "models")
    static = Path(str(package.__file__)).parent / "static"
    up, loop, found = threading.Event(), asyncio.new_event_loop(), []

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = Runner({**builtin_nodes.NODE_CLASS_MAPPINGS, **CLASSES}, builtin_nodes.NODE_DISPLAY_NAME_MAPPINGS)
        server = web.AppRunner(create_app(static, folders, folder / "user", runner))
        loop.run_until_complete(server.setup())
        site = web.TCPSite(server, "127.0.0.1", 0)
        loop.run_until_complete(site.start())
        found.append(server.addresses[0][1])
        up.set()
        loop.run_forever()
        loop.run_until_complete(server.cleanup())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert up.wait(30)
    yield f"http://127.0.0.1:{found[0]}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


def test_the_front_end_still_says_what_was_recorded(chromium: Any, address: str) -> None:
    page = chromium.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.goto(address)
    page.wait_for_function(READY, timeout=180_000)
    prompts = {}
    for name, draw in CORPUS.items():
        page.evaluate("async (document) => { await app.loadGraphData(document, true, true); }", draw().document())
        page.wait_for_timeout(150)
        output = page.evaluate("async () => (await app.graphToPrompt()).output")
        prompts[name] = {key: {"class_type": n["class_type"], "inputs": n["inputs"]} for key, n in output.items()}
    if os.environ.get("RECORD"):
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(prompt)}" for name, prompt in prompts.items())
        RECORDED.write_text(f"{{\n{lines}\n}}\n")
    assert prompts == json.loads(RECORDED.read_text())

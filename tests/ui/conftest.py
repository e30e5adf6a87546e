"""A server of `facestylist ui` and a page that talks to it, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="`facestylist ui` needs aiohttp: pip install aiohttp")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from ui_bench import Fail, Page, Work  # noqa: E402

from facestylist.headless import builtin_nodes  # noqa: E402
from facestylist.headless.runner import Runner  # noqa: E402
from facestylist.runtime.folders import Folders  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_nodes() -> None:
    Work.calls.clear()
    Work.gate.set()
    Work.begun.clear()


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A front end of one page."""
    folder = tmp_path / "static"
    (folder / "extensions" / "core").mkdir(parents=True)
    (folder / "index.html").write_text("<title>front end</title>")
    (folder / "extensions" / "core" / "one.js").write_text("// core")
    (tmp_path / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def with_page(static: Path, tmp_path: Path) -> Callable[[Callable[[Page], Awaitable[None]]], None]:
    """Runs a test with a server and a page."""
    from facestylist.headless.ui.server import create_app

    def run(test: Callable[[Page], Awaitable[None]]) -> None:
        async def whole() -> None:
            classes = {**builtin_nodes.NODE_CLASS_MAPPINGS, "Work": Work, "Fail": Fail}
            folders = Folders(tmp_path / "input", tmp_path / "output", tmp_path / "temp", tmp_path / "models")
            app = create_app(static, folders, tmp_path / "user", Runner(classes, {"Work": "Hard work"}))
            async with TestClient(TestServer(app)) as client:
                page = Page(client, tmp_path)
                try:
                    await test(page)
                finally:
                    await page.close()

        asyncio.run(whole())

    return run

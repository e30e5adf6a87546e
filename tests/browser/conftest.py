"""Chromium on ComfyUI's front end, served by `facestylist ui` and, where there is one, by a real ComfyUI.

Needs Playwright (`pip install playwright`) and a Chromium of the system (`CHROMIUM` names another); without them these
tests are skipped. Pictures of what was on the screen go to `.work/screenshots`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 180_000
RUN_SECONDS = 120_000
OF_A_REAL_SERVER = (
    "Failed to load resource",
    "Content Security Policy",
    "Fetch API cannot load",
    "before initialization",
)
"""What the front end says by itself on a ComfyUI that reaches no network."""

WAIT_FOR_END = """() => { window.ended = new Promise((done) => {
    for (const kind of ["execution_success", "execution_error", "execution_interrupted"])
        app.api.addEventListener(kind, (event) => done([kind, event.detail]), { once: true });
}); }"""


class FrontEnd:
    """A page with the front end in it."""

    def __init__(self, page: Any, url: str, name: str, pictures: Path) -> None:
        self.page = page
        self.url = url
        self.name = name
        self.pictures = pictures
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))

    def start(self) -> None:
        self.page.goto(self.url)
        self.page.wait_for_function(
            "() => !!(window.app?.extensionManager?.command && LiteGraph.registered_node_types.SaveImage)",
            timeout=START_SECONDS,
        )
        self.page.wait_for_timeout(500)

    def open(self, document: dict[str, Any], title: str) -> None:
        self.page.evaluate(
            "async ([document, title]) => { await app.loadGraphData(document, true, true, title); }", [document, title]
        )
        self.page.wait_for_timeout(100)

    def prompt(self) -> dict[str, Any]:
        """What the front end would queue."""
        output = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        for node in output.values():
            # Load Video's player counts as a widget in the page; no node takes it.
            node["inputs"].pop("video-preview", None)
        return {key: {"class_type": n["class_type"], "inputs": n["inputs"]} for key, n in output.items()}

    def run(self) -> tuple[str, dict[str, Any]]:
        """Queues the workflow and waits for its end: the message and its data."""
        self.page.evaluate(WAIT_FOR_END)
        self.page.set_default_timeout(RUN_SECONDS)
        self.page.evaluate("async () => { await app.queuePrompt(0, 1); }")
        kind, data = self.page.evaluate("() => window.ended")
        return kind, data

    def set_widgets(self, assignments: tuple[str, ...]) -> None:
        """Sets widgets by `TITLE.NAME=VALUE`, the title of a node or what it is called without one."""
        for assignment in assignments:
            target, _, value = assignment.partition("=")
            title, _, name = target.rpartition(".")
            found = self.page.evaluate(
                """([title, name, value]) => { const node = app.graph.nodes.find((node) => node.title === title);
                    const widget = node?.widgets?.find((widget) => widget.name === name);
                    if (widget) widget.value = value; return !!widget; }""",
                [title, name, value if name == "settings" else json.loads(value)],
            )
            assert found, assignment

    def show_all(self) -> None:
        """Brings the whole graph into the window."""
        self.page.evaluate("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")

    def picture(self, name: str) -> Path:
        """A screenshot of the whole graph."""
        self.show_all()
        self.page.wait_for_timeout(600)
        path = self.pictures / f"{self.name}-{name}.png"
        self.page.screenshot(path=path)
        return path

    def own_complaints(self) -> list[str]:
        """What went wrong in the page, but for what a real server's front end says by itself."""
        known = OF_A_REAL_SERVER if self.name == "comfyui" else ()
        return [text for text in self.complaints if not any(part in text for part in known)]


# Playwright's synchronous calls keep an event loop running in this thread until it is closed, and other tests start
# their own: so the page lives for a module, not for the session.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine; install one, or name it in CHROMIUM")
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a `facestylist ui`."""
    pytest.importorskip("aiohttp", reason="`facestylist ui` needs aiohttp: pip install aiohttp")
    folder = tmp_path_factory.mktemp("ui")
    command = [sys.executable, "-m", "facestylist", "ui", "--port", "0", "--json"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            yield json.loads(line)["url"]
        finally:
            process.terminate()
            assert process.wait(30) == 0, (folder / "log").read_text()


@pytest.fixture(scope="module", params=["ui", pytest.param("comfyui", marks=pytest.mark.comfyui)])
def site(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name and address of a server."""
    if request.param == "ui":
        return "ui", request.getfixturevalue("stand_in")
    return "comfyui", request.getfixturevalue("comfyui").url


@pytest.fixture(scope="module")
def opened(chromium: Any, site: tuple[str, str], root: Path) -> Iterator[FrontEnd]:
    """A page that is up; starting one takes seconds, so that the tests share it."""
    pictures = root / ".work" / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    context = chromium.new_context(viewport={"width": 1600, "height": 1000})
    front_end = FrontEnd(context.new_page(), site[1], site[0], pictures)
    front_end.start()
    yield front_end
    context.close()


@pytest.fixture
def front_end(opened: FrontEnd) -> FrontEnd:
    """The page, with no complaint yet but those of its start."""
    if opened.name == "comfyui" or not opened.complaints:
        opened.complaints.clear()
    return opened

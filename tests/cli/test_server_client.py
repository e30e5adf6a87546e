"""Running on a server, against a small one that answers as ComfyUI does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facestylist.cli.main import main
from facestylist.headless import server_client

OBJECT_INFO = {
    "LoadImage": {"input": {"required": {"image": [["b.png"], {"image_upload": True}]}}, "display_name": "Load Image"},
    "Blur": {"input": {"required": {"image": ["IMAGE"], "seed": ["INT", {"default": 0}]}}, "display_name": "Blur It"},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"], "filename_prefix": ["STRING", {}]}}},
}
LINKS = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]


class FakeComfy(BaseHTTPRequestHandler):
    posted: list[tuple[str, bytes]] = []
    polls = 0
    fail: str = ""

    def do_GET(self) -> None:
        if self.path == "/object_info":
            self._answer(OBJECT_INFO)
        elif self.path == "/queue":
            self._answer({"queue_running": [[0, "p1"]], "queue_pending": []})
        elif self.path == "/history/p1":
            FakeComfy.polls += 1
            self._answer(self._history() if FakeComfy.polls > 1 else {})
        elif self.path.startswith("/view?filename=r_00001_.png&subfolder=sub&type=output"):
            self._answer(b"picture bytes")
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        FakeComfy.posted.append((self.path, body))
        if self.path == "/upload/image":
            self._answer({"name": "up.png", "subfolder": "", "type": "input"})
        elif FakeComfy.fail == "refuse":
            fault = {"message": "Value not in list", "details": "sampler"}
            node_errors = {"2": {"class_type": "Blur", "errors": [fault]}}
            self._answer({"error": {"message": "no"}, "node_errors": node_errors}, 400)
        elif FakeComfy.fail == "partly" and self.path == "/prompt":
            fault = {"message": "Value 5000 bigger than max of 9", "details": "size"}
            node_errors = {"2": {"class_type": "Blur", "errors": [fault]}}
            self._answer({"prompt_id": "p1", "number": 1, "node_errors": node_errors})
        else:
            self._answer({"prompt_id": "p1", "number": 1, "node_errors": {}})

    def _history(self) -> dict[str, Any]:
        if FakeComfy.fail == "node":
            message = {"node_id": "2", "node_type": "Blur", "exception_message": "out of memory\n"}
            return {"p1": {"status": {"status_str": "error", "messages": [["execution_error", message]]}}}
        image = {"filename": "r_00001_.png", "subfolder": "sub", "type": "output"}
        return {"p1": {"outputs": {"3": {"images": [image]}}, "status": {"status_str": "success"}}}

    def _answer(self, body: Any, status: int = 200) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    FakeComfy.posted, FakeComfy.polls, FakeComfy.fail = [], 0, ""
    monkeypatch.setattr(server_client, "POLL_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "input" / "a.png")
    image = {"name": "image", "type": "IMAGE", "link": 1}
    images = {"name": "images", "type": "IMAGE", "link": 2}
    nodes = [
        {"id": 1, "type": "LoadImage", "widgets_values": ["a.png", "image"]},
        {"id": 2, "type": "Blur", "inputs": [image], "widgets_values": [5, "fixed"]},
        {"id": 3, "type": "SaveImage", "inputs": [images], "widgets_values": ["%date:yyyy%"]},
    ]
    (tmp_path / "w.json").write_text(json.dumps({"nodes": nodes, "links": LINKS}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeComfy)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_uploads_queues_waits_and_downloads(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "w.json", "--server", url, "--set", "Blur It.seed=9"]) == 0
    path = tmp_path / "output" / "sub" / "r_00001_.png"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == b"picture bytes"
    (upload, upload_body), (queue, queue_body) = FakeComfy.posted
    assert (upload, queue) == ("/upload/image", "/prompt")
    assert b'filename="a.png"' in upload_body
    sent = json.loads(queue_body)
    assert sent["prompt"]["1"]["inputs"] == {"image": "up.png"}
    assert sent["prompt"]["2"]["inputs"] == {"image": ["1", 0], "seed": 9}
    assert len(sent["prompt"]["3"]["inputs"]["filename_prefix"]) == 4
    assert sent["extra_data"]["extra_pnginfo"]["workflow"]["links"] == LINKS


@pytest.mark.parametrize(
    ("fail", "sentence"),
    [
        ("refuse", "Node 2 (Blur): Value not in list: sampler"),
        ("partly", "Node 2 (Blur): Value 5000 bigger than max of 9: size"),
        ("node", "Node 2 (Blur): out of memory"),
    ],
)
def test_what_the_server_says_is_wrong(url: str, fail: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    FakeComfy.fail = fail
    assert main(["run", "w.json", "--server", url]) == 1
    assert sentence in capsys.readouterr().err


def test_a_node_the_server_does_not_have(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.json").write_text(json.dumps({"7": {"class_type": "Strange", "inputs": {}}}))
    assert main(["run", "w.json", "--server", url]) == 1
    assert "has no Strange (node 7)" in capsys.readouterr().err


def test_a_subgraph_is_sent_opened(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = {
        "id": "blurred",
        "name": "Blurred",
        "inputs": [{"name": "image", "type": "IMAGE", "linkIds": [5]}],
        "outputs": [{"name": "image", "type": "IMAGE"}],
        "nodes": [
            {
                "id": 1,
                "type": "Blur",
                "inputs": [{"name": "image", "type": "IMAGE", "link": 5}],
                "widgets_values": [5, "fixed"],
            }
        ],
        "links": [
            {"id": 5, "origin_id": -10, "origin_slot": 0, "target_id": 1, "target_slot": 0, "type": "IMAGE"},
            {"id": 6, "origin_id": 1, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "IMAGE"},
        ],
    }
    document = json.loads((tmp_path / "w.json").read_text())
    document["nodes"][1] = {"id": 2, "type": "blurred", "inputs": [{"name": "image", "type": "IMAGE", "link": 1}]}
    document["nodes"].append({"id": 9, "type": "Label of some pack"})
    document["definitions"] = {"subgraphs": [kind]}
    (tmp_path / "w.json").write_text(json.dumps(document))
    assert main(["run", "w.json", "--server", url, "--set", "2:1.seed=8"]) == 0
    sent = json.loads(FakeComfy.posted[-1][1])
    assert sent["prompt"]["2:1"] == {"class_type": "Blur", "inputs": {"seed": 8, "image": ["1", 0]}}
    assert sent["prompt"]["3"]["inputs"]["images"] == ["2:1", 0]
    assert sent["extra_data"]["extra_pnginfo"]["workflow"] == document
    assert "node 9 (Label of some pack)" in capsys.readouterr().err


def test_what_runs_in_part_is_cancelled(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    FakeComfy.fail = "partly"
    assert main(["run", "w.json", "--server", url]) == 1
    assert [path for path, _ in FakeComfy.posted][-2:] == ["/queue", "/interrupt"]

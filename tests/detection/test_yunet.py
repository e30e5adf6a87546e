"""Fetching YuNet's weights: only when asked, only the right file, never half of it."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from facestylist.detection import detectors as detection
from facestylist.detection import download, yunet
from facestylist.detection import embedded as detector
from facestylist.detection.download import DownloadError

CONTENT = bytes(range(256)) * 40


class _Files(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/cut":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        bodies = {"/good": CONTENT, "/wrong": CONTENT[:-1] + b"!", "/cut": CONTENT[:500], "/huge": CONTENT * 300}
        self.wfile.write(bodies[self.path])

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A local web server's address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Files) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


@pytest.fixture(autouse=True)
def expected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The test's own file in the place of the real one, an empty download cache, and no proxy in between."""
    monkeypatch.setattr(yunet, "WEIGHTS_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def fetch(folder: Path, *urls: str) -> Path:
    return download.download(urls, folder / "w.pth", hashlib.sha256(CONTENT).hexdigest(), 1_000_000, timeout=5)


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_the_right_file_arrives_whole(path: str, server: str, tmp_path: Path) -> None:
    target = fetch(tmp_path / "new" / "folder", server + path)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o444 == 0o444


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/wrong", "another file than expected"),
        ("/cut", "(another file than expected|no connection)"),
        ("/huge", "more than the file has"),
        ("/gone", "404"),
    ],
)
def test_anything_else_leaves_nothing_behind(path: str, reason: str, server: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"an older one")
    with pytest.raises(DownloadError, match=f"could not be downloaded.*{reason}.*put it into"):
        fetch(tmp_path, server + path)
    assert [file.name for file in tmp_path.iterdir()] == ["w.pth"]
    assert (tmp_path / "w.pth").read_bytes() == b"an older one"


def test_the_next_address_is_tried(server: str, tmp_path: Path) -> None:
    assert fetch(tmp_path, "file:///etc/passwd", f"{server}/wrong", f"{server}/good").read_bytes() == CONTENT


def test_offline_and_unwritable_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="127.0.0.1:9: no connection .*Check the connection"):
        fetch(tmp_path, "http://127.0.0.1:9/w.pth")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot be written into"):
        fetch(tmp_path / "file", "http://127.0.0.1:9/w.pth")


def test_detectors_fetch_only_when_told_to(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded: list[Path] = []
    monkeypatch.setattr(yunet.YuNetDetector, "load", lambda path: loaded.append(Path(path)))
    monkeypatch.setattr(detector.EmbeddedDetector, "load", lambda: "embedded")
    monkeypatch.setattr(yunet.download_yunet_weights, "__defaults__", ((f"{server}/good",),))
    folder, other = tmp_path / "first", tmp_path / "second"
    _Files.asked.clear()
    assert detection.load_detector("auto", [folder, other]) == "embedded"
    assert detection.load_detector("embedded", [folder], True) == "embedded"
    with pytest.raises(FileNotFoundError, match="turn `download_if_missing` on"):
        detection.load_detector("yunet", [folder])
    assert _Files.asked == []
    detection.load_detector("yunet", [folder, other], download_if_missing=True)
    assert loaded == [folder / "yunet_final.pth"] and _Files.asked == ["/good"]
    # Found now, also below another folder, and in torch's cache.
    (other / "sub").mkdir(parents=True)
    (folder / "yunet_final.pth").rename(other / "sub" / "yunet_final.pth")
    detection.load_detector("auto", [folder, other], download_if_missing=True)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (other / "sub" / "yunet_final.pth").rename(tmp_path / "hub" / "checkpoints" / "yunet_final.pth")
    detection.load_detector("yunet", tmp_path)
    assert loaded[1:] == [other / "sub" / "yunet_final.pth", tmp_path / "hub" / "checkpoints" / "yunet_final.pth"]
    assert _Files.asked == ["/good"]


def test_auto_goes_on_without_a_connection_and_yunet_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(detector.EmbeddedDetector, "load", lambda: "embedded")
    monkeypatch.setattr(yunet.download_yunet_weights, "__defaults__", (("http://127.0.0.1:9/w.pth",),))
    with caplog.at_level(logging.WARNING):
        assert detection.load_detector("auto", tmp_path, download_if_missing=True) == "embedded"
    assert "could not be downloaded" in caplog.text and "embedded detector alone" in caplog.text
    with pytest.raises(DownloadError, match="no connection"):
        detection.load_detector("yunet", tmp_path, download_if_missing=True)


def test_the_addresses_and_the_sum_are_those_of_kornia() -> None:
    from kornia.models.yunet import model

    listed = model._url if isinstance(model._url, list) else [model._url]
    assert set(listed) & set(yunet.WEIGHTS_URLS)

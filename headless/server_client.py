"""Runs a workflow on a ComfyUI that is already running, over its HTTP interface."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.files import write_atomically
from ..runtime.folders import portable
from .prompts import InputTypes, WorkflowError, declared_inputs
from .workflow import Workflow, to_workflow, without_foreign

POLL_SECONDS = 0.5
TIMEOUT_SECONDS = 60.0


class ServerError(RuntimeError):
    """The server cannot be reached, refuses the workflow, or failed while running it."""


class ServerClient:
    """One ComfyUI server.

    Args:
        url: its address, for example `http://127.0.0.1:8188`.

    Every method may raise ServerError.
    """

    def __init__(self, url: str) -> None:
        address = url if "://" in url else f"http://{url}"
        if urllib.parse.urlsplit(address).scheme not in ("http", "https"):
            raise ServerError(f"{url!r} is not the address of a ComfyUI server, such as http://127.0.0.1:8188.")
        self._url = address.rstrip("/")

    @cached_property
    def _object_info(self) -> dict[str, dict[str, Any]]:
        known = self._json("/object_info")
        if not isinstance(known, dict) or not all(isinstance(info, dict) for info in known.values()):
            raise ServerError(f"{self._url} does not answer like a ComfyUI server. Check the address.")
        return known

    @cached_property
    def input_types(self) -> dict[str, InputTypes]:
        """The inputs of every class that this server has."""
        return {kind: info.get("input") or {} for kind, info in self._object_info.items()}

    def prepare(self, document: Mapping[str, Any]) -> Workflow:
        """A workflow's prompt for this server.

        Raises:
            WorkflowError: it cannot be read, or needs a class that the server does not have.
        """
        names = {kind: info.get("display_name") or kind for kind, info in self._object_info.items()}
        workflow, foreign = without_foreign(to_workflow(document, self.input_types, names), self.input_types)
        if foreign:
            missing = ", ".join(f"{kind} (node {key})" for key, kind in foreign.items())
            raise WorkflowError(f"The server at {self._url} has no {missing}. Install the missing packs there.")
        return workflow

    def upload_inputs(self, workflow: Workflow, folder: Path) -> None:
        """Sends the pictures that upload widgets name and that are in the local input folder."""
        for node in workflow.prompt.values():
            for name, (_, options) in declared_inputs(self.input_types[node["class_type"]]).items():
                value = node["inputs"].get(name)
                if not options.get("image_upload") or not isinstance(value, str):
                    continue
                path = folder / portable(value, lambda name: (folder / name).is_file())
                if path.is_file():
                    node["inputs"][name] = self._upload(path)

    def run(self, workflow: Workflow, note: Callable[[str], None]) -> dict[str, dict[str, Any]]:
        """Queues a workflow, waits for it, and returns what its output nodes showed.

        An interrupt (Ctrl-C) takes it out of the queue, or stops it.
        """
        body: dict[str, Any] = {"prompt": workflow.prompt, "client_id": uuid.uuid4().hex}
        if workflow.document is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow.document}}
        answer = self._json("/prompt", body)
        prompt_id = answer["prompt_id"]
        if answer.get("node_errors"):
            # The server runs what is left; a script wants all of its workflow or a reason.
            self._cancel(prompt_id)
            raise ServerError("\n".join(_faults(answer)))
        note(f"Queued on {self._url} as {prompt_id}")
        try:
            return self._wait(prompt_id, note)
        except KeyboardInterrupt:
            self._cancel(prompt_id)
            raise

    def download(self, ui: Mapping[str, Any], folder: Path) -> list[Path]:
        """Fetches the pictures that an output node wrote into `folder`, under the names they have there."""
        paths = []
        for entry in ui.get("images") or []:
            query = urllib.parse.urlencode(
                {"filename": entry["filename"], "subfolder": entry.get("subfolder", ""), "type": entry["type"]}
            )
            place = folder / "temp" if entry["type"] == "temp" else folder
            path = (place / entry.get("subfolder", "") / Path(entry["filename"]).name).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise ServerError(f"The server names a picture outside {folder}: {entry}. Nothing was written.")
            paths.append(write_atomically(path, self._request(f"/view?{query}")))
        return paths

    def _cancel(self, prompt_id: str) -> None:
        """Takes a workflow out of the queue, or stops it if it is the one that runs."""
        self._json("/queue", {"delete": [prompt_id]}, answer=False)
        if any(entry[1] == prompt_id for entry in self._json("/queue").get("queue_running", [])):
            self._json("/interrupt", {"prompt_id": prompt_id}, answer=False)

    def _wait(self, prompt_id: str, note: Callable[[str], None]) -> dict[str, dict[str, Any]]:
        waiting = ""
        while True:
            history = self._json(f"/history/{prompt_id}").get(prompt_id)
            if history is not None:
                break
            queue = self._json("/queue")
            ahead = len(queue.get("queue_pending", []))
            running = any(entry[1] == prompt_id for entry in queue.get("queue_running", []))
            state = "Running" if running else f"Waiting, {ahead} in the queue"
            if state != waiting:
                note(state)
                waiting = state
            time.sleep(POLL_SECONDS)
        status = history.get("status") or {}
        for kind, message in status.get("messages") or []:
            if kind == "execution_error":
                raise ServerError(
                    f"Node {message.get('node_id')} ({message.get('node_type')}): "
                    f"{str(message.get('exception_message')).strip()}"
                )
            if kind == "execution_interrupted":
                raise ServerError("The run was interrupted on the server.")
        if status.get("status_str") == "error":
            raise ServerError("The server reports that the workflow failed. Its log says why.")
        return history.get("outputs") or {}

    def _upload(self, path: Path) -> str:
        boundary = uuid.uuid4().hex
        name = path.name.replace('"', "_")
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = json.loads(self._request("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else answer["name"]

    def _json(self, path: str, body: Any = None, answer: bool = True) -> Any:
        data = None if body is None else json.dumps(body).encode()
        text = self._request(path, data, "application/json")
        if not answer:
            return None
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ServerError(f"{self._url} does not answer like a ComfyUI server. Check the address.") from error

    def _request(self, path: str, data: bytes | None = None, content_type: str = "") -> bytes:
        headers = {"Content-Type": content_type} if data is not None else {}
        # The scheme was checked to be http(s) in __init__.
        request = urllib.request.Request(self._url + path, data, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
                return response.read()
        except urllib.error.HTTPError as error:
            raise ServerError(_refusal(self._url, path, error)) from error
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(f"No ComfyUI answers at {self._url} ({reason}). Check the address.") from error


def _refusal(url: str, path: str, error: urllib.error.HTTPError) -> str:
    """What a server says when it refuses a workflow, in a line per node."""
    try:
        answer = json.loads(error.read())
    except (ValueError, OSError):
        answer = {}
    lines = _faults(answer)
    stated = answer.get("error")
    if not lines and stated:
        lines.append(str(stated.get("message") if isinstance(stated, dict) else stated))
    return "\n".join(lines) or f"{url}{path.split('?')[0]} answers {error.code} {error.reason}."


def _faults(answer: Mapping[str, Any]) -> list[str]:
    """A line for each input that the server objects to."""
    return [
        f"Node {key} ({node.get('class_type')}): {fault.get('message')}: {fault.get('details')}"
        for key, node in (answer.get("node_errors") or {}).items()
        for fault in node.get("errors") or []
    ]

"""Workflow files: JSON in any of its encodings, and pictures that carry a workflow.

ComfyUI's SaveImage writes `workflow` (the canvas) and `prompt` into a PNG's texts; in a WebP, a JPEG or an AVIF packs
write `workflow:` and `prompt:` before each in EXIF texts, usually Make and Model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .prompts import WorkflowError

MAX_DEPTH = 200
"""Lists in lists in lists: no workflow comes near, and Python's stack ends somewhere above."""


def read_workflow_file(path: str | Path) -> dict[str, Any]:
    """The JSON of a workflow file, or of the workflow inside a picture that ComfyUI saved.

    Raises:
        WorkflowError: the file is missing, holds no JSON, or holds something that is not a workflow.
    """
    return read_workflows(path)[0]


def read_workflows(path: str | Path) -> list[dict[str, Any]]:
    """The same, and behind it the prompt that the picture was made with, if it carries that too.

    Raises:
        WorkflowError: as above.
    """
    path = Path(path)
    if not path.is_file():
        raise WorkflowError(f"There is no workflow {path}. Check the path.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WorkflowError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not _is_picture(data):
        return [_workflow(_parse(data, path), path)]
    texts = _texts(path)
    found = [_workflow(_parse(texts[key], path), path) for key in ("workflow", "prompt") if texts.get(key)]
    if not found:
        raise WorkflowError(f"{path} carries no workflow. Only pictures saved by ComfyUI's SaveImage do.")
    return found


def is_ui_format(document: Mapping[str, Any]) -> bool:
    """Whether this is what the front end saves, as against what it exports for the API."""
    return isinstance(document.get("nodes"), list)


def _parse(data: bytes | str, path: Path) -> Any:
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise WorkflowError(f"{path} is nested too deeply for a workflow.") from error
    except UnicodeDecodeError as error:
        raise WorkflowError(f"{path} is neither UTF-8 nor UTF-16 text. Save it as UTF-8.") from error
    except ValueError as error:
        raise WorkflowError(f"{path} is not JSON ({error}). Save the workflow again from ComfyUI.") from error
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise WorkflowError(f"{path} is nested more than {MAX_DEPTH} deep, which no workflow is.")
        level = [
            inner
            for value in level
            if isinstance(value, (list, dict))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    return document


def _workflow(document: Any, path: Path) -> dict[str, Any]:
    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        document = document["prompt"]
    if isinstance(document, dict) and is_ui_format(document):
        return document
    nodes = document.values() if isinstance(document, dict) else ()
    if not any(isinstance(node, dict) and "class_type" in node for node in nodes):
        raise WorkflowError(f"{path} is not a ComfyUI workflow: neither `nodes` nor a `class_type` in each entry.")
    return dict(document)


def _is_picture(data: bytes) -> bool:
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return webp or data.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff")) or data[4:8] == b"ftyp"


def _texts(path: Path) -> dict[str, str]:
    """The texts inside a picture by their names."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            texts = {str(key): text for key, text in picture.info.items() if isinstance(text, str)}
            entries = [value for value in picture.getexif().values() if isinstance(value, (str, bytes))]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise WorkflowError(f"{path} cannot be read as a picture ({error}).") from error
    for entry in entries:
        text = entry.decode("utf-8", "replace") if isinstance(entry, bytes) else entry
        name, colon, rest = text.partition(":")
        if colon:
            texts.setdefault(name.strip().lower(), rest.rstrip("\x00"))
    return texts

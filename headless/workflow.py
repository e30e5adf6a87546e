"""Workflows: files of what the front end saves or exports for the API, read, and made one prompt that can be run.

ComfyUI's SaveImage writes `workflow` (the canvas) and `prompt` into a PNG's texts; in a WebP, a JPEG or an AVIF packs
write `workflow:` and `prompt:` before each in EXIF texts, usually Make and Model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .canvas import Canvas, runs
from .graphs import read_graph
from .prompts import InputTypes, Prompt, WorkflowError, is_link
from .virtual_nodes import COMMENTS

HOLDS_A_VALUE = re.compile(
    r"(easy|primitive|constant|const|value|number|int|integer|float|string|text|str|multiline|bool|boolean|literal"
    r"|kj|impact|tt?n|jw|crystools|simple|\W|\d|_)+",
    re.IGNORECASE,
)
"""What a node that only holds a value is called in one pack or another: `INTConstant`, `easy float`, `ImpactInt`,
`Primitive string [Crystools]`."""
MAX_DEPTH = 200
"""Lists in lists in lists: no workflow comes near, and Python's stack ends somewhere above."""


@dataclass(frozen=True)
class Workflow:
    """A workflow made ready to run."""

    prompt: Prompt
    """The nodes that run, by id; those in a subgraph as `5:1`."""
    document: Mapping[str, Any] | None = None
    """The front end's own file, which SaveImage keeps in its pictures."""
    skipped: tuple[str, ...] = ()
    """Nodes left out because something muted or bypassed feeds a required input of theirs, as people call them."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """What each node is called on the canvas."""
    promoted: Mapping[str, Mapping[str, list[tuple[str, str]]]] = field(default_factory=dict)
    """For a subgraph's node and each value on it the nodes and inputs inside that have it."""
    notes: tuple[str, ...] = ()
    """What else was left out, a sentence each."""


def node_types(document: Mapping[str, Any]) -> dict[str, str]:
    """The class of every node that goes into the prompt of this workflow, by id.

    Raises:
        WorkflowError: a node or a link is not what it should be.
    """
    if not is_ui_format(document):
        return {key: node["class_type"] for key, node in _api_nodes(document).items()}
    return {node.key: node.type for node in read_graph(document, COMMENTS).everything() if runs(node)}


def to_workflow(
    document: Mapping[str, Any], input_types: Mapping[str, InputTypes], display_names: Mapping[str, str] | None = None
) -> Workflow:
    """Makes the prompt of a workflow in either format.

    Args:
        document: the file's JSON.
        input_types: for the classes in `node_types(document)` that are known, what their `INPUT_TYPES()` return.
        display_names: what the front end calls a class, for nodes that have no title of their own.

    Raises:
        WorkflowError: a node, a link or a value is not what it should be; it is named.
    """
    names = display_names or {}
    if is_ui_format(document):
        drawn = Canvas(read_graph(document, COMMENTS), input_types, names).draw()
        workflow = Workflow(drawn.prompt, document, drawn.skipped, drawn.titles, drawn.promoted)
    else:
        nodes = _api_nodes(document)
        prompt = {key: {name: node[name] for name in ("class_type", "inputs")} for key, node in nodes.items()}
        workflow = Workflow(prompt, titles={key: _api_title(node, names) for key, node in nodes.items()})
    for key, node in workflow.prompt.items():
        for name, value in node["inputs"].items():
            said = f"Input `{name}` of node {key} ({node['class_type']})"
            if is_link(value) and str(value[0]) not in workflow.prompt:
                raise WorkflowError(
                    f"{said} is linked to node {value[0]}, which the workflow does not have. Connect it again and save."
                )
            if isinstance(value, float) and not math.isfinite(value):
                raise WorkflowError(f"{said} is {value}, which is no number to count with. Give it another value.")
            if isinstance(value, str) and not _is_text(value):
                raise WorkflowError(f"{said} is {value!r}, which holds what no text can. Type it anew.")
    return workflow


def without_foreign(workflow: Workflow, known: Collection[str]) -> tuple[Workflow, dict[str, str]]:
    """A workflow without the nodes of unknown classes that it can do without, and the classes of those it needs, by id.

    It can do without what only holds a value, which its links get, and without what nothing is linked to.
    """
    foreign = {key: str(node["class_type"]) for key, node in workflow.prompt.items() if node["class_type"] not in known}
    if not foreign:
        return workflow, {}
    prompt = {key: {**node, "inputs": dict(node["inputs"])} for key, node in workflow.prompt.items()}
    values = {key: value for key in foreign if (value := _held_value(prompt[key])) is not None}
    touched = {key for key in foreign if any(is_link(value) for value in prompt[key]["inputs"].values())}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if is_link(value) and str(value[0]) in values and value[1] == 0:
                node["inputs"][name] = values[str(value[0])]
            elif is_link(value):
                touched.add(str(value[0]))
    left_out = [key for key in foreign if key not in touched]
    if len(left_out) == len(prompt):
        return workflow, foreign
    notes = tuple(
        f"Left out, because it is not known here and nothing is linked to it: node {key} ({foreign[key]})"
        for key in left_out
        if key not in values
    )
    rest: Prompt = {key: node for key, node in prompt.items() if key not in left_out}
    needed = {key: kind for key, kind in foreign.items() if key in rest}
    return replace(workflow, prompt=rest, notes=(*workflow.notes, *notes)), needed


def _held_value(node: Mapping[str, Any]) -> Any:
    """What a node of another pack holds, if that is all it does."""
    inputs = list(node["inputs"].values())
    if len(inputs) != 1 or not isinstance(inputs[0], (str, int, float)):
        return None
    return inputs[0] if HOLDS_A_VALUE.fullmatch(node["class_type"]) else None


def _is_text(value: str) -> bool:
    """Whether a string has neither a zero in it nor half of a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _api_nodes(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for key, node in document.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        if not isinstance(kind, str):
            raise WorkflowError(f"Node {key} of the workflow has no `class_type`. Export it again from ComfyUI.")
        if not isinstance(node.get("inputs", {}), dict):
            raise WorkflowError(f"The `inputs` of node {key} ({kind}) are no mapping of names to values.")
        nodes[str(key)] = {**node, "inputs": dict(node.get("inputs", {}))}
    return nodes


def _api_title(node: Mapping[str, Any], display_names: Mapping[str, str]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) and title else display_names.get(node["class_type"], "")


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

"""Workflows: from what the front end saves, or exports for the API, to one prompt that can be run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .canvas import Canvas, runs
from .graphs import read_graph
from .prompts import InputTypes, Prompt, WorkflowError, declared_inputs, is_link, is_widget
from .virtual_nodes import COMMENTS
from .workflow_file import is_ui_format, read_workflow_file

__all__ = [
    "InputTypes",
    "Prompt",
    "Workflow",
    "WorkflowError",
    "declared_inputs",
    "is_link",
    "is_ui_format",
    "is_widget",
    "node_types",
    "read_workflow_file",
    "to_workflow",
]


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
    document: Mapping[str, Any],
    input_types: Mapping[str, InputTypes],
    display_names: Mapping[str, str] | None = None,
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

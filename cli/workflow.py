"""Workflow files: from what the front end saves, or exports for the API, to one prompt that can be run.

A PROMPT is what ComfyUI's server takes: `{node id: {"class_type": ..., "inputs": {name: value or [node id, slot]}}}`.
The front end's own format keeps widget values in declaration order and has nodes that never reach the server; this file
does to them what the front end does when a workflow is queued.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Prompt = dict[str, dict[str, Any]]
InputTypes = Mapping[str, Mapping[str, Any]]
"""What a node's `INPUT_TYPES()` returns, or the `input` of ComfyUI's `/object_info`."""

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
SEED_CONTROLS = ("fixed", "increment", "decrement", "randomize")
COMMENT_NODES = ("Note", "MarkdownNote")
MUTED, BYPASSED = 2, 4


class WorkflowError(ValueError):
    """A workflow that cannot be read or run; the message says what to change."""


@dataclass(frozen=True)
class Workflow:
    """A workflow made ready to run."""

    prompt: Prompt
    """The nodes that run, by id."""
    document: Mapping[str, Any] | None = None
    """The front end's own file, which SaveImage keeps in its pictures."""
    skipped: tuple[str, ...] = ()
    """Nodes left out because something muted feeds a required input of theirs, as people call them."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """What each node is called on the canvas."""


def read_workflow_file(path: str | Path) -> dict[str, Any]:
    """The JSON of a workflow file, or of the workflow inside a PNG that SaveImage wrote.

    Raises:
        WorkflowError: the file is missing, holds no JSON, or holds something that is not a workflow.
    """
    path = Path(path)
    if not path.is_file():
        raise WorkflowError(f"There is no workflow {path}. Check the path.")
    text = _png_workflow(path) if path.suffix.lower() == ".png" else path.read_text(encoding="utf-8", errors="replace")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise WorkflowError(f"{path} is not JSON ({error}). Save the workflow again from ComfyUI.") from error
    if isinstance(document, dict) and isinstance(document.get("prompt"), dict):
        document = document["prompt"]
    if not isinstance(document, dict) or not (is_ui_format(document) or _is_api_format(document)):
        raise WorkflowError(f"{path} is not a ComfyUI workflow: neither `nodes` nor a `class_type` in each entry.")
    return document


def is_ui_format(document: Mapping[str, Any]) -> bool:
    """Whether this is what the front end saves, as against what it exports for the API."""
    return isinstance(document.get("nodes"), list)


def node_types(document: Mapping[str, Any]) -> dict[str, str]:
    """The class of every node that has to be known to run this workflow, by id.

    Raises:
        WorkflowError: the workflow contains subgraphs.
    """
    if not is_ui_format(document):
        return {str(key): node["class_type"] for key, node in document.items()}
    _refuse_subgraphs(document)
    passive = (*COMMENT_NODES, "Reroute", "PrimitiveNode")
    return {
        str(node["id"]): node["type"]
        for node in document["nodes"]
        if node["type"] not in passive and node.get("mode", 0) not in (MUTED, BYPASSED)
    }


def to_workflow(
    document: Mapping[str, Any],
    input_types: Mapping[str, InputTypes],
    display_names: Mapping[str, str] | None = None,
) -> Workflow:
    """Makes the prompt of a workflow in either format.

    Args:
        document: the file's JSON.
        input_types: for every class in `node_types(document)`, what its `INPUT_TYPES()` returns.
        display_names: what the front end calls a class, for nodes that have no title of their own.

    Raises:
        WorkflowError: a link leads nowhere, or the workflow contains subgraphs.
    """
    if is_ui_format(document):
        prompt, skipped, titles = _Canvas(document, input_types, display_names or {}).prompt()
        workflow = Workflow(prompt, document, skipped, titles)
    else:
        prompt = {
            str(key): {"class_type": node["class_type"], "inputs": dict(node.get("inputs", {}))}
            for key, node in document.items()
        }
        titles = {
            str(key): (node.get("_meta") or {}).get("title") or (display_names or {}).get(node["class_type"], "")
            for key, node in document.items()
        }
        workflow = Workflow(prompt, titles=titles)
    for key, node in workflow.prompt.items():
        for name, value in node["inputs"].items():
            if is_link(value) and str(value[0]) not in workflow.prompt:
                raise WorkflowError(
                    f"Input `{name}` of node {key} ({node['class_type']}) is linked to node {value[0]}, which the "
                    "workflow does not have. Connect it again and save."
                )
    return workflow


def is_link(value: Any) -> bool:
    """Whether an input's value is `[node id, output slot]`."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and type(value[1]) is int


def declared_inputs(types: InputTypes) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every visible input of a node as `name: (type, options)`, required ones first, in declaration order."""
    declared: dict[str, tuple[Any, dict[str, Any]]] = {}
    for group in ("required", "optional"):
        for name, spec in (types.get(group) or {}).items():
            declared[name] = (spec[0], dict(spec[1]) if len(spec) > 1 else {})
    return declared


def is_widget(kind: Any, options: Mapping[str, Any]) -> bool:
    """Whether the front end draws a widget for an input of this type, so that it has a value without a link."""
    return not options.get("forceInput") and (isinstance(kind, (list, tuple)) or kind in WIDGET_TYPES)


class _Canvas:
    """A workflow in the front end's format, looked up by node and by link."""

    def __init__(
        self, document: Mapping[str, Any], input_types: Mapping[str, InputTypes], display_names: Mapping[str, str]
    ) -> None:
        _refuse_subgraphs(document)
        self._nodes: dict[str, Mapping[str, Any]] = {str(node["id"]): node for node in document["nodes"]}
        self._links = dict(_link_ends(document.get("links") or []))
        self._input_types = input_types
        self._display_names = display_names

    def prompt(self) -> tuple[Prompt, tuple[str, ...], dict[str, str]]:
        prompt: Prompt = {}
        broken: set[str] = set()
        for key, class_type in node_types({"nodes": list(self._nodes.values())}).items():
            inputs, cut = self._inputs(self._nodes[key], self._input_types[class_type])
            prompt[key] = {"class_type": class_type, "inputs": inputs}
            required = self._input_types[class_type].get("required") or {}
            if any(name in required for name in cut):
                broken.add(key)
        # What cannot run for want of a muted node takes those that need it along.
        while True:
            more = {
                key
                for key, node in prompt.items()
                if key not in broken
                and any(is_link(value) and value[0] in broken for value in node["inputs"].values())
            }
            if not more:
                break
            broken |= more
        titles = {key: self._title(key) for key in prompt}
        skipped = tuple(f"{key} ({titles[key]})" for key in prompt if key in broken)
        return {key: node for key, node in prompt.items() if key not in broken}, skipped, titles

    def _inputs(self, node: Mapping[str, Any], types: InputTypes) -> tuple[dict[str, Any], list[str]]:
        """A node's values and links, and the names of inputs whose link ends at a muted node."""
        inputs = _widget_values(node, types)
        cut: list[str] = []
        for slot in node.get("inputs") or []:
            if slot.get("link") is None:
                continue
            origin, value = self._resolve(slot["link"])
            if origin == "node" or origin == "value":
                inputs[slot["name"]] = value
            else:
                inputs.pop(slot["name"], None)
                if origin == "muted":
                    cut.append(slot["name"])
        return inputs, cut

    def _resolve(self, link: int) -> tuple[str, Any]:
        """Follows a link back through reroutes, primitives and bypassed nodes.

        Returns `("node", [id, slot])`, `("value", a primitive's value)`, `("muted", None)`, or `("nothing", None)`.
        """
        seen: set[int] = set()
        while True:
            if link not in self._links or link in seen:
                raise WorkflowError(f"Link {link} of the workflow leads nowhere. Connect it again and save.")
            seen.add(link)
            key, slot, kind = self._links[link]
            node = self._nodes.get(key)
            if node is None:
                raise WorkflowError(f"Link {link} starts at node {key}, which the workflow does not have.")
            mode = node.get("mode", 0)
            if mode == MUTED:
                return "muted", None
            if node["type"] == "PrimitiveNode":
                values = node.get("widgets_values") or []
                return ("value", values[0]) if values else ("nothing", None)
            if node["type"] == "Reroute":
                following = next((entry.get("link") for entry in node.get("inputs") or []), None)
            elif mode == BYPASSED:
                following = _bypass(node, slot, kind)
            else:
                return "node", [key, slot]
            if following is None:
                return "nothing", None
            link = following

    def _title(self, key: str) -> str:
        node = self._nodes[key]
        return node.get("title") or self._display_names.get(node["type"]) or node["type"]


def _bypass(node: Mapping[str, Any], slot: int, kind: Any) -> int | None:
    """The link that takes the place of a bypassed node's output: same slot first, then the first of the same type."""
    outputs = node.get("outputs") or []
    kind = outputs[slot].get("type", kind) if slot < len(outputs) else kind
    inputs = node.get("inputs") or []
    ordered = [*inputs[slot : slot + 1], *inputs]
    return next((entry["link"] for entry in ordered if entry.get("link") and _same(entry.get("type"), kind)), None)


def _same(a: Any, b: Any) -> bool:
    return a == b or "*" in (a, b)


def _widget_values(node: Mapping[str, Any], types: InputTypes) -> dict[str, Any]:
    """A node's widget values by name, from the list in declaration order or from the newer mapping."""
    stored = node.get("widgets_values") or []
    declared = declared_inputs(types)
    if isinstance(stored, dict):
        return {name: stored[name] for name, spec in declared.items() if is_widget(*spec) and name in stored}
    values: dict[str, Any] = {}
    position = 0
    for name, (kind, options) in declared.items():
        if not is_widget(kind, options):
            continue
        if position >= len(stored):
            break
        values[name] = stored[position]
        position += 1
        # "Control after generate" is a second widget, which the node never sees.
        seedlike = options.get("control_after_generate") or (kind == "INT" and name in ("seed", "noise_seed"))
        if seedlike and position < len(stored) and stored[position] in SEED_CONTROLS:
            position += 1
    return values


def _link_ends(links: Iterable[Any]) -> Iterable[tuple[int, tuple[str, int, Any]]]:
    """`(link id, (origin node, origin slot, type))` from either of the two ways in which links are saved."""
    for link in links:
        if isinstance(link, dict):
            yield link["id"], (str(link["origin_id"]), link["origin_slot"], link.get("type"))
        else:
            yield link[0], (str(link[1]), link[2], link[5] if len(link) > 5 else None)


def _refuse_subgraphs(document: Mapping[str, Any]) -> None:
    names = {
        graph.get("id"): graph.get("name") or graph.get("id")
        for graph in (document.get("definitions") or {}).get("subgraphs") or []
    }
    used = [str(names[node["type"]]) for node in document["nodes"] if node["type"] in names]
    used += [node["type"] for node in document["nodes"] if node["type"].startswith(("workflow/", "workflow>"))]
    if used:
        raise WorkflowError(
            f"The workflow contains the subgraph {', '.join(repr(name) for name in used)}, which the runner does not "
            "open. Unpack it in ComfyUI (right-click, Unpack Subgraph) and save again, or use --server."
        )


def _is_api_format(document: Mapping[str, Any]) -> bool:
    return bool(document) and all(isinstance(node, dict) and "class_type" in node for node in document.values())


def _png_workflow(path: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            text = picture.info.get("workflow") or picture.info.get("prompt")
    except (UnidentifiedImageError, OSError) as error:
        raise WorkflowError(f"{path} cannot be read as a PNG picture ({error}).") from error
    if not text:
        raise WorkflowError(f"{path} carries no workflow. Only pictures saved by ComfyUI's SaveImage do.")
    return str(text)

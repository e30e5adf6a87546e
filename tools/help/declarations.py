"""What a node declares, as plain records in the order of the declaration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.settings import FieldSpec, fields_of
from ...nodes.declare import WithSettings

FILE_LISTS = {
    ("FaceStylistLoadGenerator", "name"),
    ("FaceStylistConvertCheckpoint", "checkpoint"),
    ("FaceStylistLoadEncoder", "name"),
    ("FaceStylistLoadFastStylizer", "name"),
    ("FaceStylistLpipsGuide", "backbone"),
    ("FaceStylistLpipsGuide", "linear"),
    ("FaceStylistIdentityGuide", "file"),
    ("FaceStylistDinoGuide", "file"),
    ("FaceStylistParsingGuide", "file"),
}
"""Lists of the files on this machine: their options and defaults belong to no page."""


@dataclass(frozen=True)
class Slot:
    """An input or an output. `kind` is a socket, a widget's type, "choice" or "file"; `options` are an input's own."""

    name: str
    kind: str
    tooltip: str
    required: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class Node:
    """One node as its user sees it."""

    id: str
    display_name: str
    category: str
    description: str
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    settings: tuple[FieldSpec, ...] = ()
    """Those that are lines of the text `settings`."""


def all_nodes() -> list[Node]:
    """Every node of the pack, in the order of the mapping."""
    from ...nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    return [read(name, NODE_DISPLAY_NAME_MAPPINGS[name], node) for name, node in NODE_CLASS_MAPPINGS.items()]


def read(node_id: str, display_name: str, node: Any) -> Node:
    """The declaration of one node class; hidden inputs are left out, because nobody sees them."""
    types = node.INPUT_TYPES()
    inputs = [
        _input(node_id, name, declared, required=group == "required")
        for group in ("required", "optional")
        for name, declared in types.get(group, {}).items()
    ]
    outputs = [
        Slot(name, kind, tooltip, True, {})
        for name, kind, tooltip in zip(node.RETURN_NAMES, node.RETURN_TYPES, node.OUTPUT_TOOLTIPS, strict=True)
    ]
    lines = [spec for spec in fields_of(node.CONFIG) if spec.place == "text"] if issubclass(node, WithSettings) else []
    return Node(node_id, display_name, node.CATEGORY, node.DESCRIPTION, tuple(inputs), tuple(outputs), tuple(lines))


def _input(node_id: str, name: str, declared: Any, *, required: bool) -> Slot:
    kind, options = declared[0], dict(declared[1])
    tooltip = options.pop("tooltip")
    if (node_id, name) in FILE_LISTS:
        return Slot(name, "file", tooltip, required, {})
    if isinstance(kind, (list, tuple)):
        options["choices"] = [str(choice) for choice in kind]
        options.setdefault("default", options["choices"][0])
        kind = "choice"
    return Slot(name, kind, tooltip, required, options)

"""The values of a node's widgets by name, from whichever way a file keeps them.

Newer files keep names (a mapping, or `widgets_values_named`) or tell them by the inputs that belong to widgets; older
ones a list in declaration order, in which newer widgets are missing at the end. What no file says has its default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .graphs import Node
from .prompts import WIDGET_TYPES, InputTypes, declared_inputs, is_widget

SEED_CONTROLS = ("fixed", "increment", "decrement", "randomize")
CONTROL = "control_after_generate"


def widget_values(node: Node, types: InputTypes) -> dict[str, Any]:
    """Every widget's value by name."""
    declared = declared_inputs(types)
    widgets = {name: spec for name, spec in declared.items() if is_widget(*spec)}
    found = _saved(node, declared, widgets)
    values: dict[str, Any] = {}
    for name in [*widgets, *(name for name in found if name in declared and name not in widgets)]:
        value = found.get(name)
        if value is None and name in widgets:
            value = default(*widgets[name])
        if value is not None:
            values[name] = value
    return values


def default(kind: Any, options: Mapping[str, Any]) -> Any:
    """What the front end puts into a new widget; None where a list has nothing to choose."""
    if options.get("default") is not None:
        return options["default"]
    if kind in ("INT", "FLOAT"):
        return options.get("min", 0)
    if kind == "STRING":
        return ""
    if kind == "BOOLEAN":
        return False
    offered = kind if isinstance(kind, (list, tuple)) else options.get("options") or []
    return offered[0] if offered else None


def as_input(value: Any) -> Any:
    """A value as a prompt has it: lists are wrapped there, because a bare one is a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _saved(node: Node, declared: Mapping[str, Any], widgets: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(node.values, Mapping):
        return node.values
    if node.named_values is not None:
        return node.named_values
    if not isinstance(node.values, list):
        return {}
    names = [slot.name for slot in node.inputs if slot.is_widget]
    whole = _walk(names, node.values, declared, exact=True)
    if whole is not None:
        return whole
    # Before version 1.16 of the front end an input that takes links only had a value in the list all the same.
    forced = [
        name
        for name, (kind, options) in declared.items()
        if name in widgets or (options.get("forceInput") and (kind in WIDGET_TYPES or isinstance(kind, (list, tuple))))
    ]
    if len(forced) > len(widgets):
        whole = _walk(forced, node.values, declared, exact=True)
        if whole is not None:
            return {name: value for name, value in whole.items() if name in widgets}
    return _walk(list(widgets), node.values, declared) or {}


def _walk(
    names: Sequence[str], values: Sequence[Any], declared: Mapping[str, Any], exact: bool = False
) -> dict[str, Any] | None:
    """Names and values side by side; with `exact` None where they are not equally many."""
    found: dict[str, Any] = {}
    position = 0
    for index, name in enumerate(names):
        if position >= len(values):
            return None if exact else found
        found[name] = values[position]
        position += 1
        # "Control after generate" is a second widget, which the node never sees.
        if position < len(values) and values[position] in SEED_CONTROLS and isinstance(values[position], str):
            spare = len(values) - position > len(names) - index - 1
            if _is_seedlike(name, declared) or (exact and name not in declared and spare):
                position += 1
    # An upload button has a value of its own at the end.
    return None if exact and (not names or values[position:] not in ([], ["image"])) else found


def _is_seedlike(name: str, declared: Mapping[str, Any]) -> bool:
    if name not in declared:
        return False
    kind, options = declared[name]
    return bool(options.get(CONTROL)) or (kind == "INT" and name in ("seed", "noise_seed"))


def unnamed_values(node: Node) -> dict[str, Any]:
    """The values of a node of an unknown class: by name where its inputs tell the names, else numbered."""
    if not isinstance(node.values, list):
        return dict(node.values) if isinstance(node.values, Mapping) else {}
    values = [value for value in node.values if not (isinstance(value, str) and value in SEED_CONTROLS)]
    names = [slot.name for slot in node.inputs if slot.is_widget]
    if len(names) != len(values):
        names = [str(place) for place in range(len(values))]
    return dict(zip(names, values, strict=True))


def single_value(node: Node) -> Any:
    """The first value that a node holds, whatever it is called; None where it holds none."""
    values = list(node.values.values()) if isinstance(node.values, Mapping) else node.values
    return values[0] if isinstance(values, list) and values else None

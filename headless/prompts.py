"""What a prompt consists of: nodes by id, each with values and links, and what node classes declare.

A PROMPT is what ComfyUI's server takes: `{node id: {"class_type": ..., "inputs": {name: value or [node id, slot]}}}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Prompt = dict[str, dict[str, Any]]
InputTypes = Mapping[str, Mapping[str, Any]]
"""What a node's `INPUT_TYPES()` returns, or the `input` of ComfyUI's `/object_info`."""

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


class WorkflowError(ValueError):
    """A workflow that cannot be read or run; the message says what to change."""


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

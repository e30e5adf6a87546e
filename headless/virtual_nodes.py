"""Nodes that only the front end knows: they never reach a server, and some of them are wires or values.

A pack's own such nodes are known here by their names, because only its JavaScript tells what they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .graphs import Graph, Node
from .prompts import Prompt, is_link
from .widgets import single_value

if TYPE_CHECKING:
    from .workflow import Workflow

COMMENTS = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Label (rgthree)",
        "Bookmark (rgthree)",
        "Note Plus (mtb)",
        "LG_Note",
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Node Collector (rgthree)",
        "Random Unmuter (rgthree)",
    }
)
"""Remarks, and switches that have done their work when a workflow is saved: nothing comes out of them."""

REROUTES = frozenset({"Reroute", "Reroute (rgthree)", "ReroutePrimitive|pysssss"})
SETTERS = frozenset({"SetNode", "easy setNode", "SetNode|pysssss", "PixaromaSetNode"})
GETTERS = frozenset({"GetNode", "easy getNode", "GetNode|pysssss", "PixaromaGetNode"})
PRIMITIVE = "PrimitiveNode"

VIRTUAL = COMMENTS | REROUTES | SETTERS | GETTERS | {PRIMITIVE}

HOLDS_A_VALUE = re.compile(
    r"(easy|primitive|constant|const|value|number|int|integer|float|string|text|str|multiline|bool|boolean|literal"
    r"|kj|impact|tt?n|jw|crystools|simple|\W|\d|_)+",
    re.IGNORECASE,
)
"""What a node that only holds a value is called in one pack or another: `INTConstant`, `easy float`, `ImpactInt`,
`Primitive string [Crystools]`."""


def setter_of(getter: Node) -> Node | None:
    """The node that sets what another one gets by name: in the same graph, or in one around it."""
    name = single_value(getter)
    graph: Graph | None = getter.graph
    while graph is not None and name:
        for node in graph.nodes.values():
            if node.type in SETTERS and single_value(node) == name:
                return node
        graph = graph.host.graph if graph.host is not None else None
    return None


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

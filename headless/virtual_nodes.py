"""Nodes that only the front end knows: they never reach a server, and some of them are wires or values.

A pack's own such nodes are known here by their names, because only its JavaScript tells what they are.
"""

from __future__ import annotations

from .graphs import Graph, Node
from .widgets import single_value

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

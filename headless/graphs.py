"""The front end's own format, read with care: nodes, slots and links by id, every subgraph opened in its place.

A node inside a subgraph has its id behind that of the subgraph's node, `5:1`, as in the prompts that the front end
queues; a subgraph that is used twice is here twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .prompts import WorkflowError

MUTED, BYPASSED = 2, 4
SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS = "-10", "-20"
"""Ids of the two ends of a subgraph, which links inside it use like a node's."""
MAX_NODES = 20_000
"""More than anybody draws; a subgraph that holds ten of another, which holds ten of a third, gets there quickly."""
MAX_DEPTH = 100
"""How many subgraphs may lie in each other."""


@dataclass(frozen=True)
class Slot:
    """An input of a node as it was saved."""

    name: str
    type: Any
    link: str | None
    is_widget: bool
    """Whether it belongs to a widget of this name."""


@dataclass(frozen=True)
class Link:
    """Where a link comes from and goes to; nodes by their id within the graph."""

    id: str
    origin: str
    origin_slot: int
    target: str
    target_slot: int
    type: Any


@dataclass(eq=False)
class Node:
    """A node on the canvas."""

    id: str
    key: str
    """Its full id, as prompts have it."""
    type: str
    mode: int
    title: str
    inputs: list[Slot]
    outputs: list[Any]
    """Their types."""
    values: Any
    """`widgets_values`: a list in the order of the widgets, or a mapping by name."""
    named_values: Mapping[str, Any] | None
    properties: Mapping[str, Any]
    graph: Graph
    """The graph it is in."""
    inside: Graph | None = None
    """What is in it, for a subgraph."""

    @property
    def is_active(self) -> bool:
        return self.mode not in (MUTED, BYPASSED)

    def __str__(self) -> str:
        return f"{self.key} ({self.title or self.type})"


@dataclass(eq=False)
class Graph:
    """The canvas, or the inside of one subgraph's node."""

    host: Node | None = None
    """The node that this is the inside of."""
    name: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    inputs: list[tuple[str, Any, list[str]]] = field(default_factory=list)
    """A subgraph's inputs: name, type and the links that leave it, in its order."""
    outputs: list[tuple[str, Any]] = field(default_factory=list)
    """A subgraph's outputs: name and type."""

    def everything(self) -> Iterable[Node]:
        """All nodes, those inside after the one that holds them."""
        waiting = list(reversed(self.nodes.values()))
        while waiting:
            node = waiting.pop()
            yield node
            if node.inside is not None:
                waiting += reversed(node.inside.nodes.values())


def read_graph(document: Mapping[str, Any], passive: Iterable[str] = ()) -> Graph:
    """The canvas with every subgraph opened.

    Args:
        document: what the front end saved.
        passive: node types that say something to the reader only; an id is not asked of them.

    Raises:
        WorkflowError: a node, a link or a subgraph is not what it should be, or a subgraph holds itself.
    """
    definitions = _definitions(document)
    passive = frozenset(passive)
    root = Graph()
    waiting: list[tuple[Graph, Mapping[str, Any], tuple[str, ...]]] = [(root, document, ())]
    count = 0
    while waiting:
        graph, data, trail = waiting.pop()
        _fill(graph, data, passive)
        count += len(graph.nodes)
        if count > MAX_NODES:
            raise WorkflowError(f"The workflow has more than {MAX_NODES:,} nodes, counting those inside subgraphs.")
        for node in graph.nodes.values():
            definition = definitions.get(node.type)
            # As in the front end: what is muted on the canvas is not opened; one inside a subgraph is.
            if definition is None or (not trail and not node.is_active):
                continue
            if len(trail) >= MAX_DEPTH:
                raise WorkflowError(f"Node {node.key} is a subgraph in more than {MAX_DEPTH} others.")
            if node.type in trail:
                raise WorkflowError(f"The subgraph {_name(definition)!r} holds itself: node {node.key}. Take it out.")
            node.title = node.title or str(definition.get("name") or "")
            node.inside = Graph(node, _name(definition))
            waiting.append((node.inside, definition, (*trail, node.type)))
    return root


def _definitions(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every subgraph by its id; those that older files keep inside another one too."""
    found: dict[str, Mapping[str, Any]] = {}
    waiting = [document]
    while waiting:
        holder = waiting.pop().get("definitions")
        if isinstance(holder, Mapping):
            for definition in _mappings(holder.get("subgraphs"), "subgraph definitions"):
                if isinstance(definition.get("id"), str):
                    found[definition["id"]] = definition
                    waiting.append(definition)
    return found


def _name(definition: Mapping[str, Any]) -> str:
    return str(definition.get("name") or definition.get("id"))


def _fill(graph: Graph, data: Mapping[str, Any], passive: frozenset[str]) -> None:
    where = f"subgraph {graph.name!r}" if graph.host else "workflow"
    prefix = f"{graph.host.key}:" if graph.host else ""
    for place, entry in enumerate(_mappings(data.get("nodes"), f"nodes of the {where}", skip_null=True)):
        kind = entry.get("type")
        if not isinstance(kind, str):
            raise WorkflowError(f"Node {entry.get('id', f'number {place + 1}')} of the {where} has no `type`.")
        identity = _id(entry.get("id"))
        if identity is None:
            if kind in passive:
                continue
            raise WorkflowError(
                f"A node of the {where} ({kind}) has no id, or one that is neither a number nor a text. Open and save "
                "the workflow in ComfyUI."
            )
        if identity in graph.nodes:
            raise WorkflowError(f"Two nodes of the {where} have the id {prefix}{identity}. Give one of them another.")
        graph.nodes[identity] = _node(entry, kind, identity, prefix, graph)
    links = data.get("links")
    if isinstance(links, Mapping):
        links = list(links.values())
    for entry in _entries(links, f"links of the {where}"):
        if entry is not None:
            link = _link(entry, where)
            # A link that is saved twice is the same one in every file that the front end wrote.
            graph.links.setdefault(link.id, link)
    for slot in _mappings(data.get("inputs"), f"inputs of the {where}") if graph.host else ():
        ids = [_id(link) for link in slot.get("linkIds") or []] if isinstance(slot.get("linkIds"), list) else []
        graph.inputs.append((str(slot.get("name")), slot.get("type"), [link for link in ids if link is not None]))
    for slot in _mappings(data.get("outputs"), f"outputs of the {where}") if graph.host else ():
        graph.outputs.append((str(slot.get("name")), slot.get("type")))


def _node(entry: Mapping[str, Any], kind: str, identity: str, prefix: str, graph: Graph) -> Node:
    key = f"{prefix}{identity}"
    inputs = []
    for slot in _mappings(entry.get("inputs"), f"inputs of node {key} ({kind})"):
        link = slot.get("link")
        if link is not None and _id(link) is None:
            raise WorkflowError(
                f"Input `{slot.get('name')}` of node {key} ({kind}) names {link!r} as its link, which is no link's id. "
                "Connect it again and save."
            )
        widget = slot.get("widget")
        inputs.append(Slot(str(slot.get("name")), slot.get("type"), _id(link), isinstance(widget, Mapping)))
    named = entry.get("widgets_values_named")
    properties = entry.get("properties")
    mode, title = entry.get("mode"), entry.get("title")
    return Node(
        identity,
        key,
        kind,
        mode if isinstance(mode, int) else 0,
        title if isinstance(title, str) else "",
        inputs,
        [slot.get("type") for slot in _mappings(entry.get("outputs"), f"outputs of node {key} ({kind})")],
        entry.get("widgets_values"),
        named if isinstance(named, Mapping) else None,
        properties if isinstance(properties, Mapping) else {},
        graph,
    )


def _link(entry: Any, where: str) -> Link:
    """A link from either of the two ways in which they are saved."""
    if isinstance(entry, Mapping):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        fields = [entry.get(name) for name in names]
    elif isinstance(entry, list):
        fields = [*entry[:6], *[None] * (6 - len(entry))]
    else:
        fields = []
    ids = [_id(fields[index]) for index in (0, 1, 3)] if fields else []
    slots = [_slot(fields[index]) for index in (2, 4)] if fields else []
    if not fields or None in ids or slots[0] is None:
        raise WorkflowError(
            f"Link {_short(entry)} of the {where} does not say what it connects: it takes an id, a node and its "
            "output, a node and its input. Connect it again and save."
        )
    return Link(str(ids[0]), str(ids[1]), slots[0], str(ids[2]), slots[1] if slots[1] is not None else -1, fields[5])


def _id(value: Any) -> str | None:
    """An id as text, or None for what is none. Numbers and their texts are the same, as in the front end."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None


def _slot(value: Any) -> int | None:
    text = _id(value)
    return int(text) if text is not None and text.lstrip("-").isdecimal() and len(text) < 10 else None


def _entries(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise WorkflowError(f"The {what} are {_short(value)}, not a list. Save the workflow again from ComfyUI.")
    return value


def _mappings(value: Any, what: str, skip_null: bool = False) -> list[Mapping[str, Any]]:
    """A list of mappings. A null keeps its place as an empty one, because slots go by number, or is left out."""
    found: list[Mapping[str, Any]] = []
    for entry in _entries(value, what):
        if entry is None and skip_null:
            continue
        if entry is not None and not isinstance(entry, Mapping):
            raise WorkflowError(f"One of the {what} is {_short(entry)}. Save the workflow again from ComfyUI.")
        found.append(entry or {})
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""What is set on the outside of a subgraph: its promoted widgets, which count more than the values inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .graphs import SUBGRAPH_INPUTS, Graph, Link, Node, Slot

Widgets = Callable[[Node], Mapping[str, Any]]
"""A node's own widget values by name."""
Inputs = Callable[[Node], list[Slot]]
"""A node's inputs as its class declares them."""

OLD_PREFIX = re.compile(r"^\s*(\d+)\s*:\s*(.+)$")
"""An older file writes `3: seed` for a widget of node 3, one more subgraph down."""


class PromotedWidgets:
    """The values on the nodes of subgraphs, by node and input, and those they have put into nodes inside.

    Args:
        root: the canvas.
        widgets: a plain node's own widget values.
        inputs: a plain node's inputs.
    """

    def __init__(self, root: Graph, widgets: Widgets, inputs: Inputs) -> None:
        self._widgets = widgets
        self._inputs = inputs
        self._outside: dict[Node, dict[str, Any]] = {}
        self._forced: dict[Node, dict[str, Any]] = {}
        self.forced_by: dict[tuple[Node, str], Node] = {}
        """The subgraph's node that has a value for a widget inside, which no input of the subgraph leads to."""
        for node in root.everything():
            if node.inside is not None:
                self._outside[node] = self._read(node, node.inside)

    def forced(self, node: Node) -> Mapping[str, Any]:
        """Values that the outside has put into the widgets of a node inside."""
        return self._forced.get(node, {})

    def value(self, host: Node, name: str) -> Any:
        """What a subgraph's unlinked input has as its value; None where no widget is behind it."""
        while host.inside is not None:
            if name in self._outside[host]:
                return self._outside[host][name]
            target = self._target(host.inside, name)
            if target is None:
                return None
            host, name = target
        return self.forced(host).get(name, self._widgets(host).get(name))

    def _read(self, host: Node, inside: Graph) -> dict[str, Any]:
        values = host.values if isinstance(host.values, Mapping) else host.named_values
        promoted = [name for name, _, _ in inside.inputs if self._is_widget(inside, name)]
        if values is not None:
            outside = {name: values[name] for name in promoted if values.get(name) is not None}
        else:
            saved = host.values if isinstance(host.values, list) else []
            proxies = _proxies(host)
            if proxies:
                outside = self._read_proxies(host, inside, proxies, saved)
            else:
                outside = {name: value for name, value in zip(promoted, saved, strict=False) if value is not None}
        for entry in reversed(_list(host.properties.get("proxyWidgetErrorQuarantine"))):
            if isinstance(entry, Mapping) and entry.get("hostValue") is not None:
                kept = _list(entry.get("originalEntry"))[:2]
                if len(kept) == 2 and kept[0] == "-1" and kept[1] in promoted:
                    outside[kept[1]] = entry["hostValue"]
        return {**outside, **self._forced.get(host, {})}

    def _read_proxies(self, host: Node, inside: Graph, proxies: list[list[str]], saved: list[Any]) -> dict[str, Any]:
        """The older way: pairs of a node inside and a widget's name, in the order of the values."""
        outside: dict[str, Any] = {}
        for proxy, value in zip(proxies, saved, strict=False):
            if value is None or proxy[1].startswith("$$"):
                continue
            identity, name, further = proxy[0], proxy[1], proxy[2] if len(proxy) > 2 else None
            entry = None if identity == "-1" else self._entry(inside, identity, name)
            if identity == "-1" or entry is not None:
                outside[entry or name] = value
                continue
            node = inside.nodes.get(identity)
            if node is None:
                continue
            known = self._names(node)
            while name not in known and (older := OLD_PREFIX.match(name)):
                further, name = older.groups()
            if node.inside is not None:
                name = self._nested_input(node.inside, name, further) or name
            self._forced.setdefault(node, {})[name] = value
            self.forced_by[node, name] = host
        return outside

    def _names(self, node: Node) -> list[str]:
        return [name for name, _, _ in node.inside.inputs] if node.inside else list(self._widgets(node))

    def _nested_input(self, inside: Graph, name: str, further: str | None) -> str | None:
        """The input of a subgraph in the subgraph that has this name, or leads to a widget of this name."""
        for known, _, _ in inside.inputs:
            target = self._target(inside, known)
            if further is None and known == name:
                return known
            if target is not None and target[1] == name and further in (None, target[0].id):
                return known
        return None

    def _entry(self, inside: Graph, identity: str, name: str) -> str | None:
        """The input of a subgraph that leads to a widget."""
        for known, _, _ in inside.inputs:
            target = self._target(inside, known)
            if target is not None and (target[0].id, target[1]) == (identity, name):
                return known
        return None

    def _is_widget(self, inside: Graph, name: str) -> bool:
        while True:
            target = self._target(inside, name)
            if target is None:
                return False
            node, name = target
            if node.inside is None:
                return True
            inside = node.inside

    def _target(self, inside: Graph, name: str) -> tuple[Node, str] | None:
        """The first widget that an input of a subgraph leads to, or the next subgraph's input that does."""
        for link in entry_links(inside, name):
            node = inside.nodes.get(link.target)
            if node is None:
                continue
            slot = next((slot for slot in self._inputs(node) if slot.link == link.id), None)
            if slot is None:
                continue
            if node.inside is not None:
                if self._is_widget(node.inside, slot.name):
                    return node, slot.name
            elif slot.is_widget and slot.name in self._widgets(node):
                return node, slot.name
        return None


def entry_links(inside: Graph, name: str) -> list[Link]:
    """The links that leave an input of a subgraph, in its own order."""
    for place, (known, _, ids) in enumerate(inside.inputs):
        if known == name:
            leaving = {
                link.id: link
                for link in inside.links.values()
                if link.origin == SUBGRAPH_INPUTS and link.origin_slot == place
            }
            return [leaving.pop(key) for key in ids if key in leaving] + list(leaving.values())
    return []


def _proxies(host: Node) -> list[list[str]]:
    entries = _list(host.properties.get("proxyWidgets"))
    proxies = [[str(part) for part in entry[:3]] for entry in entries if isinstance(entry, list) and len(entry) >= 2]
    return proxies if len(proxies) == len(entries) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

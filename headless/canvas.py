"""From the canvas to a prompt, by the rules by which the front end queues it.

Links are followed back through subgraphs, reroutes, virtual wires and bypassed nodes to what makes the value; a muted
node makes none. The rules are those of `graphToPrompt` and `ExecutableNodeDTO` in ComfyUI's front end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .graphs import BYPASSED, MUTED, SUBGRAPH_INPUTS, SUBGRAPH_OUTPUTS, Graph, Link, Node, Slot
from .prompts import WIDGET_TYPES, InputTypes, Prompt, WorkflowError, declared_inputs, is_link, is_widget
from .subgraphs import PromotedWidgets
from .virtual_nodes import GETTERS, PRIMITIVE, REROUTES, SETTERS, VIRTUAL, setter_of
from .widgets import as_input, single_value, unnamed_values, widget_values


@dataclass(frozen=True)
class Source:
    """What an input gets: an output of a node, a value, or nothing."""

    node: Node | None = None
    slot: int = 0
    value: Any = None
    host: tuple[str, str] | None = None
    """The subgraph's node and its widget that a value comes from."""


SILENT = Source()
"""What a muted node gives, and a bypassed one that has nothing to hand on."""


class _Step(NamedTuple):
    """One place on the way back along a link."""

    at: str
    """Whether it is an `input` or an `output`."""
    node: Node
    place: int
    wanted: Any = None
    """The type of the input that the way began at, from which a bypassed node chooses."""


@dataclass
class Drawn:
    """What became of a canvas."""

    prompt: Prompt
    titles: dict[str, str]
    skipped: tuple[str, ...]
    """Nodes left out because something muted feeds a required input of theirs, as people call them."""
    promoted: dict[str, dict[str, list[tuple[str, str]]]] = field(default_factory=dict)
    """For a subgraph's node and each widget on it the nodes and inputs inside that get its value."""


def runs(node: Node) -> bool:
    """Whether a node goes into the prompt."""
    return node.is_active and node.inside is None and node.type not in VIRTUAL


class Canvas:
    """A canvas and what is known of its nodes' classes.

    Args:
        root: the canvas, with its subgraphs opened.
        input_types: what a class's `INPUT_TYPES()` returns; a node of another class is taken as it was saved.
        display_names: what the front end calls a class, for nodes that have no title of their own.
    """

    def __init__(self, root: Graph, input_types: Mapping[str, InputTypes], display_names: Mapping[str, str]) -> None:
        self._root = root
        self._input_types = input_types
        self._display_names = display_names
        self._values: dict[Node, dict[str, Any]] = {}
        self._slots: dict[Node, list[Slot]] = {}
        self._promoted = PromotedWidgets(root, self._widget_values, self._inputs_of)

    def draw(self) -> Drawn:
        """The prompt.

        Raises:
            WorkflowError: a link leads nowhere, or in a circle.
        """
        drawn = Drawn({}, {}, ())
        broken: set[str] = set()
        for node in self._root.everything():
            if node.inside is not None:
                drawn.titles[node.key] = node.title
            if not runs(node):
                continue
            drawn.titles[node.key] = node.title or self._display_names.get(node.type) or node.type
            drawn.prompt[node.key] = {"class_type": node.type, "inputs": self._fill(node, drawn, broken)}
        # What cannot run for want of a muted node takes those that need it along.
        while True:
            more = {
                key
                for key, entry in drawn.prompt.items()
                if key not in broken
                and any(is_link(value) and value[0] in broken for value in entry["inputs"].values())
            }
            if not more:
                break
            broken |= more
        drawn.skipped = tuple(f"{key} ({drawn.titles[key]})" for key in drawn.prompt if key in broken)
        drawn.prompt = {key: entry for key, entry in drawn.prompt.items() if key not in broken}
        return drawn

    def _fill(self, node: Node, drawn: Drawn, broken: set[str]) -> dict[str, Any]:
        """A node's values and links. A required input whose link ends at nothing goes into `broken`."""
        inputs = {name: as_input(value) for name, value in self._widget_values(node).items()}
        for name, value in self._promoted.forced(node).items():
            inputs[name] = as_input(value)
            host = self._promoted.forced_by[node, name]
            drawn.promoted.setdefault(host.key, {}).setdefault(name, []).append((node.key, name))
        required = (self._input_types.get(node.type) or {}).get("required") or {}
        for place, slot in enumerate(self._inputs_of(node)):
            if slot.link is None:
                continue
            source = self._source(node, place)
            if source is None or source is SILENT:
                # A widget without its link has its own value, and what is required is missed later.
                if source is SILENT and slot.name not in inputs and slot.name in required:
                    broken.add(node.key)
            elif source.node is not None:
                inputs[slot.name] = [source.node.key, source.slot]
            else:
                inputs[slot.name] = as_input(source.value)
                if source.host is not None:
                    host_key, name = source.host
                    drawn.promoted.setdefault(host_key, {}).setdefault(name, []).append((node.key, slot.name))
        return inputs

    def _widget_values(self, node: Node) -> dict[str, Any]:
        if node not in self._values:
            types = self._input_types.get(node.type)
            self._values[node] = unnamed_values(node) if types is None else widget_values(node, types)
        return self._values[node]

    def _inputs_of(self, node: Node) -> list[Slot]:
        """A node's inputs in the front end's order: its class's sockets, then its widgets, then what else was saved."""
        if node not in self._slots:
            self._slots[node] = self._ordered_inputs(node)
        return self._slots[node]

    def _ordered_inputs(self, node: Node) -> list[Slot]:
        saved = {slot.name: slot for slot in node.inputs}
        if node.inside is not None:
            known = [Slot(name, kind, None, False) for name, kind, _ in node.inside.inputs]
        elif node.type in self._input_types:
            declared = declared_inputs(self._input_types[node.type])
            known = [
                Slot(name, "COMBO" if isinstance(kind, (list, tuple)) else kind, None, is_widget(kind, options))
                for name, (kind, options) in declared.items()
            ]
            known.sort(key=lambda slot: slot.is_widget)
        else:
            return node.inputs
        names = {slot.name for slot in known}
        ordered = [
            Slot(slot.name, slot.type, saved[slot.name].link, slot.is_widget or _custom_widget(saved[slot.name]))
            if slot.name in saved
            else slot
            for slot in known
        ]
        return ordered + [slot for slot in node.inputs if slot.name not in names]

    def _source(self, consumer: Node, place: int) -> Source | None:
        """Follows an input's link back; None where it ends at nothing."""
        told = f"Input `{self._inputs_of(consumer)[place].name}` of node {consumer}"
        step = _Step("input", consumer, place)
        seen: set[tuple[str, Node, int]] = set()
        bypassed = False
        while True:
            if (step.at, step.node, step.place) in seen:
                raise WorkflowError(f"{told} is linked in a circle, by way of node {step.node}. Remove one link.")
            seen.add((step.at, step.node, step.place))
            follow = self._from_input if step.at == "input" else self._from_output
            bypassed |= step.at == "output" and step.node.mode == BYPASSED
            found = follow(step, told)
            if not isinstance(found, _Step):
                return SILENT if found is None and bypassed else found
            step = found

    def _from_input(self, step: _Step, told: str) -> _Step | Source | None:
        """From an input to the output that its link comes from, or to the subgraph's input."""
        node, slots = step.node, self._inputs_of(step.node)
        if step.place >= len(slots) or slots[step.place].link is None:
            return None
        slot = slots[step.place]
        link = node.graph.links.get(str(slot.link))
        if link is None:
            raise WorkflowError(
                f"{told} is linked by link {slot.link}, which leads nowhere. Connect it again and save."
            )
        host = node.graph.host
        if host is not None and link.origin == SUBGRAPH_INPUTS:
            return self._from_outside(host, node.graph, link, told)
        origin = node.graph.nodes.get(link.origin)
        if origin is None:
            raise WorkflowError(
                f"{told} is linked to node {link.origin}, which the workflow does not have. Connect it again and save."
            )
        return _Step("output", origin, link.origin_slot, step.wanted or slot.type)

    def _from_output(self, step: _Step, told: str) -> _Step | Source | None:
        """From an output to itself, where its node runs, or to the input that it hands on."""
        node, output = step.node, step.place
        if node.type == PRIMITIVE:
            value = self._promoted.forced(node).get("value", single_value(node))
            return None if value is None else Source(value=value)
        if node.mode == MUTED:
            return SILENT
        if node.mode == BYPASSED:
            place = self._bypass(node, output, step.wanted)
            return None if place is None else _Step("input", node, place)
        if node.inside is not None:
            link = _exit_link(node.inside, output, told, node)
            if link is None:
                return None
            if link.origin == SUBGRAPH_INPUTS:
                return self._from_outside(node, node.inside, link, told)
            inner = node.inside.nodes.get(link.origin)
            if inner is None:
                raise WorkflowError(
                    f"{told} is linked to node {node.key}:{link.origin}, which the subgraph {node.inside.name!r} does "
                    "not have. Connect it again and save."
                )
            return _Step("output", inner, link.origin_slot, step.wanted)
        if node.type in REROUTES or node.type in SETTERS:
            return _Step("input", node, 0, step.wanted)
        if node.type in GETTERS:
            setter = setter_of(node)
            if setter is None:
                raise WorkflowError(
                    f"{told} gets {single_value(node)!r} by way of node {node}, and no Set node sets it. Set it, or "
                    "connect the input."
                )
            return _Step("input", setter, 0, step.wanted)
        return Source(node, output)

    def _from_outside(self, host: Node, inside: Graph, link: Link, told: str) -> _Step | Source | None:
        """From a link that enters a subgraph to the input of its node, or to the value that it has there."""
        if not 0 <= link.origin_slot < len(inside.inputs):
            raise WorkflowError(
                f"{told} is linked to input {link.origin_slot} of the subgraph {inside.name!r}, which has "
                f"{len(inside.inputs)}. Connect it again and save."
            )
        slot = self._inputs_of(host)[link.origin_slot]
        if slot.link is not None:
            return _Step("input", host, link.origin_slot)
        value = self._promoted.value(host, slot.name)
        return None if value is None else Source(value=value, host=(host.key, slot.name))

    def _bypass(self, node: Node, output: int, wanted: Any) -> int | None:
        """The input whose link takes the place of a bypassed node's output."""
        slots = self._inputs_of(node)
        outputs = [kind for _, kind in node.inside.outputs] if node.inside is not None else node.outputs
        offered = outputs[output] if 0 <= output < len(outputs) else "*"
        if wanted in ("*", "", None):
            return None if not slots else output if output < len(slots) else 0
        fitting = [_connects(slot.type, offered) and _connects(slot.type, wanted) for slot in slots]
        if 0 <= output < len(slots) and fitting[output]:
            return output
        exact = next((place for place, slot in enumerate(slots) if slot.type == wanted), None)
        return exact if exact is not None else next((place for place, fits in enumerate(fitting) if fits), None)


def _custom_widget(slot: Slot) -> bool:
    """Whether a saved input belongs to a widget of a type that only its pack draws."""
    return slot.is_widget and slot.type not in WIDGET_TYPES


def _exit_link(inside: Graph, output: int, told: str, host: Node) -> Link | None:
    """The link inside a subgraph that ends at one of its outputs."""
    if not 0 <= output < len(inside.outputs):
        raise WorkflowError(
            f"{told} is linked to output {output} of node {host}, a subgraph that has {len(inside.outputs)}. Connect "
            "it again and save."
        )
    ending = (link for link in inside.links.values() if link.target == SUBGRAPH_OUTPUTS)
    return next((link for link in ending if link.target_slot == output), None)


def _connects(a: Any, b: Any) -> bool:
    """Whether the front end lets two slots be linked: types may be `*`, or several with commas between them."""
    if a in ("*", "", 0, None) or b in ("*", "", 0, None) or a == b:
        return True
    parts_a, parts_b = str(a).lower().split(","), str(b).lower().split(",")
    return any(x == y for x in parts_a for y in parts_b)

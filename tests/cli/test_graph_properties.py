"""Random graphs: drawn with wires of every kind, or partly put into a subgraph, they stay the prompt that they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

from graph_files import INPUTS, TYPES, Sketch
from hypothesis import given, settings
from hypothesis import strategies as st

from facestylist.headless import builtin_nodes
from facestylist.headless.prompts import is_link
from facestylist.headless.workflow import to_workflow

ALL = {**{name: node.INPUT_TYPES() for name, node in builtin_nodes.NODE_CLASS_MAPPINGS.items()}, **TYPES}
SOCKETS = {"Source": {"seed": "INT", "size": "INT"}, "Change": {"image": "IMAGE", "mask": "MASK", "times": "INT"}}
OUTPUTS = {"Source": ["IMAGE", "MASK", "INT"], "Change": ["IMAGE", "MASK"]}
Plain = dict[int, tuple[str, dict[str, Any], dict[str, tuple[int, int]]]]
"""Nodes by id: class, values in order, and links by input."""


@st.composite
def graphs(draw: st.DrawFn) -> Plain:
    nodes: Plain = {}
    for key in range(1, draw(st.integers(2, 9))):
        kind = "Source" if key == 1 else draw(st.sampled_from(["Source", "Change"]))
        seed, text = draw(st.integers(0, 99)), draw(st.text("ab %", max_size=3))
        source = {"seed": seed, "size": draw(st.integers(1, 64)), "mode": draw(st.sampled_from("ab"))}
        change = {"amount": seed / 128, "text": text, "on": draw(st.booleans()), "times": seed}
        links = {}
        for name, type_ in SOCKETS[kind].items():
            places = [(k, o) for k in nodes for o, made in enumerate(OUTPUTS[nodes[k][0]]) if made == type_]
            if places and (name == "image" or draw(st.booleans())):
                links[name] = draw(st.sampled_from(places))
        nodes[key] = (kind, source if kind == "Source" else change, links)
    return nodes


def prompt_of(nodes: Plain) -> dict[str, Any]:
    return {
        str(key): {"class_type": kind, "inputs": {**values, **{n: [str(k), o] for n, (k, o) in links.items()}}}
        for key, (kind, values, links) in nodes.items()
    }


def saved(kind: str, values: dict[str, Any]) -> list[Any]:
    ordered = list(values.values())
    return [ordered[0], "fixed", *ordered[1:]] if kind == "Source" else ordered


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_a_canvas_is_its_prompt(nodes: Plain, data: st.DataObject) -> None:
    sketch, more = Sketch(whole=data.draw(st.booleans())), count(100)
    for key, (kind, values, links) in nodes.items():
        wired = {}
        for name, (origin, output) in links.items():
            for wire in data.draw(st.lists(st.sampled_from(["Reroute", "SetNode", "Source", "Change"]), max_size=3)):
                entry = next(more)
                type_ = OUTPUTS[nodes[links[name][0]][0]][links[name][1]]
                if wire == "Reroute":
                    sketch.node(entry, "Reroute", None, {"": (origin, output)})
                elif wire == "SetNode":
                    sketch.node(entry, "SetNode", [f"wire {entry}"], {"IMAGE": (origin, output)})
                    entry = next(more)
                    sketch.node(entry, "GetNode", [f"wire {entry - 1}"])
                elif wire == "Change" and type_ != "INT":
                    name_in = {"IMAGE": "image", "MASK": "mask"}[type_]
                    sketch.node(entry, "Change", [0.1, "off", True, 1], {name_in: (origin, output)}, mode=4)
                elif wire == "Source" and type_ == "INT":
                    sketch.node(entry, "Source", [1, "fixed", 2, "a"], {"seed": (origin, output)}, mode=4)
                else:
                    continue
                place = 0 if wire in ("Reroute", "SetNode") else OUTPUTS[wire].index(type_)
                origin, output = entry, place
            wired[name] = (origin, output)
        sketch.node(key, kind, values if data.draw(st.booleans()) else saved(kind, values), wired)
    assert to_workflow(sketch.document(), ALL).prompt == prompt_of(nodes)


@dataclass
class Wrapped:
    """A subgraph while nodes are put into it."""

    sketch: Sketch = field(default_factory=lambda: Sketch("Wrapped"))
    entries: dict[tuple[int, int], int] = field(default_factory=dict)
    exits: dict[tuple[int, int], int] = field(default_factory=dict)
    values: list[Any] = field(default_factory=list)


@settings(max_examples=60, deadline=None)
@given(graphs(), st.data())
def test_a_subgraph_around_some_nodes_changes_nothing(nodes: Plain, data: st.DataObject) -> None:
    inside = set(data.draw(st.lists(st.sampled_from(list(nodes)), unique=True, min_size=1)))
    wrapped, outer = Wrapped(), Sketch()
    type_of = {(key, o): made for key, (kind, _, _) in nodes.items() for o, made in enumerate(OUTPUTS[kind])}
    # Links into the subgraph become its inputs, links out of it its outputs.
    for key, (_, _, links) in nodes.items():
        for end in links.values():
            if key in inside and end[0] not in inside and end not in wrapped.entries:
                wrapped.entries[end] = len(wrapped.sketch.inputs)
                wrapped.sketch.inputs.append((f"in {len(wrapped.sketch.inputs)}", type_of[end]))
            if key not in inside and end[0] in inside and end not in wrapped.exits:
                wrapped.exits[end] = len(wrapped.sketch.outputs)
                wrapped.sketch.outputs.append((f"out {len(wrapped.sketch.outputs)}", type_of[end]))
    linked = len(wrapped.sketch.inputs)
    for key in inside:
        kind, values, links = nodes[key]
        own = {name: (INPUTS, wrapped.entries[end]) if end in wrapped.entries else end for name, end in links.items()}
        stale = dict(values)
        for name in data.draw(st.lists(st.sampled_from([n for n in values if n not in links]), unique=True)):
            # A promoted widget: the value on the outside counts, the one inside is another.
            own[name] = (INPUTS, len(wrapped.sketch.inputs))
            declared = {**TYPES[kind]["required"], **TYPES[kind].get("optional", {})}[name][0]
            wrapped.sketch.inputs.append((f"{name} of {key}", declared if isinstance(declared, str) else "COMBO"))
            wrapped.values.append(values[name])
            stale[name] = {"mode": "a", "text": "stale", "on": True}.get(name, 0)
        wrapped.sketch.node(key, kind, saved(kind, stale), own)
    for (key, output), place in wrapped.exits.items():
        wrapped.sketch.out(place, key, output)
    for key, (kind, values, links) in nodes.items():
        if key not in inside:
            ends = {name: (90, wrapped.exits[end]) if end[0] in inside else end for name, end in links.items()}
            outer.node(key, kind, saved(kind, values), ends)
    # An input for a link may have a widget inside too: then it has a place among the values.
    taken: list[Any] = [None] * sum(
        any(
            wrapped.entries.get(end) == place and name in ("seed", "size", "times")
            for key in inside
            for name, end in nodes[key][2].items()
        )
        for place in range(linked)
    )
    names = [name for name, _ in wrapped.sketch.inputs]
    ends = {names[place]: end for end, place in wrapped.entries.items()}
    outer.node(90, wrapped.sketch, [*taken, *wrapped.values], ends)
    prompt = to_workflow(outer.document(), ALL).prompt
    plain = {
        key.removeprefix("90:"): {
            "class_type": node["class_type"],
            "inputs": {
                name: [value[0].removeprefix("90:"), value[1]] if is_link(value) else value
                for name, value in node["inputs"].items()
            },
        }
        for key, node in prompt.items()
    }
    assert plain == prompt_of(nodes)
    assert {key for key in prompt if key.startswith("90:")} == {f"90:{key}" for key in inside}

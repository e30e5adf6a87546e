"""Workflows drawn in code, in the front end's own format, and small nodes for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, ClassVar


class Source:
    """Makes something out of its own values."""

    CATEGORY = "Test"
    FUNCTION = "run"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE", "MASK", "INT")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "seed": ("INT", {"default": 0, "min": 0, "max": 1000}),
                "size": ("INT", {"default": 8, "min": 1, "max": 64}),
                "mode": (["a", "b"], {}),
            }
        }

    def run(self, **values: Any) -> tuple[Any, Any, int]:
        return ("image", values), ("mask", values), values["size"]


class Change:
    """Makes another picture of one."""

    CATEGORY = "Test"
    FUNCTION = "run"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"image": ("IMAGE",), "amount": ("FLOAT", {"default": 0.5, "min": 0, "max": 1})},
            "optional": {
                "mask": ("MASK",),
                "text": ("STRING", {"default": "x"}),
                "on": ("BOOLEAN", {"default": True}),
                "times": ("INT", {"default": 1, "min": 0, "max": 100}),
            },
        }

    def run(self, **values: Any) -> tuple[Any, Any]:
        return ("changed", values), ("changed mask", values)


class Show:
    """Shows a picture."""

    CATEGORY = "Test"
    FUNCTION = "run"
    OUTPUT_NODE = True
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",)}}

    def run(self, images: Any) -> dict[str, Any]:
        return {"ui": {"shown": [images]}}


CLASSES: dict[str, Any] = {"Source": Source, "Change": Change, "Show": Show}
TYPES: dict[str, Any] = {name: node.INPUT_TYPES() for name, node in CLASSES.items()}

VIRTUAL: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
    "Reroute": ([("", "*")], ["*"]),
    "Reroute (rgthree)": ([("", "*")], ["*"]),
    "SetNode": ([("IMAGE", "IMAGE")], ["*"]),
    "GetNode": ([], ["IMAGE"]),
    "PrimitiveNode": ([], ["INT"]),
    "PrimitiveInt": ([("value", "INT")], ["INT"]),
    "Note": ([], []),
}
"""Inputs and outputs of nodes that have no class here."""

INPUTS, OUTPUTS = -10, -20
"""The two ends of a subgraph."""


class Sketch:
    """The canvas, or a subgraph with a name, inputs and outputs.

    Args:
        name: of a subgraph; its id is made of it.
        inputs: names and types of a subgraph's inputs.
        outputs: the same of its outputs.
        whole: whether unlinked widgets have an input each, as newer files keep them.
    """

    _links = count(1)

    def __init__(
        self,
        name: str = "",
        inputs: Sequence[tuple[str, str]] = (),
        outputs: Sequence[tuple[str, str]] = (),
        whole: bool = False,
    ) -> None:
        self.name = name
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.whole = whole
        self.nodes: list[dict[str, Any]] = []
        self.links: list[tuple[int, Any, int, Any, int, Any]] = []
        self.used: list[Sketch] = []

    @property
    def id(self) -> str:
        return f"{sum(map(ord, self.name)):08x}-0000-4000-8000-{self.name.encode().hex():0>12.12}"

    def node(
        self,
        key: int,
        kind: str | Sketch,
        values: Any = None,
        links: Mapping[str, tuple[int, int]] | None = None,
        **more: Any,
    ) -> Sketch:
        """Adds a node whose named inputs come from (node, output); a number is an input that has no name."""
        links = dict(links or {})
        sockets, widgets, outputs = self._slots(kind)
        slots = []
        for name, type_ in [*sockets, *widgets]:
            link = None
            if name in links:
                link = next(self._links)
                origin, output = links.pop(name)
                self.links.append((link, origin, output, key, len(slots), type_))
            if (name, type_) in widgets and link is None and not self.whole:
                continue
            slot = {"name": name, "type": type_, "link": link}
            slots.append({**slot, "widget": {"name": name}} if (name, type_) in widgets else slot)
        assert not links, links
        entry = {
            "id": key,
            "type": kind.id if isinstance(kind, Sketch) else kind,
            "pos": [200 * len(self.nodes), 100],
            "size": [180, 100],
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": slots,
            "outputs": [{"name": type_, "type": type_, "links": []} for type_ in outputs],
            "properties": {},
        }
        if values is not None:
            entry["widgets_values"] = values
        self.nodes.append({**entry, **more})
        return self

    def out(self, place: int, origin: int, output: int) -> Sketch:
        """Links an output of the subgraph."""
        self.links.append((next(self._links), origin, output, OUTPUTS, place, self.outputs[place][1]))
        return self

    def _slots(self, kind: str | Sketch) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[str]]:
        if isinstance(kind, Sketch):
            if kind not in self.used:
                self.used.append(kind)
            return kind.inputs, [], [type_ for _, type_ in kind.outputs]
        if kind in VIRTUAL:
            sockets, outputs = VIRTUAL[kind]
            return (sockets, [], outputs) if kind != "PrimitiveInt" else ([], sockets, outputs)
        declared = {name: spec[0] for group in TYPES[kind].values() for name, spec in group.items()}
        types = {name: "COMBO" if isinstance(type_, list) else type_ for name, type_ in declared.items()}
        widgets = {name for name, type_ in types.items() if type_ in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")}
        sockets = [(name, type_) for name, type_ in types.items() if name not in widgets]
        outputs = list(CLASSES[kind].RETURN_TYPES)
        return sockets, [(name, type_) for name, type_ in types.items() if name in widgets], outputs

    def everything(self) -> list[Sketch]:
        """The subgraphs in use here, and those in use in them."""
        found: list[Sketch] = []
        for sketch in self.used:
            for inner in [sketch, *sketch.everything()]:
                if inner not in found:
                    found.append(inner)
        return found

    def document(self) -> dict[str, Any]:
        """The file."""
        for sketch in [self, *self.everything()]:
            sketch._connect()
        document = {
            "id": "00000000-0000-4000-8000-000000000000",
            "revision": 0,
            "last_node_id": 999,
            "last_link_id": next(self._links),
            "nodes": self.nodes,
            "links": [list(link) for link in self.links],
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }
        if self.used:
            document["definitions"] = {"subgraphs": [sketch.definition() for sketch in self.everything()]}
        return document

    def _connect(self) -> None:
        for link, origin, output, *_ in self.links:
            for node in self.nodes:
                if node["id"] == origin and output < len(node["outputs"]):
                    ids = node["outputs"][output]["links"]
                    if link not in ids:
                        ids.append(link)

    def definition(self) -> dict[str, Any]:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        links = [dict(zip(names, link, strict=True)) for link in self.links]
        inputs = [
            {
                "id": f"{self.id[:-2]}1{place}",
                "name": name,
                "type": type_,
                "linkIds": [link[0] for link in self.links if link[1] == INPUTS and link[2] == place],
            }
            for place, (name, type_) in enumerate(self.inputs)
        ]
        outputs = [
            {
                "id": f"{self.id[:-2]}2{place}",
                "name": name,
                "type": type_,
                "linkIds": [link[0] for link in self.links if link[3] == OUTPUTS and link[4] == place],
            }
            for place, (name, type_) in enumerate(self.outputs)
        ]
        return {
            "id": self.id,
            "version": 1,
            "revision": 0,
            "config": {},
            "name": self.name,
            "state": {"lastGroupId": 0, "lastNodeId": 999, "lastLinkId": 999, "lastRerouteId": 0},
            "inputNode": {"id": INPUTS, "bounding": [-200, 60, 120, 60]},
            "outputNode": {"id": OUTPUTS, "bounding": [900, 60, 120, 60]},
            "inputs": inputs,
            "outputs": outputs,
            "widgets": [],
            "nodes": self.nodes,
            "groups": [],
            "links": links,
            "extra": {},
        }

"""A workflow while it is written: nodes by their kind, links by what they carry, in the form the front end saves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...headless.builtin_nodes import NODE_CLASS_MAPPINGS as RUNNER_NODES
from ...nodes import NODE_CLASS_MAPPINGS as OWN_NODES
from .core import core_class
from .layout import BETWEEN, CURVE, PICTURE, ROOM, TITLE, GroupFrame, node_height, note_height

COMFYUI_VERSION = "0.33.0"
FRONTEND_VERSION = "1.49.6"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MUTED, BYPASSED = 2, 4
BLUE, GREEN, PURPLE = "#3f789e", "#8A8", "#a1309b"
"""Groups that prepare, groups whose result one looks at, groups that train or diffuse."""

SHOWS = ("LoadImage", "SaveImage", "PreviewImage", "LoadVideo", "SaveWEBM")
"""Nodes that are there to show a picture, and get the height for it at once."""
GROWS = (
    "FaceStylistInvertByOptimisation",
    "FaceStylistPivotalTuning",
    "KSampler",
    "FaceStylistInvertWithEncoder",
)
"""Nodes that grow by a preview while they run."""
TRAINS = (
    "FaceStylistFinetuneGenerator",
    "FaceStylistTrainWithPairs",
    "FaceStylistTrainFastStylizer",
    "FaceStylistInvertWithEncoder",
    "FaceStylistInvertByOptimisation",
    "FaceStylistPivotalTuning",
)
"""Nodes that learn or search: the front end draws loss curves (web/) under them, above the preview."""


class Source(NamedTuple):
    """An output that links start from."""

    node: int
    slot: int


class Model(NamedTuple):
    """A model file that a workflow names, and a public address of it: `.safetensors` on Hugging Face or Civitai."""

    name: str
    url: str
    directory: str


def node_class_of(kind: str) -> type:
    """The declaration of one of our nodes, of the runner's, or of ComfyUI's as it was recorded."""
    return OWN_NODES.get(kind) or RUNNER_NODES.get(kind) or core_class(kind)


@dataclass
class Canvas:
    """A workflow while it is laid out: groups from left to right, nodes in columns inside them.

    canvas = Canvas()
    canvas.note("Title", "What one does here.")
    with canvas.group("1. Photo", width=380):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
    """

    name: str = ""
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    frames: list[GroupFrame] = field(default_factory=list)
    _open: GroupFrame | None = field(default=None, init=False, repr=False)
    _stack_left: int = field(default=0, init=False, repr=False)
    _notes_right: int = field(default=0, init=False, repr=False)

    @contextmanager
    def group(self, title: str, colour: str = BLUE, width: int = 320, below: bool = False) -> Iterator[None]:
        """Frames the nodes that are added inside, to the right of everything or below the group before.

        Args:
            title: unique in the workflow.
            colour: of the frame.
            width: of the nodes in its first column.
            below: continue the last stack of groups downwards instead of starting a new one to the right.
        """
        if below and self.frames:
            left, top = self._stack_left, self.frames[-1].rectangle[3] + BETWEEN
        else:
            left, top = max((frame.rectangle[2] + BETWEEN for frame in self.frames), default=0), 0
            self._stack_left = left
        self._open = GroupFrame(title, colour, left, top, width)
        yield
        self.frames.append(self._open)
        self._open = None

    def column(self, width: int = 320) -> None:
        """Goes on in a new column of the open group."""
        self._frame().column(width)

    def note(self, title: str, text: str, width: int = 440) -> None:
        """Adds a text card: in the open group, or else above the groups."""
        height = note_height(text, width if self._open is None else self._open.width)
        if self._open is None:
            position, size = [self._notes_right, -height - BETWEEN], [width, height]
            self._notes_right += width + BETWEEN
        else:
            position, size = self._open.place(height)
        self._add("MarkdownNote", position, size, [], [], [text], {}, title)
        self.nodes[-1].update(color="#432", bgcolor="#653")

    def node(
        self,
        kind: str,
        title: str | None = None,
        /,
        *,
        mode: int = 0,
        height: int = 0,
        fetch: Model | None = None,
        **inputs: Any,
    ) -> list[Source]:
        """Adds a node to the open group and returns its outputs.

        Args:
            kind: its class, ours or ComfyUI's.
            title: where it differs from the node's own name.
            mode: `MUTED` or `BYPASSED` for a node that is offered and not used.
            height: where it needs more than its sockets and widgets do.
            fetch: the file that it loads, where the front end may offer to fetch it.
            inputs: what its inputs are: an output of another node, or a widget's value. Others keep their default.

        Raises:
            ValueError: it has no such input, or a link carries something else.
        """
        frame = self._frame()
        node_class: Any = node_class_of(kind)
        key = len(self.nodes) + 1
        types = node_class.INPUT_TYPES()
        optional = types.get("optional", {})
        sockets: list[dict[str, Any]] = []
        widgets: list[dict[str, Any]] = []
        values: list[Any] = []
        texts = 0
        for name, (declared, *rest) in {**types["required"], **optional}.items():
            options = rest[0] if rest else {}
            socket = "COMBO" if isinstance(declared, list | tuple) else declared
            given = inputs.pop(name, None)
            is_widget = socket in WIDGETS and not options.get("forceInput")
            linked = isinstance(given, Source)
            if not is_widget:
                link = self._link(given, key, len(sockets), socket) if linked else None
                shape = {"shape": 7} if name in optional else {}
                sockets.append({"localized_name": name, "name": name, **shape, "type": socket, "link": link})
                continue
            choices = declared if isinstance(declared, list | tuple) else options.get("options", ())
            default = options.get("default", choices[0] if choices else None)
            widgets.append(_widget_slot(name, name, socket, given if linked else None))
            values.append(default if given is None or linked else given)
            texts += bool(options.get("multiline"))
            if options.get("control_after_generate"):
                values.append("fixed")
            if options.get("image_upload") or options.get("video_upload"):
                widgets.append(_widget_slot("upload", "choose file to upload", "IMAGEUPLOAD"))
                values.append("image")
        if inputs:
            raise ValueError(f"{kind} has no {', '.join(inputs)}.")
        for slot, widget in enumerate(widgets, start=len(sockets)):
            widget["link"] = self._link(widget["link"], key, slot, widget["type"]) if widget["link"] else None
        outputs = [
            {"localized_name": name, "name": name, "type": socket, "links": []}
            for name, socket in zip(
                getattr(node_class, "RETURN_NAMES", node_class.RETURN_TYPES), node_class.RETURN_TYPES, strict=True
            )
        ]
        least = node_height(max(len(sockets), len(outputs)), len(widgets), texts)
        if kind in SHOWS:
            least = max(least, PICTURE + frame.width - 320)
        room = (ROOM if kind in GROWS or kind in TRAINS else 0) + (CURVE if kind in TRAINS else 0)
        position, size = frame.place(max(least, height), room)
        properties = _origin(kind) if fetch is None else {**_origin(kind), "models": [fetch._asdict()]}
        self._add(kind, position, size, sockets + widgets, outputs, values, properties, title, mode)
        return [Source(key, slot) for slot in range(len(outputs))]

    def document(self) -> dict[str, Any]:
        """The file, its nodes numbered in an order in which they can run."""
        waiting, done = list(self.nodes), set[int]()
        while waiting:
            node = next(n for n in waiting if all(link[1] in done for link in self.links if link[3] == n["id"]))
            node["order"] = len(done)
            done.add(node["id"])
            waiting.remove(node)
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"facestylist/{self.name}")),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": [frame.entry(key) for key, frame in enumerate(self.frames, start=1)],
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": self._offset()}, "frontendVersion": FRONTEND_VERSION},
            "version": 0.4,
        }

    def _offset(self) -> list[int]:
        """The view's origin: notes and first group at the window's top left."""
        top = min(node["pos"][1] for node in self.nodes)
        return [120, 100 + TITLE - min(top, 0)]

    def _frame(self) -> GroupFrame:
        if self._open is None:
            raise ValueError("A node belongs into a group: add it inside `with canvas.group(...)`.")
        return self._open

    def _add(
        self,
        kind: str,
        position: list[int],
        size: list[int],
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
        values: list[Any],
        properties: dict[str, Any],
        title: str | None,
        mode: int = 0,
    ) -> None:
        entry: dict[str, Any] = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": position,
            "size": size,
            "flags": {},
            "order": len(self.nodes),
            "mode": mode,
            "inputs": inputs,
            "outputs": outputs,
            "properties": properties,
            "widgets_values": values,
        }
        if title:
            entry["title"] = title
        self.nodes.append(entry)

    def _link(self, source: Source | None, target: int, slot: int, socket: str) -> int | None:
        """Records a link to an input and returns its number."""
        if source is None:
            return None
        key = len(self.links) + 1
        origin = self.nodes[source.node - 1]
        output = origin["outputs"][source.slot]
        if socket not in ("*", output["type"]):
            raise ValueError(f"{origin['type']}.{output['name']} is {output['type']}, not {socket}.")
        output["links"].append(key)
        self.links.append([key, source.node, source.slot, target, slot, output["type"]])
        return key


def _origin(kind: str) -> dict[str, Any]:
    """What the front end notes of a node's origin."""
    core = {} if kind in OWN_NODES else {"cnr_id": "comfy-core", "ver": COMFYUI_VERSION}
    return {**core, "Node name for S&R": kind}


def _widget_slot(name: str, label: str, kind: str, link: Any = None) -> dict[str, Any]:
    return {"localized_name": label, "name": name, "type": kind, "widget": {"name": name}, "link": link}

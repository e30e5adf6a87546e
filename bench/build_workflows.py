"""Lays out the bundled workflows and writes them as ComfyUI's front end saves them.

    python -m facestylist.bench.build_workflows [--thumbnails]

With --thumbnails it also runs them, which takes minutes, and makes their thumbnails of what comes out.
The files in workflows/ may as well be edited in ComfyUI and saved from there. This script is the quick way to follow a
change of the nodes' inputs, and keeps the three files alike.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..cli.builtin_nodes import NODE_CLASS_MAPPINGS as CORE_NODES
from ..cli.runner import Runner
from ..nodes import NODE_CLASS_MAPPINGS as OWN_NODES
from ..runtime.folders import SAMPLE, Folders, find_input, use_folders

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
COMFYUI_VERSION = "0.33.0"
FRONTEND_VERSION = "1.49.6"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MUTED = 2
SLOT, ROW, TITLE, MARGIN = 20, 24, 30, 20
"""Heights in pixels of a socket, a widget and a title, and the room a group leaves around its nodes."""

Source = tuple[int, int]
"""Where a link starts: node id and output slot."""


@dataclass
class Canvas:
    """A workflow while it is laid out."""

    name: str
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)

    def node(
        self,
        kind: str,
        x: int,
        y: int,
        width: int = 300,
        height: int | None = None,  # None: as high as its sockets and widgets need
        title: str | None = None,
        muted: bool = False,
        values: dict[str, Any] | None = None,  # of widgets that differ from their default
        **inputs: Source | None,
    ) -> list[Source]:
        """Adds a node and returns its outputs."""
        node_class: Any = CORE_NODES.get(kind) or OWN_NODES[kind]
        key, order = len(self.nodes) + 1, len(self.nodes)
        types = node_class.INPUT_TYPES()
        declared = {**types["required"], **types.get("optional", {})}
        values = dict(values or {})
        widget_values: list[Any] = []
        sockets: list[dict[str, Any]] = []
        widgets: list[dict[str, Any]] = []
        for name, (socket, *rest) in declared.items():
            options = rest[0] if rest else {}
            socket = "COMBO" if isinstance(socket, list | tuple) else socket
            if socket not in WIDGETS:
                optional = {"shape": 7} if name in types.get("optional", {}) else {}
                link = self._link(inputs.pop(name, None), key, len(sockets), socket)
                sockets.append({"localized_name": name, "name": name, **optional, "type": socket, "link": link})
                continue
            widgets.append(_widget_slot(name, name, socket))
            default = options.get("default", declared[name][0][0] if socket == "COMBO" and declared[name][0] else None)
            widget_values.append(values.pop(name, default))
            if options.get("control_after_generate"):
                widget_values.append("fixed")
            if options.get("image_upload"):
                widgets.append(_widget_slot("upload", "choose file to upload", "IMAGEUPLOAD"))
                widget_values.append("image")
        if values or inputs:
            raise ValueError(f"{kind} has no {', '.join([*values, *inputs])}.")
        outputs = [
            {"localized_name": name, "name": name, "type": socket, "links": []}
            for name, socket in zip(
                getattr(node_class, "RETURN_NAMES", node_class.RETURN_TYPES), node_class.RETURN_TYPES, strict=True
            )
        ]
        least = SLOT * max(len(sockets), len(outputs), 1) + ROW * len(widgets) + 16
        own = kind in OWN_NODES
        properties = {} if own else {"cnr_id": "comfy-core", "ver": COMFYUI_VERSION}
        entry: dict[str, Any] = {
            "id": key,
            "type": kind,
            "pos": [x, y],
            "size": [width, max(height or 0, least)],
            "flags": {},
            "order": order,
            "mode": MUTED if muted else 0,
            "inputs": sockets + widgets,
            "outputs": outputs,
            "properties": {**properties, "Node name for S&R": kind},
            "widgets_values": widget_values,
        }
        if title:
            entry["title"] = title
        self.nodes.append(entry)
        return [(key, slot) for slot in range(len(outputs))]

    def note(self, x: int, y: int, width: int, height: int, title: str, text: str) -> None:
        """Adds a text card."""
        self.nodes.append(
            {
                "id": len(self.nodes) + 1,
                "type": "MarkdownNote",
                "pos": [x, y],
                "size": [width, height],
                "flags": {},
                "order": len(self.nodes),
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "title": title,
                "properties": {},
                "widgets_values": [text],
                "color": "#432",
                "bgcolor": "#653",
            }
        )

    def group(self, title: str, first: int, colour: str = "#3f789e", room: int = 0) -> None:
        """Frames the nodes added since the canvas held `first` nodes, with room below for nodes that grow."""
        nodes = self.nodes[first:]
        left = min(node["pos"][0] for node in nodes) - MARGIN
        top = min(node["pos"][1] for node in nodes) - TITLE - 2 * MARGIN - 10
        right = max(node["pos"][0] + node["size"][0] for node in nodes) + MARGIN
        bottom = max(node["pos"][1] + node["size"][1] for node in nodes) + MARGIN + room
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": colour,
                "flags": {},
            }
        )

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
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [120, 160]}, "frontendVersion": FRONTEND_VERSION},
            "version": 0.4,
        }

    def _link(self, source: Source | None, target: int, slot: int, socket: str) -> int | None:
        """Records a link to an input and returns its number."""
        if source is None:
            return None
        key = len(self.links) + 1
        origin = self.nodes[source[0] - 1]
        output = origin["outputs"][source[1]]
        if output["type"] != socket:
            raise ValueError(f"{origin['type']}.{output['name']} is {output['type']}, not {socket}.")
        output["links"].append(key)
        self.links.append([key, source[0], source[1], target, slot, socket])
        return key


def _widget_slot(name: str, label: str, kind: str) -> dict[str, Any]:
    return {"localized_name": label, "name": name, "type": kind, "widget": {"name": name}, "link": None}


STYLES = ("cartoon", "fantasy", "chibi")

TILES = {
    "stylise_a_photo": ("Photo", *(f"Save: {look}" for look in STYLES)),
    "several_faces_in_one_photo": ("Group photo", "Faces found", "Half the style", "Whole style"),
    "finetune_a_style_and_use_it": ("What it learns from", "Before and after", "Photo", "The photo in the style"),
}
"""Titles of the nodes whose pictures make each thumbnail."""


def stylise_a_photo() -> Canvas:
    """One photo in three styles: the demo's workflow."""
    canvas = Canvas("stylise_a_photo")
    canvas.note(
        0, -300, 380, 220, "Stylise a photo",
        "**Press Run.** The sample picture comes out in three styles.\n\nThen drop your own photo on *Photo*. To use "
        "your own style, choose it in one of the *Load Face Generator* nodes: a file in `models/stylegan`, made with "
        "*Fine-tune Generator* or brought along.\n\nThe shipped networks are small and know rendered faces. For real "
        "photographs bring a generator and an encoder that were trained on them.",
    )  # fmt: skip
    first = len(canvas.nodes)
    photo, _ = canvas.node("LoadImage", 0, 0, 380, 440, "Photo", values={"image": SAMPLE})
    canvas.group("1. Photo", first)

    first = len(canvas.nodes)
    faces, crops, _ = canvas.node("FaceStylistAlignFaces", 480, 0, 320, image=photo)
    canvas.node("PreviewImage", 480, 320, 320, 320, "Faces found", images=crops)
    canvas.group("2. Find the faces", first)

    first = len(canvas.nodes)
    (source,) = canvas.node("FaceStylistLoadGenerator", 900, 0, 320, title="Source generator")
    (encoder,) = canvas.node("FaceStylistLoadEncoder", 900, 120, 320)
    latent, seen = canvas.node(
        "FaceStylistInvertWithEncoder", 900, 240, 320, image=crops, encoder=encoder, generator=source
    )
    canvas.node("PreviewImage", 900, 420, 320, 320, "As the generator knows them", images=seen)
    canvas.group("3. Find their latents", first)

    for row, look in enumerate(STYLES):
        first, y = len(canvas.nodes), row * 560
        (style,) = canvas.node(
            "FaceStylistLoadGenerator", 1320, y, 300, title=f"Style: {look}", values={"name": f"embedded:{look}"}
        )
        (stylised,) = canvas.node(
            "FaceStylistStyliseFaces", 1320, y + 120, 300, values={"strength": 1.0},
            style=style, latent=latent, source=source,
        )  # fmt: skip
        image, _ = canvas.node("FaceStylistPasteFaces", 1320, y + 290, 300, faces=faces, stylised=stylised)
        canvas.node(
            "SaveImage", 1680, y, 460, 440, f"Save: {look}", values={"filename_prefix": f"facestylist/{look}"},
            images=image,
        )  # fmt: skip
        canvas.group(f"4. {look.capitalize()}", first, "#8A8")
    return canvas


def several_faces_in_one_photo() -> Canvas:
    """Everybody in a group photo, at two strengths."""
    canvas = Canvas("several_faces_in_one_photo")
    canvas.note(
        0, -300, 380, 220, "Several faces in one photo",
        "Every face is found, read, stylised and put back in its own place; the order is left to right.\n\n"
        "*Invert by Optimisation* refines what the encoder found. Bypass it (Ctrl+B) when you are in a hurry.\n\n"
        "*max_faces* keeps only the largest ones, *on_no_face* = skip lets photos without faces pass unchanged: useful "
        "for batches and video frames.",
    )  # fmt: skip
    first = len(canvas.nodes)
    photo, _ = canvas.node("LoadImage", 0, 0, 380, 440, "Group photo", values={"image": SAMPLE})
    canvas.group("1. Photo", first)

    first = len(canvas.nodes)
    faces, crops, _ = canvas.node("FaceStylistAlignFaces", 480, 0, 320, image=photo)
    canvas.node("PreviewImage", 480, 320, 320, 320, "Faces found", images=crops)
    canvas.group("2. Find the faces", first)

    first = len(canvas.nodes)
    (source,) = canvas.node("FaceStylistLoadGenerator", 900, 0, 320, title="Source generator")
    (encoder,) = canvas.node("FaceStylistLoadEncoder", 900, 120, 320)
    latent, _ = canvas.node(
        "FaceStylistInvertWithEncoder", 900, 240, 320, image=crops, encoder=encoder, generator=source
    )
    latent, seen = canvas.node(
        "FaceStylistInvertByOptimisation", 900, 420, 320, image=crops, generator=source, start=latent,
        values={"steps": 30},
    )  # fmt: skip
    canvas.node("PreviewImage", 1260, 0, 320, 320, "As the generator knows them", images=seen)
    canvas.group("3. Find their latents", first, room=280)

    first = len(canvas.nodes)
    (style,) = canvas.node(
        "FaceStylistLoadGenerator", 1680, 0, 300, title="Style", values={"name": f"embedded:{STYLES[0]}"}
    )
    canvas.group("4. Style", first, "#8A8")
    for row, (title, strength, match) in enumerate([("Whole style", 1.0, 0.0), ("Half the style", 0.5, 0.5)]):
        first, y = len(canvas.nodes), 200 + row * 560
        (stylised,) = canvas.node(
            "FaceStylistStyliseFaces", 1680, y, 300, values={"strength": strength},
            style=style, latent=latent, source=source,
        )  # fmt: skip
        image, _ = canvas.node(
            "FaceStylistPasteFaces", 1680, y + 180, 300, values={"colour_match": match}, faces=faces, stylised=stylised
        )
        canvas.node(
            "SaveImage", 2040, y, 460, 440, title,
            values={"filename_prefix": f"facestylist/everybody_{round(strength * 100)}"}, images=image,
        )  # fmt: skip
        canvas.group(f"5. {title}", first, "#8A8")
    return canvas


def finetune_a_style_and_use_it() -> Canvas:
    """From style pictures to a style, and a photo in it."""
    canvas = Canvas("finetune_a_style_and_use_it")
    canvas.note(
        0, -370, 380, 290, "Fine-tune a style and use it",
        "**Press Run** and watch *Fine-tune Generator*: it learns a drawn look from 48 pictures, and then a photo is "
        "stylised with it. On a graphics card this takes moments, on two CPU cores some minutes.\n\n**Your own "
        "style:** put 10 to 300 portraits into a folder inside `input`, unmute *Load Style Images* (Ctrl+M), write "
        "the folder's name and connect it to *style_images* in place of the rendered pictures.\n\nCancelling keeps "
        "the run: press Run again and it goes on where it was.",
    )  # fmt: skip
    first = len(canvas.nodes)
    styles, _, _ = canvas.node(
        "FaceStylistRenderFaces", 0, 0, 380, title="Style pictures: rendered",
        values={"count": 48, "seed": 7, "look": "sketch", "size": 128},
    )  # fmt: skip
    canvas.node("FaceStylistLoadStyleImages", 0, 240, 380, title="Style pictures: your folder", muted=True)
    canvas.node("PreviewImage", 0, 420, 380, 380, "What it learns from", images=styles)
    canvas.group("1. Style pictures", first)

    first = len(canvas.nodes)
    (source,) = canvas.node("FaceStylistLoadGenerator", 480, 0, 340, title="Source generator")
    style, before_after = canvas.node(
        "FaceStylistFinetuneGenerator", 480, 120, 340, source=source, style_images=styles,
        values={"style_name": "my style", "steps": 400},
    )  # fmt: skip
    canvas.node("PreviewImage", 880, 0, 560, 300, "Before and after", images=before_after)
    canvas.node("FaceStylistSaveGenerator", 880, 360, 340, generator=style, values={"name": "my_style"})
    canvas.group("2. Learn the style", first, room=280)

    first = len(canvas.nodes)
    photo, _ = canvas.node("LoadImage", 1540, 0, 340, 400, "Photo", values={"image": SAMPLE})
    faces, crops, _ = canvas.node("FaceStylistAlignFaces", 1540, 460, 340, image=photo)
    canvas.group("3. A photo", first)

    first = len(canvas.nodes)
    (encoder,) = canvas.node("FaceStylistLoadEncoder", 1980, 0, 320)
    latent, _ = canvas.node(
        "FaceStylistInvertWithEncoder", 1980, 120, 320, image=crops, encoder=encoder, generator=source
    )
    (stylised,) = canvas.node("FaceStylistStyliseFaces", 1980, 290, 320, style=style, latent=latent, source=source)
    image, _ = canvas.node("FaceStylistPasteFaces", 1980, 460, 320, faces=faces, stylised=stylised)
    canvas.node(
        "SaveImage", 2360, 0, 480, 460, "The photo in the style", values={"filename_prefix": "facestylist/my_style"},
        images=image,
    )  # fmt: skip
    canvas.group("4. The photo in the new style", first, "#8A8")
    return canvas


def thumbnail(canvas: Canvas) -> Image.Image:
    """Runs a workflow and tiles what it loads and shows, as `TILES` says."""
    tile_width, tile_height = 320, 240
    with tempfile.TemporaryDirectory() as scratch:
        folders = Folders(Path(scratch) / "input", Path(scratch) / "output", Path(scratch) / "temp", Path(scratch))
        with use_folders(folders):
            runner = Runner()
            result = runner.run(runner.prepare(canvas.document()))
            titles = {node.get("title"): str(node["id"]) for node in canvas.nodes}
            sheet = Image.new("RGB", (2 * tile_width, 2 * tile_height))
            for index, title in enumerate(TILES[canvas.name]):
                files = [find_input(SAMPLE)] if title in ("Photo", "Group photo") else result.files_of(titles[title])
                tile = _mosaic(files[:6], tile_width, tile_height)
                sheet.paste(tile, (index % 2 * tile_width, index // 2 * tile_height))
    return sheet


def _mosaic(files: Sequence[Path], width: int, height: int) -> Image.Image:
    """One picture as it is, cropped to fill; several in rows of three."""
    columns = 1 if len(files) == 1 else min(3, len(files))
    rows = -(-len(files) // columns)
    mosaic = Image.new("RGB", (width, height))
    for index, file in enumerate(files):
        left, right = (width * (index % columns + k) // columns for k in (0, 1))
        top, bottom = (height * (index // columns + k) // rows for k in (0, 1))
        with Image.open(file) as picture:
            fitted = ImageOps.fit(picture.convert("RGB"), (right - left, bottom - top), Image.Resampling.LANCZOS)
        mosaic.paste(fitted, (left, top))
    return mosaic


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description="Write the bundled workflows.")
    parser.add_argument("--thumbnails", action="store_true", help="also run them and make their pictures")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for canvas in (stylise_a_photo(), several_faces_in_one_photo(), finetune_a_style_and_use_it()):
        text = json.dumps(canvas.document(), indent=2, ensure_ascii=False)
        (FOLDER / f"{canvas.name}.json").write_text(text + "\n", encoding="utf-8")
        if args.thumbnails:
            thumbnail(canvas).save(FOLDER / f"{canvas.name}.jpg", quality=88)


if __name__ == "__main__":
    main()

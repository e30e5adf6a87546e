"""Translations of the nodes in the form that ComfyUI's front end takes: `main.json` and `nodeDefs.json`.

English comes from the declarations. Chinese is written in `zh/*.txt`, one line per input or output:

    # <NodeId> = display name
    description, in one line
    input | its name | its tooltip
    > output | its name | its tooltip

Lines of `zh/common.txt`, which has no nodes, serve every node that has no line of its own for an input or output. They
do so only while the English tooltips of all these are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .declarations import Node, Slot

CATEGORIES = {
    "FaceStylist": "人脸风格化",
    "Faces": "人脸",
    "Generator": "生成器",
    "Inversion": "反演",
    "Latent": "潜码",
    "Stylise": "风格化",
    "Fast Stylizer": "快速风格化器",
    "Report": "报告",
    "Training": "训练",
    "Video": "视频",
}
SOCKETS = {
    "FACE_CROPS": "人脸裁剪",
    "FACE_GENERATOR": "人脸生成器",
    "FACE_ENCODER": "人脸编码器",
    "FACE_LATENT": "人脸潜码",
    "FACE_DIRECTIONS": "潜空间方向",
    "FACE_GUIDE": "训练引导",
    "FACE_STYLIZER": "快速风格化器",
    "STYLE_PAIRS": "风格配对",
}
Text = tuple[str, str]
"""A name and a tooltip."""


@dataclass
class Translation:
    """What a language says of one node; outputs are keyed by "> name"."""

    display_name: str = ""
    description: str = ""
    slots: dict[str, Text] = field(default_factory=dict)


def main_file(language: str) -> dict[str, Any]:
    """Categories and socket types; a category's key is one part of a node's menu path."""
    english = language == "en"
    return {
        "nodeCategories": {key: key if english else text for key, text in CATEGORIES.items()},
        "dataTypes": {key: key if english else text for key, text in SOCKETS.items()},
    }


def english(nodes: Iterable[Node]) -> dict[str, Any]:
    """`nodeDefs.json` as the declarations say it."""
    return {
        node.id: _entry(node, node.display_name, node.description, lambda slot, _: (slot.name, slot.tooltip))
        for node in nodes
    }


def translated(nodes: Iterable[Node], texts: Mapping[str, Translation]) -> dict[str, Any]:
    """`nodeDefs.json` with the texts of a translation; its node "" holds what is common.

    Raises:
        ValueError: something is not translated, is translated but gone, or is shared by inputs that mean other things.
    """
    nodes = list(nodes)
    common = texts.get("", Translation()).slots
    shared: dict[str, Slot] = {}
    problems = [f"{name} is not a node" for name in texts.keys() - {node.id for node in nodes} - {""}]
    result: dict[str, Any] = {}
    for node in nodes:
        own = texts.get(node.id, Translation())
        if not own.display_name or not own.description:
            problems.append(f"{node.id} has no name or no description")
        keys = {slot.name for slot in node.inputs} | {f"> {slot.name}" for slot in node.outputs}
        problems += [f"{node.id} has no {key}" for key in own.slots.keys() - keys]
        look_up = partial(_look_up, node, own.slots, common, shared, problems)
        result[node.id] = _entry(node, own.display_name, own.description, look_up)
    problems += [f"nothing uses the common text of {key}" for key in common.keys() - shared.keys()]
    if problems:
        raise ValueError("The translation does not fit the nodes: " + "; ".join(sorted(problems)) + ".")
    return result


def _look_up(
    node: Node,
    own: Mapping[str, Text],
    common: Mapping[str, Text],
    shared: dict[str, Slot],
    problems: list[str],
    slot: Slot,
    key: str,
) -> Text:
    """A slot's own text, else the common one. `shared` and `problems` take down what was used and what is wrong."""
    if key in own:
        return own[key]
    if key not in common:
        problems.append(f"{node.id}: {key} is not translated")
        return "", ""
    if shared.setdefault(key, slot).tooltip != slot.tooltip:
        problems.append(f"{node.id}: {key} says something else than where the common text comes from")
    return common[key]


def read_texts(folder: Path) -> dict[str, Translation]:
    """The translations in the `*.txt` of a folder, by node id; "" has the common ones.

    Raises:
        ValueError: a line that is none of the four kinds.
    """
    found: dict[str, Translation] = {}
    for path in sorted(folder.glob("*.txt")):
        current = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            fields = [part.strip() for part in line.split(" | ")]
            if line.startswith("# "):
                current, _, name = line[2:].strip().partition(" = ")
                found[current] = Translation(display_name=name)
            elif len(fields) == 3 and all(fields):
                found.setdefault(current, Translation()).slots[fields[0]] = (fields[1], fields[2])
            elif line.strip() and current and len(fields) == 1 and not found[current].description:
                found[current].description = line.strip()
            elif line.strip():
                raise ValueError(f"{path.name}:{number} is neither a node, a description nor 'input | name | tooltip'.")
    return found


def _entry(node: Node, display_name: str, description: str, look_up: Callable[[Slot, str], Text]) -> dict[str, Any]:
    def texts(slot: Slot, key: str) -> dict[str, str]:
        name, tooltip = look_up(slot, key)
        return {"name": name, "tooltip": tooltip}

    return {
        "display_name": display_name,
        "description": description,
        "inputs": {slot.name: texts(slot, slot.name) for slot in node.inputs},
        "outputs": {str(index): texts(slot, f"> {slot.name}") for index, slot in enumerate(node.outputs)},
    }

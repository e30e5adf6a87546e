"""A node's help page: the hand-written part, then tables of its inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...core.settings import FieldSpec
from .declarations import Node, Slot

PICTURES = Path(__file__).resolve().parents[2] / "web" / "docs" / "pictures"
WIDGETS = {"INT": "whole number", "FLOAT": "number", "BOOLEAN": "switch", "STRING": "text"}


def written_parts(folder: Path) -> dict[str, str]:
    """Introduction and example of each node, by its id, from the `*.md` of a folder.

    Raises:
        ValueError: a node is described twice, or text stands before the first heading of a file.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob("*.md")):
        before, *sections = ("\n" + path.read_text(encoding="utf-8")).split("\n# ")
        if before.strip():
            raise ValueError(f"{path.name} must begin with the heading '# <NodeId>'.")
        for section in sections:
            node_id, _, text = section.partition("\n")
            if node_id.strip() in found:
                raise ValueError(f"{path.name} describes {node_id.strip()} a second time; keep one description.")
            found[node_id.strip()] = text.strip()
    return found


def page(node: Node, written: Mapping[str, str]) -> str:
    """The page as Markdown.

    Raises:
        ValueError: nobody has written about the node yet.
    """
    if node.id not in written:
        raise ValueError(f"{node.id} has no introduction; write one under '# {node.id}' in tools/help/.")
    picture = [f"![What it does](pictures/{node.id}.jpg)"] if (PICTURES / f"{node.id}.jpg").is_file() else []
    parts = [f"# {node.display_name}", *picture, written[node.id]]
    for title, wanted in (("Inputs", False), ("Advanced inputs", True)):
        slots = [slot for slot in node.inputs if slot.options.get("advanced", False) is wanted]
        if slots:
            head = "| input | type | default | range | meaning |\n|---|---|---|---|---|"
            parts += [f"## {title}", "\n".join([head, *map(_input_row, slots)])]
    if node.settings:
        head = "| name | default | range | meaning |\n|---|---|---|---|"
        parts += ["## Lines of `settings`", "\n".join([head, *map(_setting_row, node.settings)])]
    head = "| output | type | meaning |\n|---|---|---|"
    rows = [f"| `{slot.name}` | {slot.kind} | {_cell(slot.tooltip)} |" for slot in node.outputs]
    return "\n\n".join([*parts, "## Outputs", "\n".join([head, *rows])]) + "\n"


def _input_row(slot: Slot) -> str:
    name = f"`{slot.name}`" if slot.required else f"`{slot.name}` (optional)"
    kind = WIDGETS.get(slot.kind, slot.kind)
    return f"| {name} | {kind} | {_default(slot)} | {_range(slot)} | {_cell(slot.tooltip)} |"


def _setting_row(spec: FieldSpec) -> str:
    default = str(spec.default).lower() if isinstance(spec.default, bool) else json.dumps(spec.default)
    known = ", ".join(f"`{choice}`" for choice in spec.choices)
    if spec.min is not None and spec.max is not None:
        known = f"{_number(spec.min)} to {_number(spec.max)}"
    return f"| `{spec.name}` | `{default}` | {known or '-'} | {_cell(spec.tooltip)} |"


def _default(slot: Slot) -> str:
    return written_default(slot.options["default"]) if "default" in slot.options else "-"


def written_default(value: bool | int | float | str) -> str:
    """A default as the pages show it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return f"`{_cell(value)}`" if value else "empty"
    return _number(value)


def _range(slot: Slot) -> str:
    if slot.kind == "choice":
        return ", ".join(f"`{choice}`" for choice in slot.options["choices"])
    if "min" in slot.options and "max" in slot.options:
        return f"{_number(slot.options['min'])} to {_number(slot.options['max'])}"
    return "-"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

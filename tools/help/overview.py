"""docs/nodes.md: every workflow and every node in a line."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from ..workflow_makers import NAMES
from .declarations import Node

HEAD = """# Workflows and nodes

Made by `python -m facestylist.tools.help`. A node's name leads to its help page, which its *i* shows in ComfyUI.

| workflow | what it does |
|---|---|
"""


def overview(nodes: Sequence[Node]) -> str:
    """The page as Markdown: workflows, then nodes by category, in the order of their declaration."""
    lines = [f"| `{name}` | {_workflow(name)} |" for name in NAMES]
    text = HEAD + "\n".join(lines) + "\n"
    for category in dict.fromkeys(node.category for node in nodes):
        rows = [
            f"| [{node.display_name}](../web/docs/{node.id}.md) | {_first(node.description)} |"
            for node in nodes
            if node.category == category
        ]
        title = category.rpartition("/")[2]
        text += "\n".join(["", f"## {title}", "", "| node | what it does |", "|---|---|", *rows, ""])
    return text


def _workflow(name: str) -> str:
    return (import_module(f"..workflow_makers.{name}", __package__).__doc__ or "").strip().partition("\n\n")[0]


def _first(text: str) -> str:
    """The first sentence."""
    return text.partition(". ")[0].rstrip(".") + "."

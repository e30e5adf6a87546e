"""All files that are made of the nodes' declarations and the sentences in this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .declarations import all_nodes
from .defaults import PAGE, ROOT, with_defaults
from .locales import english, main_file, read_texts, translated
from .overview import overview
from .pages import page, written_parts

HERE = Path(__file__).parent


def generated() -> dict[str, str]:
    """The text of every generated file, by its path inside the repository with forward slashes."""
    nodes = all_nodes()
    written = written_parts(HERE)
    unknown = written.keys() - {node.id for node in nodes}
    if unknown:
        raise ValueError(f"tools/help/ describes what is no node: {', '.join(sorted(unknown))}.")
    files = {f"web/docs/{node.id}.md": page(node, written) for node in nodes}
    files["docs/nodes.md"] = overview(nodes)
    files[PAGE] = with_defaults((ROOT / PAGE).read_text(encoding="utf-8"))
    for language in ("en", "zh"):
        files[f"locales/{language}/main.json"] = _json(main_file(language))
    files["locales/en/nodeDefs.json"] = _json(english(nodes))
    files["locales/zh/nodeDefs.json"] = _json(translated(nodes, read_texts(HERE / "zh")))
    return files


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

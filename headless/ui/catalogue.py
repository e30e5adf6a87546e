"""What the server has to offer: nodes, workflow templates, extensions and translations of this pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...runtime.folders import SAMPLE, SAMPLE_GROUP
from .. import builtin_nodes
from .frontend import bundled_extensions

PACK = "ComfyUI-FaceStylist"
"""What the pack is called in addresses, wherever its folder is and whatever it is called."""

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / "workflows"
WEB = ROOT / "web"
LOCALES = ROOT / "locales"


def object_info(classes: Mapping[str, type], display_names: Mapping[str, str]) -> dict[str, Any]:
    """Every node as ComfyUI's `/object_info` describes it."""
    return {name: node_info(name, node, display_names.get(name, name)) for name, node in classes.items()}


def node_info(name: str, node: Any, display_name: str) -> dict[str, Any]:
    """One node as ComfyUI's `/object_info` describes it."""
    types = {group: dict(inputs) for group, inputs in node.INPUT_TYPES().items()}
    core = name in builtin_nodes.NODE_CLASS_MAPPINGS
    if name == "LoadImage":
        types["required"]["image"] = _with_sample(types["required"]["image"])
    outputs = list(node.RETURN_TYPES)
    info = {
        "input": types,
        "input_order": {group: list(inputs) for group, inputs in types.items()},
        "is_input_list": bool(getattr(node, "INPUT_IS_LIST", False)),
        "output": outputs,
        "output_is_list": list(getattr(node, "OUTPUT_IS_LIST", None) or [False] * len(outputs)),
        "output_name": list(getattr(node, "RETURN_NAMES", outputs)),
        "name": name,
        "display_name": display_name,
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": "nodes" if core else f"custom_nodes.{PACK}",
        "category": node.CATEGORY,
        "output_node": bool(getattr(node, "OUTPUT_NODE", False)),
        "search_aliases": list(getattr(node, "SEARCH_ALIASES", [])),
    }
    for attribute in ("OUTPUT_TOOLTIPS", "DEPRECATED", "EXPERIMENTAL"):
        if getattr(node, attribute, None):
            info[attribute.lower()] = getattr(node, attribute)
    return info


def _with_sample(declared: tuple[Any, ...]) -> tuple[Any, ...]:
    """The list of pictures with the samples in it, which are found by their names though they lie in no folder."""
    names, *rest = declared
    return ([*names, *(name for name in (SAMPLE, SAMPLE_GROUP) if name not in names)], *rest)


def templates() -> dict[str, list[str]]:
    """The bundled workflows that can run here, by pack, for the front end's template browser."""
    return {PACK: sorted(path.stem for path in WORKFLOWS.glob("*.json"))}


def extensions(static_root: Path) -> list[str]:
    """Addresses of the front end's and the pack's JavaScript extensions."""
    own = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*.js")) if WEB.is_dir() else []
    return [*bundled_extensions(static_root), *(f"/extensions/{PACK}/{quote(name)}" for name in own)]

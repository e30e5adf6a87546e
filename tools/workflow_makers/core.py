"""ComfyUI's own nodes as a workflow needs to know them, where there is no ComfyUI: inputs, outputs and defaults.

core_nodes.json is a record of a ComfyUI's definitions, without the lists of files on that machine; `record.py` makes
it, and a test compares it with a real server's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("core_nodes.json")
NAMES = (
    "CLIPTextEncode",
    "Canny",
    "CheckpointLoaderSimple",
    "ControlNetApplyAdvanced",
    "ControlNetLoader",
    "DifferentialDiffusion",
    "GetVideoComponents",
    "ImageCompositeMasked",
    "ImageScale",
    "ImageScaleToTotalPixels",
    "InvertMask",
    "KSampler",
    "LoadVideo",
    "MaskToImage",
    "PreviewAny",
    "SaveWEBM",
    "SetLatentNoiseMask",
    "VAEDecode",
    "VAEEncode",
)
"""The nodes that the bundled workflows use besides ours and those that the runner has itself."""
FILE_LISTS = {
    ("CheckpointLoaderSimple", "ckpt_name"),
    ("ControlNetLoader", "control_net_name"),
    ("LoadVideo", "file"),
}
KEPT = ("default", "min", "max", "step", "multiline", "control_after_generate", "forceInput", "options", "video_upload")
"""What of an input's options decides its widget."""


def definition(name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """One node of `/object_info` without what belongs to a machine or is only shown to people."""
    groups = {}
    for group in ("required", "optional"):
        if found := info["input"].get(group):
            groups[group] = {slot: _input((name, slot), spec) for slot, spec in found.items()}
    return {
        "input": groups,
        "output": list(info["output"]),
        "output_name": list(info["output_name"]),
        "output_node": bool(info["output_node"]),
    }


def _input(slot: tuple[str, str], spec: list[Any]) -> list[Any]:
    kind, options = spec[0], dict(spec[1]) if len(spec) > 1 else {}
    if isinstance(kind, list):
        kind, options = "COMBO", {"default": kind[0] if kind else None, **options, "options": kind}
    if slot in FILE_LISTS:
        options = {**options, "options": [], "default": None}
    return [kind, {key: options[key] for key in KEPT if options.get(key) is not None}]


@cache
def recorded() -> dict[str, Any]:
    """The record, by node class."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


@cache
def core_class(name: str) -> type:
    """A class with the declaration of one of ComfyUI's nodes, which cannot run.

    Raises:
        ValueError: it is not in the record.
    """
    if name not in recorded():
        raise ValueError(f"{name} is not in {FILE.name}; add it to NAMES in {Path(__file__).name} and run record.py.")
    node = recorded()[name]
    inputs = {
        group: {slot: (kind, dict(options)) for slot, (kind, options) in slots.items()}
        for group, slots in node["input"].items()
    }
    declared = {
        "INPUT_TYPES": classmethod(lambda cls: inputs),
        "RETURN_TYPES": tuple(node["output"]),
        "RETURN_NAMES": tuple(node["output_name"]),
        "OUTPUT_NODE": node["output_node"],
    }
    return type(name, (), declared)

"""ComfyUI-FaceStylist: portraits into stylised portraits.

This folder is two things at once: the pack that ComfyUI loads by path from `custom_nodes/`, and the Python package
`facestylist`. Importing it costs next to nothing: the nodes load when ComfyUI (or anyone) asks for their mappings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .runtime.devices import in_comfyui

__version__ = "0.1.0"
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

if (Path(__file__).parent / "web").is_dir():
    WEB_DIRECTORY = "./web"
    __all__ += ["WEB_DIRECTORY"]

if in_comfyui():
    from .runtime.folders import copy_samples_once, register_model_folders

    register_model_folders()
    copy_samples_once()


def __getattr__(name: str) -> Any:
    """Loads the nodes at the first look at one of the two mappings that ComfyUI reads."""
    if name in ("NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"):
        from . import nodes

        mappings = getattr(nodes, name)
        globals()[name] = mappings
        return mappings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Are we inside ComfyUI?"""

from __future__ import annotations

import sys


def in_comfyui() -> bool:
    """True when a ComfyUI process has loaded us.

    Asks what is already imported instead of importing: a machine may have ComfyUI's modules on its path while a plain
    script runs, and importing `comfy.model_management` there would initialise devices and parse the command line.
    """
    return "folder_paths" in sys.modules and "comfy.model_management" in sys.modules

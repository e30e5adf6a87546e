"""Runs ComfyUI's main.py, also where torch is a CPU build beside a torchvision built for CUDA.

Such a torchvision fails on import for want of its compiled operators; nothing here calls them, so that declaring them
is enough.

    python start_comfyui.py .../ComfyUI/main.py [ComfyUI's arguments]
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path


def declare_torchvision_operators() -> None:
    import torch

    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                       "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):  # fmt: skip
            library.define(schema)
        kept.append(library)


kept: list[object] = []
"""Operator declarations vanish with the object that made them."""

if __name__ == "__main__":
    main = Path(sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(main.parent))
    if find_spec("torchvision") is not None:
        declare_torchvision_operators()
    runpy.run_path(str(main), run_name="__main__")

"""Runs ComfyUI's main.py, also where torch is a CPU build beside a torchvision and a torchaudio built for CUDA.

Such a torchvision fails on import for want of its compiled operators; nothing here calls them, so that declaring them
is enough. Such a torchaudio fails to load its libraries; it does without where it is told that there are none.

    python start_comfyui.py .../ComfyUI/main.py [ComfyUI's arguments]
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path


def declare_torchvision_operators() -> None:
    import torch

    try:
        import torchvision  # noqa: F401
    except (RuntimeError, ImportError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in (
            "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        ):
            library.define(schema)
        kept.append(library)


def hide_torchaudio_libraries() -> None:
    try:
        import torchaudio  # noqa: F401
    except (OSError, ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        package = find_spec("torchaudio")
        assert package is not None and package.submodule_search_locations
        file = Path(package.submodule_search_locations[0]) / "_extension" / "utils.py"
        spec = spec_from_file_location("torchaudio._extension.utils", file)
        assert spec is not None and spec.loader is not None
        utils = module_from_spec(spec)
        spec.loader.exec_module(utils)
        utils._load_lib = lambda lib: False  # type: ignore[attr-defined]
        # The package finds this one already imported.
        sys.modules[spec.name] = utils


kept: list[object] = []
"""Operator declarations vanish with the object that made them."""

if __name__ == "__main__":
    main = Path(sys.argv[1])
    sys.argv = sys.argv[1:]
    sys.path.insert(0, str(main.parent))
    if find_spec("torchvision") is not None:
        declare_torchvision_operators()
    if find_spec("torchaudio") is not None:
        hide_torchaudio_libraries()
    runpy.run_path(str(main), run_name="__main__")

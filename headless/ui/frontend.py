"""Where ComfyUI's front end is installed."""

from __future__ import annotations

import json
from importlib import metadata, util
from pathlib import Path

DISTRIBUTION = "comfyui-frontend-package"


class MissingFrontend(RuntimeError):
    """The front end's package is not installed, or is not what it was."""


def static_root() -> Path:
    """The folder of the front end's static files.

    Raises:
        MissingFrontend: it is not installed.
    """
    spec = util.find_spec("comfyui_frontend_package")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        root = Path(place) / "static"
        if (root / "index.html").is_file():
            return root.resolve()
    raise MissingFrontend(f"ComfyUI's front end is not installed. Run `pip install {DISTRIBUTION}`.")


def version() -> str:
    """Its version, or `unknown`."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def bundled_extensions(root: Path) -> list[str]:
    """Addresses of the JavaScript files in a folder of extensions, below `root`."""
    return sorted(f"/{path.relative_to(root).as_posix()}" for path in (root / "extensions").rglob("*.js"))


def translations(locales: Path) -> dict[str, dict[str, object]]:
    """The pack's `locales/<language>/{main,nodeDefs,commands,settings}.json` in the form the front end takes."""
    found: dict[str, dict[str, object]] = {}
    for folder in sorted(path for path in locales.glob("*") if path.is_dir()):
        entries: dict[str, object] = {}
        main = folder / "main.json"
        if main.is_file():
            entries.update(json.loads(main.read_text(encoding="utf-8")))
        for part in ("nodeDefs", "commands", "settings"):
            file = folder / f"{part}.json"
            if file.is_file():
                entries[part] = json.loads(file.read_text(encoding="utf-8"))
        if entries:
            found[folder.name] = entries
    return found

"""Records the definitions of ComfyUI's own nodes that the bundled workflows use.

    python -m facestylist.tools.workflow_makers.record --server URL

asks a running ComfyUI and writes core_nodes.json.
"""

from __future__ import annotations

import argparse
import json
import urllib.request

from .core import FILE, NAMES, definition


def main() -> None:
    """Writes the record."""
    parser = argparse.ArgumentParser(description="Record the definitions of ComfyUI's own nodes.")
    parser.add_argument("--server", required=True, metavar="URL", help="a running ComfyUI")
    url = parser.parse_args().server.rstrip("/")
    if not url.startswith(("http://", "https://")):
        parser.error("--server is not an http address")
    with urllib.request.urlopen(f"{url}/object_info", timeout=120) as answer:  # noqa: S310 - checked above
        info = json.load(answer)
    record = {name: definition(name, info[name]) for name in NAMES}
    FILE.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

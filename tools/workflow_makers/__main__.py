"""Writes the bundled workflows as ComfyUI's front end saves them.

    python -m facestylist.tools.workflow_makers [NAME ...] [--thumbnails]

With --thumbnails it also runs them, which takes minutes, and makes their thumbnails of what comes out. The files in
workflows/ are made here alone: a test holds them to their modules, so that a change of either cannot be forgotten.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import NAMES, build, thumbnail_titles
from .thumbnails import thumbnail

FOLDER = Path(__file__).resolve().parents[2] / "workflows"


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description="Write the bundled workflows.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of: {', '.join(NAMES)}")
    parser.add_argument("--thumbnails", action="store_true", help="also run them and make their pictures")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no workflow {', '.join(unknown)}; there are {', '.join(NAMES)}")
    FOLDER.mkdir(exist_ok=True)
    for name in args.names or NAMES:
        canvas = build(name)
        text = json.dumps(canvas.document(), indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        if args.thumbnails:
            thumbnail(canvas, thumbnail_titles(name)).save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()

"""Writes the help pages and the translations; pages of nodes that are gone are removed."""

from __future__ import annotations

from pathlib import Path

from .files import generated

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Writes what differs."""
    files = generated()
    for stale in set((ROOT / "web" / "docs").glob("*.md")) - {ROOT / name for name in files}:
        stale.unlink()
    for name, text in files.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

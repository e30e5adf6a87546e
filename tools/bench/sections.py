"""Tables within a document: each stands between two comments that name it, and is replaced whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core.files import write_atomically


def fill_section(document: str, name: str, lines: Sequence[str]) -> str:
    """The document with `lines` between `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises:
        ValueError: the two comments are not there, once each and in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in rest or end in after:
        raise ValueError(f"The document needs the lines {begin} and {end}, once each and in this order.")
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"


def fill_file(path: Path, name: str, lines: Sequence[str]) -> None:
    """`fill_section` on a file, which is replaced whole or not at all."""
    filled = fill_section(path.read_text(encoding="utf-8"), name, lines).encode()
    write_atomically(path, lambda file: file.write(filled))

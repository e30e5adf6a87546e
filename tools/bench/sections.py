"""Tables within a document: each stands between two comments that name it, and is replaced whole."""

from __future__ import annotations

from collections.abc import Sequence


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

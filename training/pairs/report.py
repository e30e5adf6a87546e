"""What happened while pairs were made, for people."""

from __future__ import annotations

from .filters import REASONS
from .types import StylePairs


def describe(pairs: StylePairs) -> str:
    """A table of counts by level and origin, then remarks; lines of plain text."""
    report = pairs.report
    lines = [f"{len(pairs)} pairs: {_whose(pairs.source.style)} to {_whose(pairs.target.style)}"]
    for row in report.get("rows", []):
        dropped = [f"{row[reason]} {reason}" for reason in REASONS[1:] if row.get(reason)]
        lines.append(
            f"level {row['level']} {row['origin']}: {row['kept']} of {row['made']} kept"
            + (f", dropped: {', '.join(dropped)}" if dropped else "")
        )
    return "\n".join(lines + list(report.get("notes", [])))


def _whose(style: str) -> str:
    return style or "the base generator"

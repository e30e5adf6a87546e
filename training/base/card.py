"""The card of a base: what its stages reached on people whom it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...core.files import write_atomically

COLUMNS = {
    "steps": "steps",
    "minutes": "minutes",
    "psnr": "PSNR, dB",
    "gradient_energy": "gradient energy",
    "own": "own distance",
    "others": "others' distance",
    "same": "same person",
    "top1": "top-1",
}
EXPLANATION = """
Measured on people nothing was learned from. *Gradient energy* is that of the face, 1 being the photo's. *Own distance*
and *others' distance* are those of the face descriptor to the person's own portrait and to everybody else's; *same
person* is the part of own distances below 0.6, *top-1* the part of faces nearest to their own portrait.
"""


def write_card(figures: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Writes the figures of `BaseResult` as a page of Markdown."""
    stages = {name: row for name, row in figures.items() if "steps" in row}
    columns = [key for key in COLUMNS if any(key in row for row in stages.values())]
    lines = [
        "# A face base: training card",
        "",
        "| stage | " + " | ".join(COLUMNS[key] for key in columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
    ]
    for name, row in stages.items():
        lines.append(f"| {name} | " + " | ".join(_number(row.get(key)) for key in columns) + " |")
    lines.append(EXPLANATION)
    samples = figures.get("samples")
    if samples:
        lines.append(
            f"Made-up faces lie {samples['nearest_learned']:.3f} (median) from the nearest person learned from, "
            f"held-out people {samples['nearest_learned_of_held_out']:.3f}; one made-up face lies "
            f"{samples['nearest_sample']:.3f} from the nearest other.\n"
        )
    return write_atomically(path, "\n".join(lines).encode())


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if float(value).is_integer() else f"{value:.3g}"

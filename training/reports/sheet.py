"""The picture of a stylisation report: faces in a grid, a table of numbers, loss curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.sheets import FAINT, GAP, INK, PAPER, RULE, font, labelled_grid

if TYPE_CHECKING:
    from .report import Report

COLUMNS = (
    ("style", "name", ""),
    ("structure distance", "structure_distance", "{:.4f}"),
    ("L_feat", "semantic_feature", "{:.3f}"),
    ("L_self", "semantic_self", "{:.4f}"),
    ("patch distance", "patch_distance", "{:.4f}"),
    ("D-KID", "d_kid", "{:.3f}"),
)
"""Heading, field of `StyleNumbers`, and how it is written."""
CURVE_COLOURS = ((196, 72, 60), (52, 106, 170), (70, 140, 84), (190, 130, 40), (120, 84, 160), (90, 90, 96))
LINE = 22
PLOT_HEIGHT = 220
LEAST_WIDTH = 760


def report_sheet(
    report: Report,
    grid: Sequence[Sequence[Any]],
    columns: Sequence[str],
    losses: Mapping[str, Sequence[float]] | None = None,
    title: str = "Stylisation report",
    cell: int = 0,
) -> Any:
    """The whole report as a Pillow image.

    Args:
        grid, columns, cell: the faces, as `contact_sheet.labelled_grid` takes them.
        losses: curves by name, one number for each step; None draws no plot.
    """
    from PIL import Image, ImageDraw

    names = [f"face {n + 1}" for n in range(len(grid))] if len(grid) > 1 else []
    faces = labelled_grid(grid, columns, names, title, cell)
    width = max(faces.width, LEAST_WIDTH)
    lines = [
        f"Reconstruction: {_number(report.psnr, '{:.1f}')} dB; mean squared error "
        + ", ".join(f"{e:.4f}" for e in report.reconstruction_error[:8])
        + (" ..." if report.faces > 8 else ""),
        *([] if report.identity_distance is None else [_distances(report.identity_distance)]),
        *report.notes,
    ]
    table = LINE * (len(report.styles) + 1) if report.styles else 0
    curves = None if not losses else loss_curves(losses, width - 2 * GAP, PLOT_HEIGHT)
    height = faces.height + GAP + table + LINE * len(lines) + GAP + (0 if curves is None else PLOT_HEIGHT + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    sheet.paste(faces, (0, 0))
    draw = ImageDraw.Draw(sheet)
    y = faces.height + GAP
    if report.styles:
        step = (width - 2 * GAP) / (len(COLUMNS) + 0.6)
        places = [GAP + (index + (0.6 if index else 0)) * step for index in range(len(COLUMNS))]
        for place, (heading, _, _) in zip(places, COLUMNS, strict=True):
            draw.text((place, y), heading, FAINT, font=font(14))
        draw.line((GAP, y + LINE - 3, width - GAP, y + LINE - 3), RULE)
        for row in report.styles:
            y += LINE
            for place, (_, field, form) in zip(places, COLUMNS, strict=True):
                value = getattr(row, field)
                draw.text((place, y), _number(value, form) if form else str(value), INK, font=font(14))
        y += LINE
    for line in lines:
        draw.text((GAP, y), line, FAINT, font=font(14))
        y += LINE
    if curves is not None:
        sheet.paste(curves, (GAP, y + GAP // 2))
    return sheet


def loss_curves(losses: Mapping[str, Sequence[float]], width: int, height: int) -> Any:
    """Curves of several losses, each scaled to its own range, which the legend tells; a Pillow image.

    One value, equal values and values that are not finite are drawn too, or left out, and never divide by zero.
    """
    from PIL import Image, ImageDraw

    plot = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(plot)
    left, right, top, bottom = 2, width - 240, 6, height - 22
    draw.rectangle((left, top, right, bottom), outline=RULE)
    longest = max((len(values) for values in losses.values()), default=0)
    draw.text(((left + right) / 2, bottom + 4), f"{longest} steps", FAINT, font=font(13), anchor="ma")
    for index, (name, values) in enumerate(list(losses.items())[:8]):
        colour = CURVE_COLOURS[index % len(CURVE_COLOURS)]
        smooth = _bins([float(v) for v in values], right - left)
        finite = [v for _, v in smooth]
        text = f"{name}: no numbers"
        if finite:
            low, high = min(finite), max(finite)
            span = (high - low) or 1.0
            points = [
                (left + x * (right - left), bottom - 4 - (v - low) / span * (bottom - top - 8)) for x, v in smooth
            ]
            if len(points) == 1 or high == low:
                points = [(left, points[0][1]), (right, points[0][1])]
            draw.line(points, colour, width=2)
            text = f"{name}: {low:.3g} to {high:.3g}"
        y = top + 2 + index * 20
        draw.line((right + 14, y + 8, right + 30, y + 8), colour, width=3)
        draw.text((right + 36, y), text, INK, font=font(13))
    return plot


def _bins(values: Sequence[float], count: int) -> list[tuple[float, float]]:
    """Position 0..1 and mean of at most `count` stretches of the curve, without what is not finite."""
    if not values:
        return []
    size = max(1, math.ceil(len(values) / max(count // 3, 1)))
    found = []
    for start in range(0, len(values), size):
        part = [v for v in values[start : start + size] if math.isfinite(v)]
        if part:
            found.append((start / max(len(values) - 1, 1), sum(part) / len(part)))
    return found


def _distances(distances: tuple[float, ...]) -> str:
    from ...models.dlib import SAME_PERSON

    shown = ", ".join(f"{d:.2f}" for d in distances[:8]) + (" ..." if len(distances) > 8 else "")
    return f"Distance of each face from its reconstruction (up to {SAME_PERSON}: the same person): {shown}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)

"""The panels of `bench speed --scale`, as one SVG and as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 440, 300, 64, 58, 22, 50
"""Of a panel in pixels, and the room round its axes: the names of its curves are above them."""


@dataclass(frozen=True)
class Panel:
    """Rates against something."""

    title: str
    x: str
    y: str
    """What the axes are, with units."""
    curves: Mapping[str, Sequence[tuple[float, float]]]
    """(x, rate) in the order of x, by name."""
    logarithmic: bool
    """Both axes, else both begin at 0 or where the first point is."""
    note: str
    """A sentence."""


def scale_table(panel: Panel) -> list[str]:
    """Its numbers, and how many times the first rate the last is."""
    xs = [x for x, _ in next(iter(panel.curves.values()))]
    lines = [f"| {panel.title}: {panel.y}; {panel.x} | {' | '.join(f'{x:g}' for x in xs)} | last : first |"]
    lines.append("|---|" + "---:|" * (len(xs) + 1))
    for name, points in panel.curves.items():
        rates = " | ".join(f"{rate:.3g}" for _, rate in points)
        lines.append(f"| {name} | {rates} | {points[-1][1] / points[0][1]:.2g} |")
    return [*lines, "", panel.note]


def scale_svg(panels: Sequence[Panel]) -> str:
    """Two panels in a row, on a ground of their own, so that it can be read on a dark page, too."""
    width, height = 2 * WIDTH, -(-len(panels) // 2) * HEIGHT
    parts = [
        part
        for number, panel in enumerate(panels)
        for part in _panel(panel, number % 2 * WIDTH + LEFT, number // 2 * HEIGHT + TOP)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="#222"><rect width="100%" height="100%" fill="#faf9f6"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _panel(panel: Panel, x0: int, y0: int) -> list[str]:
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs, rates = ([point[axis] for points in panel.curves.values() for point in points] for axis in (0, 1))
    low, high = (_round(min(rates), down=True) if panel.logarithmic else 0.0), _round(max(rates))

    def share(value: float, start: float, end: float) -> float:
        if panel.logarithmic:
            value, start, end = math.log(value), math.log(start), math.log(end)
        return (value - start) / (end - start or 1)

    def place(x: float, rate: float) -> tuple[float, float]:
        # A little room beside the first and the last point.
        across = 0.04 + 0.92 * share(x, min(xs), max(xs))
        return x0 + width * across, y0 + height * (1 - share(rate, low, high))

    parts = [
        f'<text x="{x0}" y="{y0 - 34}" font-weight="bold">{escape(panel.title)}</text>',
        f'<path d="M{x0} {y0}V{y0 + height}H{x0 + width}" fill="none" stroke="#777"/>',
        f'<text x="{x0 + width / 2}" y="{y0 + height + 36}" text-anchor="middle">{escape(panel.x)}</text>',
        f'<text transform="translate({x0 - 46} {y0 + height / 2})rotate(-90)" text-anchor="middle">'
        f"{escape(panel.y)}</text>",
    ]
    for x in sorted(set(xs)):
        at = place(x, high)[0]
        parts.append(f'<path d="M{at:.1f} {y0 + height}v4" stroke="#777"/>')
        parts.append(f'<text x="{at:.1f}" y="{y0 + height + 17}" text-anchor="middle">{x:g}</text>')
    for rate in _ticks(low, high, panel.logarithmic):
        at = place(xs[0], rate)[1]
        parts.append(f'<path d="M{x0} {at:.1f}h{width}" stroke="#ddd"/>')
        parts.append(f'<text x="{x0 - 6}" y="{at + 4:.1f}" text-anchor="end">{rate:g}</text>')
    along = x0
    for colour, (name, points) in zip(COLOURS, panel.curves.items(), strict=False):
        placed = [place(*point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        parts.append(f'<rect x="{along}" y="{y0 - 23}" width="11" height="11" fill="{colour}"/>')
        parts.append(f'<text x="{along + 16}" y="{y0 - 13}">{escape(name)}</text>')
        along += 40 + 7 * len(name)
    return parts


def _round(rate: float, down: bool = False) -> float:
    """The nearest 1, 2 or 5 times a power of ten that is not below (or not above)."""
    steps = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    return max(step for step in steps if step <= rate) if down else min(step for step in steps if step >= rate)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    if not logarithmic:
        return [high * number / 4 for number in range(5)]
    steps = [step * 10.0**power for power in range(-6, 7) for step in (1, 2, 5)]
    inside = [step for step in steps if low * 0.999 <= step <= high * 1.001]
    return inside if len(inside) < 8 else inside[::3]

"""What `bench quality` found, for people: a table, the trade-off of style and content as curves, and a sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from ...core.pictures import tensor_to_image
from ...core.sheets import labelled_grid
from ...latents.sampling import sample_latent, synthesise
from .quality import STRENGTHS, Comparison, Run
from .quality_data import People, is_rendered

Results = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each row what `Comparison.result` gave, a seed each."""
GROUP = "report"
AXES = {"rendered": ("label error", "L1"), "photographs": ("own dlib", "own faceres")}
"""Content errors of the two kinds of looks that are drawn as curves."""
OTHERS = {
    "rendered": ("landmark error", "MS-SSIM", "gradient", "top-1 judge"),
    "photographs": ("top-1 dlib", "top-1 faceres"),
}
GENERAL = ("style", "kid", "patches", "diversity", "memorised")
YARDSTICK = "ours"
"""The row that all others stand beside."""
ABLATION = "-no-"
SHEET_FACES = 4
SHEET_ROWS = ("plain", "layer-swap", "cdc", "rssa", "fix-noise", "structure", "jojogan", "ours")
SHEET_SEED = 40
COLOURS = (
    "#777777",
    "#e69f00",
    "#b8860b",
    "#8c564b",
    "#56b4e9",
    "#0072b2",
    "#17becf",
    "#cc79a7",
    "#bcbd22",
    "#009e73",
    "#d62728",
    "#9467bd",
)


def kind_of(look: str) -> str:
    """The kind of a look, a key of `AXES`."""
    return "rendered" if is_rendered(look) else "photographs"


def finished(comparison: Comparison, rows: Sequence[str], seeds: int, shots: int) -> dict[str, list[dict[str, Any]]]:
    """What is there of these rows."""
    found = {row: [comparison.found(comparison.run(row, seed, shots)) for seed in range(seeds)] for row in rows}
    return {row: [one for one in ones if one] for row, ones in found.items() if any(ones)}


def content_at_style(
    curve: Sequence[Mapping[str, Any]], source: Mapping[str, float], axis: str, style: float
) -> float | None:
    """The content error where a curve, from the source on, first comes as near as `style`; None where it never does."""
    points = [(source["style"], source[axis])]
    points += [(point[GROUP]["style"], point[GROUP][axis]) for point in curve]
    for (far, before), (near, after) in zip(points, points[1:], strict=False):
        if near <= style:
            share = 0.0 if far <= style else (far - style) / (far - near)
            return before + (after - before) * share
    return None


def _spread(values: Sequence[float]) -> str:
    """Mean, and standard deviation over seeds where there are several."""
    x = torch.tensor(values, dtype=torch.float64)
    return f"{float(x.mean()):.3f}" + (f" ± {float(x.std()):.3f}" if len(values) > 1 else "")


def quality_table(look: str, references: Mapping[str, Any], results: Results) -> list[str]:
    """Lines of a look's table; its rows are means over seeds, and their content stands beside ours at equal style."""
    kind = kind_of(look)
    content = (*AXES[kind], *OTHERS[kind])
    titles = ["", "seeds", "style", *(f"{name} / ours" for name in content), *GENERAL[1:], "s"]
    lines = [f"| {' | '.join(titles)} |", "|---|" + "---:|" * (len(titles) - 1)]
    for title, groups in references.items():
        if GROUP in groups:
            values = groups[GROUP]
            cells = [f"{values[name]:.3f}" if name in values else "" for name in ("style", *content, *GENERAL[1:])]
            lines.append(f"| *{title}* | | {' | '.join(cells)} | |")
    source = references["source"][GROUP]
    ours = {one["seed"]: one for one in results.get(YARDSTICK, [])}
    for row, ones in results.items():
        ends = [one["curve"][-1][GROUP] for one in ones]
        beside = {} if row == YARDSTICK else ours
        cells = [_spread([end["style"] for end in ends])]
        cells += [_spread([end[name] for end in ends]) + _ours(ones, beside, source, name) for name in content]
        cells += [f"{_mean([end[name] for end in ends]):.3f}" for name in GENERAL[1:]]
        shots = f", {ones[0]['shots']} picture{'s' if ones[0]['shots'] > 1 else ''}" if ones[0]["shots"] else ""
        seconds = f"{_mean([one['seconds'] for one in ones]):.0f}"
        lines.append(f"| {row}{shots} | {len(ones)} | {' | '.join(cells)} | {seconds} |")
    return lines


def _ours(ones: Sequence[Mapping[str, Any]], ours: Mapping[int, Any], source: Mapping[str, float], name: str) -> str:
    """` / ` and what ours has where it is as near to the style as a row at its end, means over the seeds that both have
    run; bold where it is better by more than the difference's standard deviation over seeds."""
    found, better = [], []
    for one in ones:
        if one["seed"] in ours:
            end = one["curve"][-1][GROUP]
            at = content_at_style(ours[one["seed"]]["curve"], source, name, end["style"])
            if at is None:
                return " / not reached"
            found.append(at)
            better.append((at - end[name]) * (1 if name.startswith("top-1") else -1))
    if not found:
        return ""
    clear = len(better) > 1 and _mean(better) > float(torch.tensor(better).std())
    return f" / **{_mean(found):.3f}**" if clear else f" / {_mean(found):.3f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def trade_off(results: Mapping[str, tuple[Mapping[str, Any], Results]]) -> str:
    """An SVG: a row of panels for each look (its references and rows), style distance against content errors, a curve
    for each row from the source on; ablations are left out. Lower left is better."""
    width, height, left, top, room = 380, 300, 60, 34, 210
    methods = list(dict.fromkeys(row for _, rows in results.values() for row in rows if ABLATION not in row))
    colours = {row: COLOURS[number % len(COLOURS)] for number, row in enumerate(methods)}
    parts, y = [], 0
    for look, (references, rows) in results.items():
        for column, axis in enumerate(AXES[kind_of(look)]):
            source = references["source"][GROUP]
            curves = {row: _curve(rows[row], source, axis) for row in methods if row in rows}
            x0, y0 = column * width + left, y + top
            parts += _panel(curves, colours, f"{look}: {axis}", x0, y0, width - left - 14, height - top - 44)
        y += height
    for number, row in enumerate(methods):
        parts.append(
            f'<rect x="{2 * width + 8}" y="{top + 20 * number}" width="12" height="12" fill="{colours[row]}"/>'
        )
        parts.append(f'<text x="{2 * width + 26}" y="{top + 20 * number + 10}">{escape(row)}</text>')
    total, tall = 2 * width + room, max(y, top + 20 * len(methods) + 10)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="{tall}" viewBox="0 0 {total} {tall}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#faf9f6"/>'
        + "".join(parts)
        + "</svg>\n"
    )


def _curve(ones: Sequence[Mapping[str, Any]], source: Mapping[str, float], axis: str) -> list[tuple[float, float]]:
    """(style, content) at every strength, means over seeds, from the source on."""
    points = [(source["style"], source[axis])]
    for number in range(len(STRENGTHS)):
        ends = [one["curve"][number][GROUP] for one in ones]
        points.append((_mean([end["style"] for end in ends]), _mean([end[axis] for end in ends])))
    return points


def _panel(
    curves: Mapping[str, list[tuple[float, float]]],
    colours: Mapping[str, str],
    title: str,
    x0: int,
    y0: int,
    width: int,
    height: int,
) -> list[str]:
    xs, ys = ([p[axis] for points in curves.values() for p in points] for axis in (0, 1))
    # What breaks down would squeeze all others into a corner.
    right, bottom = min(max(xs), 1.3 * _start(curves)), min(ys)
    reach_x, reach_y = right * 1.03, (max(ys) - bottom) * 1.05 or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x0 + width * min(point[0] / reach_x, 1.0), y0 + height * (1 - (point[1] - bottom) / reach_y)

    parts = [
        f'<text x="{x0}" y="{y0 - 10}" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{x0} {y0}V{y0 + height}H{x0 + width}" fill="none" stroke="#999"/>',
        f'<text x="{x0 + width}" y="{y0 + height + 30}" text-anchor="end" fill="#666">style distance</text>',
        f'<text x="{x0}" y="{y0 + height + 30}" fill="#666">better: lower left</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        at_x, at_y = x0 + width * share, y0 + height * (1 - share)
        parts.append(
            f'<text x="{at_x:.0f}" y="{y0 + height + 15}" text-anchor="middle" fill="#666">{share * reach_x:.3g}</text>'
            f'<text x="{x0 - 5}" y="{at_y + 4:.0f}" text-anchor="end" fill="#666">{bottom + share * reach_y:.3g}</text>'
        )
    for row, points in curves.items():
        placed = [place(point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        bold = 3 if row.startswith("ours") else 1.5
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[row]}" stroke-width="{bold}"/>')
        x, y = placed[-1]
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colours[row]}"><title>{escape(row)}</title></circle>'
        )
    return parts


def _start(curves: Mapping[str, list[tuple[float, float]]]) -> float:
    """The style distance of the source, where all curves begin."""
    return next(iter(curves.values()))[0][0]


@torch.no_grad()
def draw_sheet(comparison: Comparison, runs: Sequence[Run]) -> Any:
    """A Pillow image: the same faces down, what each run makes of them across.

    Of photographs the faces are made up by the source, and style pictures are left out: nobody has agreed to be shown.
    Else people, their twins and style pictures.
    """
    look = comparison.look
    if is_rendered(look.name):
        some = look.people[GROUP]
        codes = some.codes.replace(w_plus=some.codes.w_plus[:SHEET_FACES], reconstruction_error=None)
        assert some.twins is not None  # noqa: S101 - a rendered look has them
        people = People(some.photos[:SHEET_FACES], codes, {})
        twins, style = some.twins[:SHEET_FACES], look.style[:SHEET_FACES]
        columns: dict[str, Tensor] = {"photo": people.photos, "true twin": twins, "style": style}
    else:
        codes = sample_latent(look.source, range(SHEET_SEED, SHEET_SEED + SHEET_FACES))
        people = People(synthesise(look.source, codes).float().cpu().clamp(-1, 1), codes, {})
        columns = {"source": people.photos}
    for run in runs:
        columns[run.row] = comparison.drawn(comparison.style(run), 1.0, people)
    images = {name: list(tensor_to_image(pictures)) for name, pictures in columns.items()}
    cells = [[pictures[number] for pictures in images.values()] for number in range(SHEET_FACES)]
    return labelled_grid(cells, list(columns), cell=look.source.resolution)

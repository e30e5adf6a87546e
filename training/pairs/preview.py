"""Pseudo-pairs for people to judge: a sheet, a row for each level and origin, scores below the pictures; and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...models.types import FaceGenerator
from .filters import REASONS
from .renderer import PairRenderer, to_bytes
from .types import PAIR_LEVELS, PAIR_ORIGINS, StylePairs

ORDERS = ("as made", "worst structure first", "worst quality first")
PAPER, INK, FAINT = (250, 249, 246), (40, 40, 44), (110, 110, 116)
GAP, TITLE_HEIGHT, LABEL_HEIGHT = 12, 24, 17
LEVEL_NAMES = ("no style", "colour and texture", "parts", "all of the style")
SHORT = {"quality": "D", "structure": "structure", "identity": "id", "reconstruction_error": "error"}
"""How scores are called below the pictures."""


def preview_pairs(
    pairs: StylePairs,
    source: FaceGenerator,
    target: FaceGenerator,
    per_row: int = 6,
    size: int = 128,
    order: str = ORDERS[0],
    move: bool = True,
) -> Tensor:
    """A sheet `[3, H, W]` in 0..1: before and after side by side, `per_row` pairs of each level and origin.

    size: side of each picture in pixels.
    order: which pairs of a group are shown: evenly spread as made, or those that a score likes least.
    """
    renderer = PairRenderer(pairs, source, target)
    groups = []
    for level in PAIR_LEVELS:
        for index, origin in enumerate(PAIR_ORIGINS):
            mine = torch.nonzero((pairs.level == level) & (pairs.origin == index))[:, 0]
            if len(mine):
                title = f"level {level}: {LEVEL_NAMES[level]}  ·  {origin}  ·  {len(mine)} pairs"
                groups.append((title, _shown(pairs, mine, per_row, order)))
    columns = max(len(rows) for _, rows in groups)
    pair_width = 2 * size + GAP
    height = TITLE_HEIGHT + size + LABEL_HEIGHT + GAP
    sheet = Image.new("RGB", (max(columns * pair_width, 420) + GAP, len(groups) * height + GAP + LABEL_HEIGHT), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (title, rows) in enumerate(groups):
        top = GAP + number * height
        pen.text((GAP, top), title, INK, font=_font(15))
        before, after = renderer(rows, move)
        for column, row in enumerate(rows.tolist()):
            x, y = GAP + column * pair_width, top + TITLE_HEIGHT
            for place, side in enumerate((before[column], after[column])):
                sheet.paste(_picture(side, size), (x + place * size, y))
            pen.text((x + 1, y + size + 2), _label(pairs, row), FAINT, font=_font(11))
    scores = "each pair: before, after.  D: the style's discriminator, higher is better.  structure: lower is better."
    pen.text((GAP, sheet.height - LABEL_HEIGHT - 2), scores, FAINT, font=_font(11))
    return torch.from_numpy(np.asarray(sheet, dtype=np.float32) / 255.0).permute(2, 0, 1).contiguous()


def _shown(pairs: StylePairs, mine: Tensor, count: int, order: str) -> Tensor:
    """Up to `count` of the pairs `mine`."""
    if order not in ORDERS:
        raise ValueError(f"{order!r} is no order of pairs; choose one of {', '.join(ORDERS)}.")
    if order == ORDERS[0]:
        places = torch.linspace(0, len(mine) - 1, min(count, len(mine))).round().long()
        return mine[places]
    badness = pairs.scores["structure"] if order == ORDERS[1] else -pairs.scores["quality"]
    known = badness[mine].nan_to_num(-torch.inf, posinf=torch.inf)
    return mine[known.argsort(descending=True, stable=True)[:count]]


def _label(pairs: StylePairs, row: int) -> str:
    """The number of a pair and those of its scores that are known and fit."""
    parts = [f"#{row}"]
    for name, short in SHORT.items():
        value = float(pairs.scores[name][row]) if name in pairs.scores else float("nan")
        if value == value and not (name == "structure" and value == 0.0):
            parts.append(f"{short} {value:.2g}" if abs(value) < 0.1 else f"{short} {value:.2f}")
    return "  ".join(parts)


def _picture(side: Tensor, size: int) -> Any:
    """A Pillow picture of `[3, R, R]` in -1..1."""
    picture = Image.fromarray(to_bytes(side).permute(1, 2, 0).numpy())
    return picture if picture.width == size else picture.resize((size, size), Image.Resampling.LANCZOS)


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def describe(pairs: StylePairs) -> str:
    """What happened while pairs were made: a table of counts by level and origin, then remarks; lines of plain text."""
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

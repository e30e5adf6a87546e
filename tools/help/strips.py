"""Small pictures for help pages: what goes in, an arrow, what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.pictures import to_pil
from ...core.sheets import FAINT, INK, PAPER, RULE, font

if TYPE_CHECKING:
    from PIL import Image

HEIGHT = 132
"""Of a tile, in pixels; the embedded networks draw 128."""
CAPTION = 20
GAP = 10
WIDEST = 760
"""A help panel is narrow: wider pictures would be scaled down until nobody can read them."""

Tile = tuple[str, Any]
"""A caption, and a picture: IMAGE `[H, W, 3]`, or a Pillow image. The picture "->" is an arrow."""

ARROW: Tile = ("", "->")


def strip(tiles: Sequence[Tile]) -> Image.Image:
    """The tiles in a row, scaled down together where they would be too wide."""
    from PIL import Image

    pictures = [_arrow() if isinstance(p, str) else _fitted(p) for _, p in tiles]
    captioned = any(caption for caption, _ in tiles)
    cells = [max(p.width, round(font(13).getlength(c))) for (c, _), p in zip(tiles, pictures, strict=True)]
    width = sum(cell + GAP for cell in cells) + GAP
    sheet = Image.new("RGB", (width, HEIGHT + 2 * GAP + CAPTION * captioned), PAPER)
    from PIL import ImageDraw

    draw = ImageDraw.Draw(sheet)
    x = GAP
    for (caption, _), picture, cell in zip(tiles, pictures, cells, strict=True):
        sheet.paste(picture, (x + (cell - picture.width) // 2, GAP))
        draw.text((x + cell / 2, GAP + HEIGHT + 4), caption, FAINT, font=font(13), anchor="ma")
        x += cell + GAP
    if sheet.width > WIDEST:
        height = round(sheet.height * WIDEST / sheet.width)
        sheet = sheet.resize((WIDEST, height), Image.Resampling.LANCZOS)
    return sheet


def card(*lines: str) -> Image.Image:
    """A sheet of paper with a folded corner and some words: a file."""
    from PIL import Image, ImageDraw

    width = max(104, *(round(font(13).getlength(line)) + 24 for line in lines))
    page = Image.new("RGB", (width, HEIGHT), PAPER)
    draw = ImageDraw.Draw(page)
    fold = 22
    outline = [(1, 1), (width - fold, 1), (width - 2, fold), (width - 2, HEIGHT - 2), (1, HEIGHT - 2)]
    draw.polygon(outline, fill=(255, 255, 255), outline=RULE, width=2)
    draw.line([(width - fold, 1), (width - fold, fold), (width - 2, fold)], RULE, 2)
    top = HEIGHT / 2 - 9 * len(lines) + 6
    for row, line in enumerate(lines):
        draw.text((width / 2, top + 18 * row), line, INK if row == 0 else FAINT, font=font(13), anchor="ma")
    return page


def curve(series: Sequence[tuple[str, Sequence[float], tuple[int, int, int]]], width: int = 300) -> Image.Image:
    """Lines over time with their names: enough to see trembling and falling."""
    from PIL import Image, ImageDraw

    plot = Image.new("RGB", (width, HEIGHT), (255, 255, 255))
    draw = ImageDraw.Draw(plot)
    draw.rectangle((0, 0, width - 1, HEIGHT - 1), outline=RULE)
    values = [v for _, line, _ in series for v in line]
    low, high = min(values), max(values)
    for row, (name, line, colour) in enumerate(series):
        points = [
            (8 + (width - 16) * k / (len(line) - 1), HEIGHT - 10 - (HEIGHT - 20) * (v - low) / (high - low or 1))
            for k, v in enumerate(line)
        ]
        draw.line(points, colour, 2, joint="curve")
        draw.text((width - 8, 6 + 16 * row), name, colour, font=font(13), anchor="ra")
    return plot


def grid(pictures: Sequence[Any], columns: int) -> Image.Image:
    """Pictures of one shape as one tile, row by row."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    height = HEIGHT // rows
    small = [_pil(p) for p in pictures]
    width = round(small[0].width * height / small[0].height)
    tile = Image.new("RGB", (columns * (width + 2) - 2, HEIGHT), PAPER)
    for index, picture in enumerate(small):
        fitted = picture.resize((width, height - 2 * (rows > 1)), Image.Resampling.LANCZOS)
        tile.paste(fitted, (index % columns * (width + 2), index // columns * height))
    return tile


def _pil(picture: Any) -> Image.Image:
    from PIL import Image

    return picture if isinstance(picture, Image.Image) else to_pil(picture)


def _fitted(picture: Any) -> Image.Image:
    from PIL import Image

    image = _pil(picture)
    width = round(image.width * HEIGHT / image.height)
    return image if image.height == HEIGHT else image.resize((width, HEIGHT), Image.Resampling.LANCZOS)


def _arrow() -> Image.Image:
    from PIL import Image, ImageDraw

    arrow = Image.new("RGB", (30, HEIGHT), PAPER)
    draw = ImageDraw.Draw(arrow)
    middle = HEIGHT // 2
    draw.line([(2, middle), (26, middle)], FAINT, 3)
    draw.polygon([(18, middle - 8), (29, middle), (18, middle + 8)], fill=FAINT)
    return arrow

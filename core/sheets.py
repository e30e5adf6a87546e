"""Contact sheets: pictures in labelled rows on one canvas, for people to look at and compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .pictures import to_pil

if TYPE_CHECKING:
    from torch import Tensor

PAPER, INK, FAINT, RULE = (250, 249, 246), (40, 40, 44), (120, 120, 126), (222, 219, 212)
GAP = 14
LABEL = 20
TITLE = 28
HEADING = 26


@dataclass(frozen=True)
class Row:
    """Pictures of one height beside each other."""

    pictures: Sequence[Any]
    """Each a tensor `[H, W, 3]` in 0..1, or a Pillow image; None leaves a square free."""
    labels: Sequence[str]
    """What stands under each; without any text no room is left for it."""
    height: int = 0
    """The height they are drawn at, in pixels; 0 makes the row as wide as the sheet."""
    title: str = ""


def contact_sheet(rows: Sequence[Row], title: str, note: str = "", width: int = 0) -> Any:
    """All rows on one canvas as a Pillow image, with a title above and a note below.

    Args:
        width: of the canvas in pixels; 0 makes it as wide as the widest row of a given height.
    """
    from PIL import Image, ImageDraw

    pils = [[None if p is None else _as_pil(p) for p in row.pictures] for row in rows]
    if not width:
        width = max(_width(row_pils, row.height) for row, row_pils in zip(rows, pils, strict=True) if row.height) + GAP
    strips = [
        [None if p is None else _scaled(p, row.height or _filling(row_pils, width - GAP)) for p in row_pils]
        for row, row_pils in zip(rows, pils, strict=True)
    ]
    tall = [max(p.height for p in strip if p is not None) for strip in strips]
    labelled = [LABEL * any(row.labels) for row in rows]
    heights = [
        tallest + label + GAP + (TITLE if row.title else 0)
        for row, tallest, label in zip(rows, tall, labelled, strict=True)
    ]
    head = HEADING + 2 * GAP if title else GAP
    sheet = Image.new("RGB", (width, head + sum(heights) + (LABEL + GAP if note else 0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, GAP), title, INK, font=font(24))
    y = head
    for row, strip, height, tallest in zip(rows, strips, heights, tall, strict=True):
        top = y
        if row.title:
            draw.line((GAP, top - 4, width - GAP, top - 4), RULE)
            draw.text((GAP, top + 3), row.title, INK, font=font(16))
            top += TITLE
        x = GAP
        for picture, label in zip(strip, row.labels, strict=True):
            if picture is not None:
                sheet.paste(picture, (x, top))
                draw.text((x + picture.width / 2, top + tallest + 2), label, FAINT, font=font(14), anchor="ma")
            x += (tallest if picture is None else picture.width) + GAP
        y += height
    if note:
        draw.text((GAP, y), note, FAINT, font=font(13))
    return sheet


def labelled_grid(
    pictures: Sequence[Sequence[Any]], columns: Sequence[str], rows: Sequence[str] = (), title: str = "", cell: int = 0
) -> Any:
    """A table of pictures as a Pillow image: names above the columns, and before the rows where there are any.

    Args:
        pictures: row by row, each as in `Row`, None for an empty place.
        columns, rows: their names.
        cell: height of the cells in pixels; 0 keeps that of the first picture, but at least 160.
    """
    from PIL import Image, ImageDraw

    pils = [[None if p is None else _as_pil(p) for p in line] for line in pictures]
    first = next(p for line in pils for p in line if p is not None)
    cell = cell or max(first.height, 160)
    side = round(first.width * cell / first.height)
    margin = max((round(font(14).getlength(name)) for name in rows), default=0)
    left = margin + 2 * GAP if margin else GAP
    head = (HEADING + GAP if title else 0) + GAP + LABEL
    sheet = Image.new(
        "RGB",
        (left + len(columns) * (side + GAP // 2) + GAP // 2, head + len(pils) * (cell + GAP // 2) + GAP // 2),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((GAP, GAP), title, INK, font=font(20))
    for index, name in enumerate(columns):
        draw.text((left + index * (side + GAP // 2) + side / 2, head - LABEL), name, FAINT, font=font(14), anchor="ma")
    for number, line in enumerate(pils):
        y = head + number * (cell + GAP // 2)
        if number < len(rows):
            draw.text((GAP, y + cell / 2), rows[number], FAINT, font=font(14), anchor="lm")
        for index, picture in enumerate(line):
            if picture is not None:
                fitted = picture.resize((side, cell), Image.Resampling.LANCZOS)
                sheet.paste(fitted, (left + index * (side + GAP // 2), y))
    return sheet


def font(size: int) -> Any:
    """Pillow's own font, which needs no file."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _as_pil(picture: Tensor | Any) -> Any:
    from PIL import Image

    pil = picture if isinstance(picture, Image.Image) else to_pil(picture)
    if "A" not in pil.getbands():
        return pil
    paper = Image.new("RGBA", pil.size, PAPER)
    paper.alpha_composite(pil.convert("RGBA"))
    return paper.convert("RGB")


def _width(pictures: Sequence[Any], height: int) -> int:
    """How wide a row of this height is, with a gap before each picture."""
    return sum(round(p.width * height / p.height) + GAP for p in pictures if p is not None)


def _filling(pictures: Sequence[Any], room: int) -> int:
    """The height at which a row, with a gap before each picture, fills `room`; an empty place counts as square."""
    aspects = sum(1.0 if p is None else p.width / p.height for p in pictures)
    return int((room - GAP * len(pictures)) / aspects)


def _scaled(picture: Any, height: int) -> Any:
    from PIL import Image

    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)


def grid(pictures: Tensor, columns: int) -> Tensor:
    """Pictures `[B, 3, H, W]` in -1..1 as one `[3, rows * H, columns * W]` in 0..1."""
    import torch
    from einops import rearrange

    missing = -len(pictures) % columns
    pictures = torch.cat([pictures, pictures.new_ones(missing, *pictures.shape[1:])])
    return rearrange(pictures, "(rows columns) c h w -> c (rows h) (columns w)", columns=columns) / 2 + 0.5


def comparison_grid(*rows: Tensor, faces: int = 4) -> Tensor:
    """`[3, kR, nR]` in 0..1 of the first n <= `faces` of k batches `[N, 3, R, R]` (-1..1), a row for each batch."""
    import torch

    strips = [torch.cat(list(row[:faces].detach()), 2) for row in rows]
    return (torch.cat(strips, 1).float().clamp(-1.0, 1.0) + 1.0) / 2.0

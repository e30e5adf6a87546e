"""A contact sheet: pictures in labelled rows on one canvas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..runtime.images import to_pil

if TYPE_CHECKING:
    from torch import Tensor

PAPER, INK, FAINT = (250, 249, 246), (40, 40, 44), (120, 120, 126)
GAP = 14
LABEL = 16
TITLE = 24


@dataclass(frozen=True)
class Row:
    """Pictures of one height beside each other."""

    pictures: Sequence[Tensor]
    """Each `[H, W, 3]` in 0..1."""
    labels: Sequence[str]
    """What stands under each."""
    height: int
    """The height they are drawn at, in pixels."""
    title: str = ""


def contact_sheet(rows: Sequence[Row], title: str, note: str = "") -> Any:
    """All rows on one canvas as a Pillow image, with a title above and a note below."""
    from PIL import Image, ImageDraw

    strips = [[_scaled(picture, row.height) for picture in row.pictures] for row in rows]
    width = max(sum(picture.width + GAP for picture in strip) for strip in strips) + GAP
    heights = [row.height + GAP + LABEL + (TITLE if row.title else 0) for row in rows]
    sheet = Image.new("RGB", (width, TITLE + 3 * GAP + sum(heights) + (LABEL + GAP if note else 0)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, font=_font(20))
    y = TITLE + 2 * GAP
    for row, strip, height in zip(rows, strips, heights, strict=True):
        top = y
        if row.title:
            draw.text((GAP, top), row.title, INK, font=_font(15))
            top += TITLE
        x = GAP
        for picture, label in zip(strip, row.labels, strict=True):
            sheet.paste(picture, (x, top))
            draw.text((x + 2, top + row.height + 2), label, FAINT, font=_font(13))
            x += picture.width + GAP
        y += height
    if note:
        draw.text((GAP, y), note, FAINT, font=_font(13))
    return sheet


def _scaled(picture: Tensor, height: int) -> Any:
    from PIL import Image

    pil = to_pil(picture)
    return pil.resize((round(pil.width * height / pil.height), height), Image.Resampling.LANCZOS)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)

"""The pack's icon and banner, of one rendered person in every look.

    python -m facestylist.tools.bench.banner [--out docs/pictures]

writes icon.png (400 x 400) and banner.jpg (1260 x 540, the registry's 21:9). The registry wants their addresses on the
web: `Icon` and `Banner` in pyproject.toml, once the repository has one. A minute of one core.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...core.pictures import tensor_to_image, to_pil
from ...core.sheets import font
from ...procedural import render, sample_parameters, select

if TYPE_CHECKING:
    from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SEED, PERSON = 11, 28
ICON, BANNER = 400, (1260, 540)
LOOKS = ("photo", "fantasy", "cartoon", "impasto", "sketch", "chibi")
PAPER, INK, PALE = (24, 26, 34), (250, 249, 246), (176, 180, 196)
SLANT = 0.18
"""How far the cuts between looks lean, in parts of the height."""
CORNER = 72
"""Radius of the icon's corners in pixels."""


@cache
def portrait(look: str) -> Image.Image:
    """The person in a look, `ICON` pixels square."""
    person = select(sample_parameters(40, torch.Generator().manual_seed(SEED)), [PERSON])
    return to_pil(tensor_to_image(render(person, ICON, look=look).image)[0])


def icon() -> Image.Image:
    """Left half photo, right half drawn, with a leaning cut and round corners."""
    from PIL import Image, ImageDraw

    picture, drawn = portrait("photo").copy(), portrait("cartoon")
    cut = Image.new("L", (2 * ICON, 2 * ICON), 0)
    lean = SLANT * ICON
    edge = [(ICON + lean, 0), (2 * ICON, 0), (2 * ICON, 2 * ICON), (ICON - lean, 2 * ICON)]
    ImageDraw.Draw(cut).polygon(edge, fill=255)
    picture.paste(drawn, (0, 0), cut.resize((ICON, ICON), Image.Resampling.LANCZOS))
    line = Image.new("L", (2 * ICON, 2 * ICON), 0)
    ImageDraw.Draw(line).line([(ICON + lean, 0), (ICON - lean, 2 * ICON)], fill=255, width=10)
    picture.paste(INK, (0, 0), line.resize((ICON, ICON), Image.Resampling.LANCZOS))
    corners = Image.new("L", (2 * ICON, 2 * ICON), 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 2 * ICON - 1, 2 * ICON - 1), 2 * CORNER, fill=255)
    picture.putalpha(corners.resize((ICON, ICON), Image.Resampling.LANCZOS))
    return picture


def banner() -> Image.Image:
    """The person once, cut into leaning strips, each strip in another look; the name below."""
    from PIL import Image, ImageDraw

    width, height = BANNER
    foot = 150
    tall = height - foot
    sheet = Image.new("RGB", BANNER, PAPER)
    draw = ImageDraw.Draw(sheet)
    strip = width / len(LOOKS)
    lean = SLANT * tall / 2
    for index, look in enumerate(LOOKS):
        size = round(1.1 * tall)
        picture = portrait(look).resize((size, size), Image.Resampling.LANCZOS)
        left = round((index + 0.5) * strip - size / 2)
        a = index * strip if index else -lean
        b = (index + 1) * strip if index < len(LOOKS) - 1 else width + lean
        cut = Image.new("L", (2 * width, 2 * tall), 0)
        ImageDraw.Draw(cut).polygon(
            [(2 * x, y) for x, y in ((a + lean, 0), (b + lean, 0), (b - lean, 2 * tall), (a - lean, 2 * tall))],
            fill=255,
        )
        layer = Image.new("RGB", (width, tall), PAPER)
        layer.paste(picture, (left, (tall - size) // 2))
        sheet.paste(layer, (0, 0), cut.resize((width, tall), Image.Resampling.LANCZOS))
    for index in range(1, len(LOOKS)):
        draw.line([(index * strip + lean, 0), (index * strip - lean, tall)], INK, 4)
    draw.text((width / 2, tall + 20), "FaceStylist", INK, font=font(64), anchor="ma")
    draw.text((width / 2, tall + 100), "portraits into stylised portraits in ComfyUI", PALE, font=font(26), anchor="ma")
    return sheet


def main() -> None:
    """Writes both."""
    parser = argparse.ArgumentParser(description="Make the icon and the banner.")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    out = parser.parse_args().out
    icon().save(out / "icon.png", optimize=True)
    banner().save(out / "banner.jpg", quality=90, optimize=True)


if __name__ == "__main__":
    main()

"""A workflow's thumbnail: tiles of what it loads and makes, from running it; samplers hand on what they are given."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from ...headless.runner import Runner, known_classes
from ...runtime.folders import Folders, find_input, use_folders
from .canvas import Canvas
from .pass_through import classes

TILE = (320, 240)


def thumbnail(canvas: Canvas, titles: Sequence[str]) -> Image.Image:
    """Runs a workflow and tiles the pictures of the nodes with these titles, two in a row; an odd last one fills it."""
    width, height = TILE
    with tempfile.TemporaryDirectory() as scratch:
        folders = Folders(Path(scratch) / "input", Path(scratch) / "output", Path(scratch) / "temp", Path(scratch))
        with use_folders(folders):
            runner = Runner({**classes(), **known_classes()})
            result = runner.run(runner.prepare(canvas.document()))
            nodes = {node.get("title"): node for node in canvas.nodes}
            sheet = Image.new("RGB", (2 * width, -(-len(titles) // 2) * height))
            for index, title in enumerate(titles):
                node = nodes[title]
                loaded = node["type"] == "LoadImage"
                files = [find_input(node["widgets_values"][0])] if loaded else result.files_of(str(node["id"]))
                alone = index == len(titles) - 1 and index % 2 == 0
                tile = mosaic(files[:3] if alone else files[:6], width * (1 + alone), height)
                sheet.paste(tile, (index % 2 * width, index // 2 * height))
    return sheet


def mosaic(files: Sequence[Path], width: int, height: int) -> Image.Image:
    """One picture as it is, cropped to fill; several in rows of three."""
    columns = 1 if len(files) == 1 else min(3, len(files))
    rows = -(-len(files) // columns)
    tiles = Image.new("RGB", (width, height))
    for index, file in enumerate(files):
        left, right = (width * (index % columns + k) // columns for k in (0, 1))
        top, bottom = (height * (index // columns + k) // rows for k in (0, 1))
        with Image.open(file) as picture:
            fitted = ImageOps.fit(picture.convert("RGB"), (right - left, bottom - top), Image.Resampling.LANCZOS)
        tiles.paste(fitted, (left, top))
    return tiles

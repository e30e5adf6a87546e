"""The bundled workflows as code: what is in them, how they are laid out, and what their thumbnails show.

    python -m facestylist.tools.workflow_makers [NAME ...] [--thumbnails]

A workflow is a module in this package with `build() -> Canvas` and `THUMBNAIL`, the titles of the nodes whose pictures
its thumbnail shows. Its name is the file's. A line in `NAMES` adds it.
"""

from __future__ import annotations

from importlib import import_module

from .canvas import Canvas

NAMES = (
    "stylise_a_photo",
    "fast_stylizer_on_a_photo",
    "several_faces_in_one_photo",
    "multimodal_grid",
    "reference_guided",
    "video_frames",
    "diffusion_redraw_faces",
    "diffusion_controlnet",
    "diffusion_inpaint_around_faces",
    "finetune_a_style_and_use_it",
    "full_recipe",
    "train_a_fast_stylizer",
    "export_pairs_for_lora",
)
"""The bundled workflows, in the order in which one would try them."""


def build(name: str) -> Canvas:
    """One workflow, laid out."""
    canvas: Canvas = import_module(f".{name}", __package__).build()
    canvas.name = name
    return canvas


def thumbnail_titles(name: str) -> tuple[str, ...]:
    """Titles of the nodes whose pictures are the tiles of a workflow's thumbnail."""
    titles: tuple[str, ...] = import_module(f".{name}", __package__).THUMBNAIL
    return titles

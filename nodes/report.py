"""The node that tells what a stylisation did. FACE_LATENT and FACE_GENERATOR are described in `generators.py`.

Custom socket:
  LOSS_MAP is ComfyUI's own (its training nodes): a mapping from a curve's name to its numbers, one per step.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .declare import Node, integer, socket, text

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Report"
FOLDER = "facestylist"
SHOWN_FACES = 8


class StylisationReport(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "One picture and one JSON file about a stylisation: faces, their inversions and each style; how far the "
        "structure moved and how near the style is; loss curves. Saved in the output folder."
    )
    SEARCH_ALIASES = ["metrics", "compare styles", "evaluation", "kid", "loss plot", "contact sheet", "quality"]
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("report", "numbers")
    OUTPUT_TOOLTIPS = ("The picture of the report.", "The numbers as JSON.")
    OUTPUT_NODE = True

    REQUIRED = {
        "image": socket("IMAGE", "The aligned faces, from Detect & Align Faces."),
        "source": socket("FACE_GENERATOR", "The generator the latents were found with."),
        "latent": socket("FACE_LATENT", "The latent of each face, in the same order."),
        "style": socket("FACE_GENERATOR", "A style of the source."),
        "name": text("report", "File name, in the folder facestylist inside ComfyUI's output folder."),
    }
    OPTIONAL = {
        "style_2": socket("FACE_GENERATOR", "A second style, to compare."),
        "style_3": socket("FACE_GENERATOR", "A third style, to compare."),
        "stylised": socket(
            "IMAGE",
            "The same faces made in any other way (variations, a reference, a fast stylizer), as many "
            "pictures for each face.",
        ),
        "style_images": socket(
            "IMAGE", "Pictures of the style, aligned: how near the results come to them is measured."
        ),
        "losses": socket("LOSS_MAP", "Loss curves of a training, to be plotted."),
        "max_faces": integer(
            SHOWN_FACES, "At most this many faces are shown; all are measured.", low=1, high=64, advanced=True
        ),
    }

    def run(
        self,
        image: Tensor,
        source: FaceGenerator,
        latent: FaceLatent,
        style: FaceGenerator,
        name: str,
        style_2: FaceGenerator | None = None,
        style_3: FaceGenerator | None = None,
        stylised: Tensor | None = None,
        style_images: Tensor | None = None,
        losses: Any = None,
        max_faces: int = SHOWN_FACES,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        from ..core.pictures import image_to_tensor, pil_to_image, tensor_to_image
        from ..core.sheets import TITLE
        from ..pipeline.networks import new_output_files, placed
        from ..pipeline.stylise import draw
        from ..training.reports.report import make_report
        from ..training.reports.sheet import report_sheet

        pictures = image_to_tensor(image)
        styles = _named([given for given in (style, style_2, style_3) if given is not None])
        others = {} if stylised is None else {"pictures": image_to_tensor(stylised)}
        wanted = None if style_images is None else image_to_tensor(style_images)
        with placed(source, source.discriminator, *styles.values()):
            report = make_report(pictures, source, latent, styles, others, wanted)
            columns = [draw(given, latent) for given in (source, *styles.values())]
        shown = tensor_to_image(pictures)
        repeats = len(stylised) // len(latent) if stylised is not None else 0
        grid = [
            [shown[n], *(column[n] for column in columns)]
            + [stylised[n * repeats + k] for k in range(repeats) if stylised is not None]
            for n in range(min(len(latent), max_faces))
        ]
        headings = ["source", "inverted", *styles, *(f"picture {k + 1}" for k in range(repeats))]
        curves = _curves(losses)
        sheet = report_sheet(report, grid, headings, curves, name or "Stylisation report", cell=6 * TITLE)
        picture, numbers = new_output_files(FOLDER, name.strip() or "report", ".png", ".json")
        last = {
            key: values[-1] if math.isfinite(values[-1]) else None for key, values in (curves or {}).items() if values
        }
        record = {"report": name, **report.as_json(), "last_losses": last}
        written = json.dumps(record, indent=2)
        _save(sheet, picture, written, numbers)
        saved = {"filename": picture.name, "subfolder": FOLDER, "type": "output"}
        return {"ui": {"images": [saved]}, "result": (pil_to_image(sheet), written)}


def _named(styles: list[FaceGenerator]) -> dict[str, FaceGenerator]:
    """Styles by their name, with a number where one has none or two share it."""
    named: dict[str, FaceGenerator] = {}
    for index, style in enumerate(styles):
        name = style.style or f"style {index + 1}"
        named[f"{name} ({index + 1})" if name in named else name] = style
    return named


def _curves(losses: Any) -> dict[str, list[float]] | None:
    """Loss curves by name from whatever a training node gives: a mapping of sequences, or one sequence."""
    if losses is None:
        return None
    if not hasattr(losses, "items"):
        losses = {"loss": losses}
    return {str(key): [float(value) for value in values] for key, values in losses.items()}


def _save(sheet: Any, picture: Path, written: str, numbers: Path) -> None:
    """Both files, each whole or not at all."""
    from ..core.files import write_atomically

    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, lambda file: sheet.save(file, "PNG"))
    write_atomically(numbers, lambda file: file.write(written.encode()))

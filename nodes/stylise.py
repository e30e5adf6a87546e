"""The node that everything else is for. FACE_LATENT and FACE_GENERATOR are described in `generators.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .declare import Node, number, socket

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Stylise"


class StyliseFaces(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws faces in a style: their latents go through a generator that was fine-tuned to the "
        "style from the generator they were found with. One latent serves any number of styles."
    )
    SEARCH_ALIASES = ["stylize", "stylise", "cartoon", "toonify", "anime face", "face style transfer", "portrait style"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("stylised",)
    OUTPUT_TOOLTIPS = ("The stylised faces, one per latent in the same order, for Paste Faces Back.",)

    REQUIRED = {
        "style": socket("FACE_GENERATOR", "The style, fine-tuned from the generator the latents belong to."),
        "latent": socket("FACE_LATENT", "The faces, from one of the inversion nodes or from Sample Faces."),
        "strength": number(
            1.0,
            "1: the whole style. Below 1, source is needed: colour and texture come in first, then "
            "parts, then proportions. 0: no style at all.",
            step=0.05,
        ),
    }
    OPTIONAL = {
        "source": socket(
            "FACE_GENERATOR", "The generator the latents were found with; only needed for a strength below 1."
        )
    }

    def run(
        self, style: FaceGenerator, latent: FaceLatent, strength: float, source: FaceGenerator | None = None
    ) -> tuple[Tensor]:
        from ..models.blending import with_strength
        from ..pipeline.stylise import draw

        return (draw(with_strength(source, style, strength), latent),)

"""One face in many appearances of a style. FACE_LATENT and FACE_GENERATOR are described in `generators.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.settings import fields_of
from ..latents.settings import VariationConfig
from .declare import Node, from_spec, seed, socket

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Stylise"


class StyleVariations(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws each face in many appearances of one style: the codes that hold the face stay, those of colour and "
        "texture are random. Choose from the labelled grid; a seed gives every face the same appearance."
    )
    SEARCH_ALIASES = ["multimodal", "style variation", "random style", "seed grid", "style mixing", "colour variations"]
    RETURN_TYPES = ("IMAGE", "IMAGE", "FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("stylised", "grid", "latent", "by_seed")
    OUTPUT_TOOLTIPS = (
        "All of them as one batch: every variation of the first face, then of the second.",
        "A row for each face: the style as it is, then each seed under its number.",
        "Their latents in the same order; Stylise Faces and Decode Latent draw them.",
        "The same as a list, one batch of all faces per seed: Paste Faces Back then makes one picture per seed.",
    )
    OUTPUT_IS_LIST = (False, False, False, True)

    REQUIRED = {
        "style": socket("FACE_GENERATOR", "The style, fine-tuned from the generator the latents belong to."),
        "latent": socket("FACE_LATENT", "The faces, from one of the inversion nodes or from Sample Faces."),
        "seed": seed("The first variation; the others use the next seeds."),
        **{spec.name: from_spec(spec) for spec in fields_of(VariationConfig)},
    }
    OPTIONAL = {
        "source": socket(
            "FACE_GENERATOR",
            "The generator the latents were found with; needed where coarse, middle or fine is below 1.",
        )
    }

    def run(
        self, style: FaceGenerator, latent: FaceLatent, seed: int, source: FaceGenerator | None = None, **settings: Any
    ) -> tuple[Tensor, Tensor, FaceLatent, list[Tensor]]:
        from ..core.pictures import pil_to_image
        from ..core.sheets import labelled_grid
        from ..latents.appearance import random_appearances, style_at_depth
        from ..pipeline.networks import placed
        from ..pipeline.stylise import draw

        config = VariationConfig(**settings)
        drawer = style_at_depth(source, style, config.coarse, config.middle, config.fine)
        seeds = range(seed, seed + config.count)
        with placed(drawer):
            varied = random_appearances(
                drawer, latent, seeds, config.amount, config.truncation_psi, config.layer_cut, config.preserve_colour
            )
        plain, stylised = draw(drawer, latent), draw(drawer, varied)
        count = config.count
        if not len(latent):
            return stylised, plain.new_ones(1, 64, 64, 3), varied, [stylised] * count
        lines = [[plain[n], *stylised[n * count : (n + 1) * count]] for n in range(len(latent))]
        names = [f"face {n + 1}" for n in range(len(latent))] if len(latent) > 1 else []
        grid = labelled_grid(lines, ["as it is", *(f"seed {number}" for number in seeds)], names)
        by_seed = [stylised[k::count] for k in range(count)]
        return stylised, pil_to_image(grid), varied, by_seed

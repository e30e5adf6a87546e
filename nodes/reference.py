"""Faces in the look of a reference picture. FACE_LATENT and FACE_GENERATOR are described in `generators.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.settings import fields_of
from ..latents.settings import ApplyConfig
from ..pipeline.networks import face_finder
from ..training.inversion.settings import ALIGNMENTS, ReferenceConfig
from .declare import Node, WithSettings, choice, from_spec, number, read_settings, settings_of, socket

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceEncoder, FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Stylise"
LEAST_CONFIDENCE = 0.3
"""Drawn faces are found with less confidence than photographs, and a person has chosen this picture."""


class EncodeReference(WithSettings):
    CONFIG = ReferenceConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Reads the look of a reference picture, drawn in the style, as a latent of the style generator. Apply "
        "Reference Style then draws other faces in it. Nothing is trained."
    )
    SEARCH_ALIASES = ["reference style", "exemplar", "style image", "style transfer", "jojogan", "dualstylegan"]
    RETURN_TYPES = ("FACE_LATENT", "IMAGE", "IMAGE")
    RETURN_NAMES = ("reference", "reconstruction", "aligned")
    OUTPUT_TOOLTIPS = (
        "The look, for Apply Reference Style: one, or one per reference.",
        "The reference as the style generator draws it. Colours that are wrong here stay wrong.",
        "The references as they were read: cropped and upright.",
    )

    REQUIRED = {
        "image": socket("IMAGE", "One picture in the style, or several; each shows a face."),
        "style": socket("FACE_GENERATOR", "The style that is to draw in this look."),
        "align": choice(
            ALIGNMENTS,
            "auto: cut out the largest face; a square picture in which none is found is taken for an aligned "
            "one. on: a picture without a face is refused. off: the pictures are aligned already.",
        ),
        **settings_of(ReferenceConfig),
    }
    OPTIONAL = {
        "source": socket(
            "FACE_GENERATOR",
            ("The generator the style was fine-tuned from. Its discriminator is used if the style has none."),
        ),
        "encoder": socket(
            "FACE_ENCODER",
            "Where the search begins: an encoder for this W, best one trained for the style. With it 100 steps "
            "are enough.",
        ),
        "anchor_latent": socket(
            "FACE_LATENT",
            "Latents of known pictures in the style. Without an encoder the search begins at the one "
            "most like the reference. Needs anchor_image.",
        ),
        "anchor_image": socket("IMAGE", "The pictures of anchor_latent, aligned, in the same order."),
    }

    def run(
        self,
        image: Tensor,
        style: FaceGenerator,
        align: str,
        source: FaceGenerator | None = None,
        encoder: FaceEncoder | None = None,
        anchor_latent: FaceLatent | None = None,
        anchor_image: Tensor | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceLatent, Tensor, Tensor]:
        from ..core.pictures import image_to_tensor, tensor_to_image
        from ..faces.align import reference_crops
        from ..pipeline.networks import placed
        from ..pipeline.stylise import draw
        from ..runtime.progress import ProgressReporter
        from ..training.inversion.reference import Anchors, encode_reference

        config = read_settings(ReferenceConfig, widgets, settings)
        if (anchor_latent is None) != (anchor_image is None):
            raise ValueError("Only one of anchor_latent and anchor_image is connected. Connect both, or neither.")
        anchors = None
        if anchor_latent is not None and anchor_image is not None:
            anchors = Anchors(anchor_latent, image_to_tensor(anchor_image))
        find = None if align == "off" else face_finder("embedded", LEAST_CONFIDENCE)
        crops = reference_crops(image_to_tensor(image), find, style.resolution, required=align == "on")
        critic = None if source is None else source.discriminator
        with (
            placed(style, critic, encoder, discriminators=True),
            ProgressReporter(max(config.steps, 1), "read reference", node_id=node_id) as progress,
        ):
            reference = encode_reference(crops, style, config, source, encoder, anchors, progress.callbacks())
        return reference, draw(style, reference), tensor_to_image(crops)


class ApplyReference(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws faces in the look that Encode Reference Style has read: the faces keep the codes that hold them, colour "
        "and texture come from the reference."
    )
    SEARCH_ALIASES = ["reference style", "exemplar", "style transfer", "apply style", "recolour", "palette transfer"]
    RETURN_TYPES = ("IMAGE", "FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("stylised", "latent", "by_reference")
    OUTPUT_TOOLTIPS = (
        "The faces in the look, for Paste Faces Back; with several references every one of the first face, then of the "
        "second.",
        "Their latents in the same order.",
        "The same as a list, one batch per reference with all faces in it: Paste Faces Back then makes one picture per "
        "reference.",
    )
    OUTPUT_IS_LIST = (False, False, True)

    REQUIRED = {
        "style": socket("FACE_GENERATOR", "The style whose look was read."),
        "latent": socket("FACE_LATENT", "The faces, from one of the inversion nodes or from Sample Faces."),
        "reference": socket("FACE_LATENT", "The look, from Encode Reference Style; or any other latent."),
        **{spec.name: from_spec(spec) for spec in fields_of(ApplyConfig)},
        "strength": number(1.0, "1: the whole style. Below 1, source is needed, as in Stylise Faces.", step=0.05),
    }
    OPTIONAL = {
        "source": socket(
            "FACE_GENERATOR", "The generator the latents were found with; only needed for a strength below 1."
        )
    }

    def run(
        self,
        style: FaceGenerator,
        latent: FaceLatent,
        reference: FaceLatent,
        strength: float,
        source: FaceGenerator | None = None,
        **settings: Any,
    ) -> tuple[Tensor, FaceLatent, list[Tensor]]:
        from ..models.blending import with_strength
        from ..pipeline.networks import placed
        from ..pipeline.stylise import draw
        from ..training.inversion.reference import apply_reference

        drawer = with_strength(source, style, strength)
        with placed(drawer):
            led = apply_reference(drawer, latent, reference, ApplyConfig(**settings))
        stylised = draw(drawer, led)
        count = max(len(reference), 1)
        return stylised, led, [stylised[k::count] for k in range(count)]

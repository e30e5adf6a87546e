"""Nodes that find the latent of a given face: which code makes the generator draw this person?

Custom socket:
  FACE_ENCODER: `models.types.FaceEncoder`. A network that reads a face picture as W+ codes of the generator it was
    trained for, with the picture size it expects. FACE_LATENT and FACE_GENERATOR are described in `generators.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training.config import InversionConfig, fields_of
from .declare import choice, content_hash, from_spec, integer, socket
from .generators import placed

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceEncoder, FaceGenerator, FaceLatent

CATEGORY = "FaceStylist/Inversion"
MODEL_FOLDER = "face_encoders"


class LoadEncoder:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads an encoder that turns a face picture into a latent: the one that ships with the pack, or a file from "
        "models/face_encoders. It belongs to one generator; take the two from the same family."
    )
    SEARCH_ALIASES = ["psp", "e4e", "restyle", "load encoder", "face encoder", "gan inversion"]
    RETURN_TYPES = ("FACE_ENCODER",)
    RETURN_NAMES = ("encoder",)
    OUTPUT_TOOLTIPS = ("The encoder.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..runtime.folders import list_models

        return {
            "required": {
                "name": choice(
                    list_models(MODEL_FOLDER),
                    "embedded is the encoder of the embedded generator. Below it stand the files in "
                    "models/face_encoders.",
                )
            }
        }

    @classmethod
    def IS_CHANGED(cls, name: str) -> str:
        from ..runtime.folders import find_model

        return content_hash([Path(find_model(MODEL_FOLDER, name))])

    def run(self, name: str) -> tuple[FaceEncoder]:
        from ..models.checkpoints import load_encoder
        from ..runtime.folders import find_model

        return (load_encoder(find_model(MODEL_FOLDER, name)),)


class InvertWithEncoder:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds the latents of aligned faces in one pass: fast, and close enough for stylising. Invert by Optimisation "
        "can refine them."
    )
    SEARCH_ALIASES = ["gan inversion", "encode face", "image to latent", "psp", "e4e", "project"]
    RETURN_TYPES = ("FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("latent", "reconstruction")
    OUTPUT_TOOLTIPS = (
        "One latent per face, in the same order.",
        "What the generator makes of the latents. A face that is already wrong here stays wrong in every style.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": socket("IMAGE", "Aligned face crops, from Detect & Align Faces. They are resized as needed."),
                "encoder": socket("FACE_ENCODER", "An encoder trained for the generator."),
                "generator": socket("FACE_GENERATOR", "The source generator, whose latents are wanted."),
                "steps": integer(
                    1,
                    "How often the encoder corrects its own result (ReStyle). 1 is right for encoders trained to "
                    "answer at once.",
                    low=1,
                    high=10,
                    advanced=True,
                ),
            }
        }

    def run(
        self, image: Tensor, encoder: FaceEncoder, generator: FaceGenerator, steps: int
    ) -> tuple[FaceLatent, Tensor]:
        from ..models.sampling import synthesise
        from ..runtime.images import image_to_tensor, tensor_to_image
        from ..training.inversion import invert_with_encoder

        if not len(image):
            return _nobody(generator)
        with placed(generator, encoder.network) as network:
            latent = invert_with_encoder(image_to_tensor(image), encoder, network, steps)
            return latent, tensor_to_image(synthesise(network, latent))


class InvertByOptimisation:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds the latents of aligned faces by searching: slower than an encoder, closer to the face, and possible "
        "without any encoder. Start it from an encoder's latents and 100 steps are enough."
    )
    SEARCH_ALIASES = ["gan inversion", "projector", "optimise latent", "optimize latent", "project", "refine latent"]
    RETURN_TYPES = ("FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("latent", "reconstruction")
    OUTPUT_TOOLTIPS = (
        "One latent per face, in the same order, with the reconstruction error of each.",
        "What the generator makes of the latents. A face that is already wrong here stays wrong in every style.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": socket("IMAGE", "Aligned face crops, from Detect & Align Faces. They are resized as needed."),
                "generator": socket("FACE_GENERATOR", "The source generator, whose latents are wanted."),
                **{spec.name: from_spec(spec) for spec in fields_of(InversionConfig)},
            },
            "optional": {
                "start": socket(
                    "FACE_LATENT",
                    "Where the search begins, usually Invert with Encoder's result. Without it: at the average face.",
                )
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def run(
        self,
        image: Tensor,
        generator: FaceGenerator,
        start: FaceLatent | None = None,
        node_id: str | None = None,
        **settings: Any,
    ) -> tuple[FaceLatent, Tensor]:
        from ..models.sampling import synthesise
        from ..runtime.images import image_to_tensor, tensor_to_image
        from ..runtime.progress import ProgressReporter
        from ..training.inversion import invert_by_optimisation

        if not len(image):
            return _nobody(generator)
        config = InversionConfig(**settings)
        critic = [] if generator.discriminator is None else [generator.discriminator]
        with (
            placed(generator, *critic) as network,
            ProgressReporter(config.steps, "invert", node_id=node_id) as progress,
        ):
            latent = invert_by_optimisation(image_to_tensor(image), network, start, config, progress.callbacks())
            return latent, tensor_to_image(synthesise(network, latent))


def _nobody(generator: FaceGenerator) -> tuple[FaceLatent, Tensor]:
    """The latents and pictures of no face at all, which the nodes that follow pass on."""
    from ..models.sampling import sample_latent, synthesise
    from ..runtime.images import tensor_to_image

    latent = sample_latent(generator, [])
    return latent, tensor_to_image(synthesise(generator, latent))

"""Nodes that find the latent of a given face: which code makes the generator draw this person?

Custom socket:
  FACE_ENCODER: `models.types.FaceEncoder`. A network that reads a face picture as W+ codes of the generator it was
    trained for, with the picture size it expects. FACE_LATENT and FACE_GENERATOR are described in `generators.py`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..training.inversion.settings import InversionConfig, PivotalConfig
from .declare import NetworkLoader, Node, WithSettings, integer, read_settings, settings_of, socket

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceEncoder, FaceGenerator, FaceLatent
    from ..runtime.progress import ProgressReporter
    from ..training.inversion.pivotal import PivotalResult

logger = logging.getLogger(__name__)

CATEGORY = "FaceStylist/Inversion"
MODEL_FOLDER = "face_encoders"
WAY_OUT = (
    "Refine it with more steps of Invert by Optimisation and with Tune Generator to Faces (PTI), or use a fast "
    "stylizer, which draws the photo itself."
)
UNFINISHED_INVERSION = "latents/unfinished_inversion.safetensors [output]"
UNFINISHED_TUNING = "unfinished_tuning"
COMPARED = (
    "The generator's encoder. If connected, what it reads in both pictures is compared too, which keeps the person."
)


class LoadEncoder(NetworkLoader):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads an encoder that turns a face picture into a latent: the one that ships with the pack, or a file from "
        "models/face_encoders. It belongs to one generator; take the two from the same family."
    )
    SEARCH_ALIASES = ["psp", "e4e", "restyle", "load encoder", "face encoder", "gan inversion"]
    RETURN_TYPES = ("FACE_ENCODER",)
    RETURN_NAMES = ("encoder",)
    OUTPUT_TOOLTIPS = ("The encoder.",)

    KIND = "encoder"
    NAME_TOOLTIP = (
        "embedded is the encoder of the embedded generator. Below it stand the files in models/face_encoders."
    )


class InvertWithEncoder(Node):
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
        (
            "The faces as the generator draws them from the latents. A face that is wrong here stays "
            "wrong in every style."
        ),
    )

    REQUIRED = {
        "image": socket("IMAGE", "Aligned face crops, from Detect & Align Faces. They are resized as needed."),
        "encoder": socket("FACE_ENCODER", "An encoder trained for the generator."),
        "generator": socket("FACE_GENERATOR", "The source generator, whose latents are wanted."),
        "steps": integer(
            0,
            "Number of encoder passes, each correcting the one before; every face keeps its best. 0: "
            "the encoder's own number, 5 for ReStyle and 1 for others.",
            low=0,
            high=20,
            advanced=True,
        ),
    }

    def run(
        self, image: Tensor, encoder: FaceEncoder, generator: FaceGenerator, steps: int, node_id: str | None = None
    ) -> tuple[FaceLatent, Tensor]:
        from ..core.pictures import image_to_tensor, tensor_to_image
        from ..latents.encoding import invert_with_encoder
        from ..latents.sampling import synthesise
        from ..pipeline.networks import placed
        from ..runtime.progress import ProgressReporter

        if not len(image):
            return no_faces(generator)
        with placed(generator, encoder), ProgressReporter(1, "encode", node_id=node_id) as progress:
            pictures = image_to_tensor(image)
            latent = invert_with_encoder(pictures, encoder, generator, steps or None, callbacks=progress.callbacks())
            prediction = synthesise(generator, latent)
            return _compared(latent, encoder, pictures, prediction, progress), tensor_to_image(prediction)


class InvertByOptimisation(WithSettings):
    CONFIG = InversionConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds the latents of aligned faces by searching: slower than an encoder, closer to the face, and possible "
        "without any encoder. Start it from an encoder's latents and 100 steps are enough. Cancelled, it leaves the "
        "best so far in latents/unfinished_inversion.safetensors [output] for Load Latents."
    )
    SEARCH_ALIASES = ["gan inversion", "projector", "optimise latent", "optimize latent", "project", "refine latent"]
    RETURN_TYPES = ("FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("latent", "reconstruction")
    OUTPUT_TOOLTIPS = (
        "One latent per face, in the same order, with the reconstruction error of each.",
        (
            "The faces as the generator draws them from the latents. A face that is wrong here stays "
            "wrong in every style."
        ),
    )

    REQUIRED = {
        "image": socket("IMAGE", "Aligned face crops, from Detect & Align Faces. They are resized as needed."),
        "generator": socket("FACE_GENERATOR", "The source generator, whose latents are wanted."),
        **settings_of(InversionConfig),
    }
    OPTIONAL = {
        "start": socket(
            "FACE_LATENT",
            ("Where the search begins, usually the result of Invert with Encoder. Not connected: at the average face."),
        ),
        "encoder": socket("FACE_ENCODER", COMPARED),
    }

    def run(
        self,
        image: Tensor,
        generator: FaceGenerator,
        start: FaceLatent | None = None,
        encoder: FaceEncoder | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceLatent, Tensor]:
        from ..core.pictures import image_to_tensor, tensor_to_image
        from ..latents.sampling import synthesise
        from ..pipeline.networks import placed
        from ..runtime.progress import ProgressReporter
        from ..training.inversion.search import invert_by_optimisation

        if not len(image):
            return no_faces(generator)
        config = read_settings(InversionConfig, widgets, settings)
        with (
            placed(generator, encoder, discriminators=True),
            ProgressReporter(config.steps, "invert", node_id=node_id) as progress,
        ):
            pictures = image_to_tensor(image)
            latent = invert_by_optimisation(
                pictures, generator, start, config, progress.callbacks(), _keep_latent, encoder
            )
            prediction = synthesise(generator, latent)
            return _compared(latent, encoder, pictures, prediction, progress), tensor_to_image(prediction)


class PivotalTuning(WithSettings):
    CONFIG = PivotalConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Teaches a copy of the generator to draw these very faces from their latents (PTI): the likeness that no "
        "latent reaches. Their styles can take the same change, so that they stay aligned with it. Cancelled, it "
        "leaves the best so far in models/stylegan as unfinished_tuning.safetensors."
    )
    SEARCH_ALIASES = ["pti", "pivotal tuning", "personalise", "fine-tune generator to face", "likeness", "identity"]
    RETURN_TYPES = ("FACE_GENERATOR", "FACE_GENERATOR", "FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("generator", "style", "latent", "reconstruction")
    OUTPUT_TOOLTIPS = (
        "The tuned generator. It takes the same latents as before and can be saved.",
        "The style with the same change; without a style, the tuned generator.",
        "The same latents, with the errors that are left.",
        "What the tuned generator makes of the latents.",
    )

    REQUIRED = {
        "image": socket("IMAGE", "The aligned faces that the latents were found for, in the same order."),
        "generator": socket("FACE_GENERATOR", "The generator the latents were found with. It is not changed."),
        "latent": socket("FACE_LATENT", "One latent per face: the pivots, best from Invert by Optimisation."),
        **settings_of(PivotalConfig),
    }
    OPTIONAL = {
        "style": socket(
            "FACE_GENERATOR",
            "A style fine-tuned from the generator, to be changed along with it. For more of them there is "
            "Align Style with Tuned Generator.",
        ),
        "encoder": socket("FACE_ENCODER", COMPARED),
    }

    def run(
        self,
        image: Tensor,
        generator: FaceGenerator,
        latent: FaceLatent,
        style: FaceGenerator | None = None,
        encoder: FaceEncoder | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceGenerator, FaceGenerator, FaceLatent, Tensor]:
        from ..core.pictures import image_to_tensor, tensor_to_image
        from ..latents.sampling import synthesise
        from ..runtime.devices import memory_for_training
        from ..runtime.progress import ProgressReporter
        from ..training.inversion.pivotal import align_style, tune_to_faces

        if not len(image):
            return generator, style or generator, *no_faces(generator)
        config = read_settings(PivotalConfig, widgets, settings)
        with memory_for_training() as device, ProgressReporter(config.steps, "tune", node_id=node_id) as progress:
            pictures, source = image_to_tensor(image), generator.to(device)
            result = tune_to_faces(pictures, source, latent, config, progress.callbacks(), _keep_tuning, encoder)
            prediction = synthesise(result.generator, latent)
            latent = latent.replace(reconstruction_error=result.error_after.cpu())
            latent = _compared(latent, encoder, pictures, prediction, progress)
        tuned = result.generator.to("cpu")
        moved = tuned if style is None else align_style(style, generator, tuned)
        return tuned, moved, latent, tensor_to_image(prediction)


class AlignStyle(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Applies the change that pivotal tuning made to a generator to one of its styles, too: style + (tuned - "
        "source). The style then draws the tuned faces as closely as the tuned generator does."
    )
    SEARCH_ALIASES = ["pti style", "weight delta", "add difference", "transfer tuning", "merge generators"]
    RETURN_TYPES = ("FACE_GENERATOR",)
    RETURN_NAMES = ("style",)
    OUTPUT_TOOLTIPS = ("The style with the same change. It has no discriminator and cannot be fine-tuned further.",)

    REQUIRED = {
        "style": socket("FACE_GENERATOR", "A style fine-tuned from the source."),
        "source": socket("FACE_GENERATOR", "The source as it was before tuning."),
        "tuned": socket("FACE_GENERATOR", "The source after Tune Generator to Faces (PTI)."),
    }

    def run(self, style: FaceGenerator, source: FaceGenerator, tuned: FaceGenerator) -> tuple[FaceGenerator]:
        from ..training.inversion.pivotal import align_style

        return (align_style(style, source, tuned),)


def _compared(
    latent: FaceLatent, encoder: FaceEncoder | None, pictures: Tensor, prediction: Tensor, progress: ProgressReporter
) -> FaceLatent:
    """The latents with each face's distance from its reconstruction; the node says which are not alike."""
    from ..pipeline.stylise import compare

    latent, warning = compare(latent, encoder, pictures, prediction, WAY_OUT)
    if warning:
        progress.text(warning)
        logger.warning("%s", warning)
    return latent


def _keep_latent(latent: FaceLatent) -> None:
    """What a cancelled search had found, so that its time is not lost."""
    from ..latents.files import save_latents
    from ..runtime.folders import find_input

    path = save_latents(latent, find_input(UNFINISHED_INVERSION))
    logger.info("Inversion was interrupted. The best so far is in %s.", path)


def _keep_tuning(result: PivotalResult) -> None:
    """What a cancelled tuning had reached."""
    from ..models.checkpoints import save_generator
    from ..runtime.folders import new_model_path

    path = new_model_path("stylegan", UNFINISHED_TUNING)
    save_generator(result.generator, path, dict(result.generator.provenance))
    logger.info("Pivotal tuning was interrupted. The best so far is in %s.", path)


def no_faces(generator: FaceGenerator) -> tuple[FaceLatent, Tensor]:
    """The latents and pictures of no face at all, which the nodes that follow pass on."""
    from ..latents.sampling import sample_latent
    from ..pipeline.stylise import draw

    latent = sample_latent(generator, [])
    return latent, draw(generator, latent)

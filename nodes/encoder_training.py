"""Nodes that teach an encoder to read a generator's faces, and keep it.

FACE_ENCODER is described in `inversion.py`, FACE_GENERATOR in `generators.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..training.encoder.settings import EncoderTrainingConfig
from .declare import SavingNode, WithSettings, read_settings, settings_of, socket, switch, text

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceEncoder, FaceGenerator

CATEGORY = "FaceStylist/Training"


class TrainEncoder(WithSettings):
    CONFIG = EncoderTrainingConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Trains a network to read faces as latents of a generator, on the generator's own "
        "samples: for a generator without a pSp or e4e encoder, or for a style, to read pictures "
        "drawn in it. Cancelling keeps the run, and the same settings resume it."
    )
    SEARCH_ALIASES = ["psp", "e4e", "train encoder", "gan inversion", "image to latent", "encoder training"]
    RETURN_TYPES = ("FACE_ENCODER", "IMAGE", "LOSS_MAP", "FLOAT")
    RETURN_NAMES = ("encoder", "preview", "losses", "error")
    OUTPUT_TOOLTIPS = (
        "The encoder, for Invert with Encoder and Save Face Encoder.",
        ("Faces it was not trained on (above), and what the generator draws from its answers (below)."),
        "The loss curves, for Loss Plot and ComfyUI's own loss graph.",
        "Mean squared error of samples it was not trained on, as read and drawn again; pictures in -1..1.",
    )

    REQUIRED = {
        "generator": socket(
            "FACE_GENERATOR", "The generator to read faces for: a source, or a style to read pictures of that style."
        ),
        **settings_of(EncoderTrainingConfig),
        "resume": switch(
            True,
            "Continue a cancelled run that had the same settings, generator and images. Turn off to start it again.",
            advanced=True,
        ),
    }
    OPTIONAL = {
        "images": socket(
            "IMAGE",
            "Aligned faces of the kind to be read, such as photographs; image_share says how often they are shown.",
        )
    }

    def run(
        self,
        generator: FaceGenerator,
        resume: bool = True,
        images: Tensor | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceEncoder, Tensor, dict[str, list[float]], float]:
        from ..core.pictures import image_to_tensor, tensor_to_image
        from ..pipeline.train import training_run
        from ..training.encoder.task import run_identity, train_encoder
        from ..training.reports.curves import loss_map

        config = read_settings(EncoderTrainingConfig, widgets, settings)
        faces = None if images is None else image_to_tensor(images)
        name = f"{generator.style or 'source'}-encoder"
        with training_run(name, run_identity(config, generator, faces), config.steps, "train", resume, node_id) as run:
            result = train_encoder(
                generator.to(run.device), config, faces, run.progress.callbacks(), run.folder, resume=True
            )
        preview = tensor_to_image(result.preview[None] * 2 - 1)
        return result.encoder, preview, loss_map(result.history), result.error


class SaveEncoder(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Saves a face encoder as one .safetensors file that Load Face Encoder lists. A file that exists is never "
        "overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["save encoder", "export encoder", "safetensors"]
    OUTPUT_TOOLTIPS = ("Where the file is.",)

    REQUIRED = {
        "encoder": socket("FACE_ENCODER", "What to save."),
        "name": text(
            "my_encoder",
            "File name inside models/face_encoders. When that name is taken, a number is added; nothing is "
            "overwritten.",
        ),
        "half_precision": switch(True, "Store 16-bit numbers: half the size, no visible difference."),
    }

    def run(self, encoder: FaceEncoder, name: str, half_precision: bool, node_id: str | None = None) -> tuple[str]:
        from ..models.checkpoints import save_encoder
        from ..pipeline.networks import new_model_file

        path = new_model_file("encoder", name)
        save_encoder(encoder, path, dict(encoder.provenance), half=half_precision)
        return self.saved(path, node_id)

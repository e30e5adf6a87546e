"""Nodes that teach a generator a new style. FACE_GENERATOR is described in `generators.py`.

Style pictures travel as ordinary IMAGE batches, so that any node can make or change them. Fine-tune Generator's widgets
are the settings of `training/finetune/settings.py`, which the command line and TOML files share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..training.finetune.settings import FinetuneConfig
from .declare import WithSettings, choice, read_settings, settings_of, socket, switch

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceGenerator
    from ..training.guides.networks import NetworkGuide

CATEGORY = "FaceStylist/Training"
GUIDES_TOOLTIP = (
    "What else to keep, judged by networks you have the weights of: LPIPS, identity, structure, face parts. Guide "
    "nodes chain."
)
IF_CANCELLED = ("stop", "use it so far")


class FinetuneGenerator(WithSettings):
    CONFIG = FinetuneConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Trains a copy of a face generator on a few pictures of a style, while a semantic constraint keeps every part "
        "in place: the result draws the same faces, in the style. Shows previews while it trains; cancelling keeps the "
        "run, and the same settings resume it."
    )
    SEARCH_ALIASES = ["train style", "finetune", "fine-tune", "stylegan train", "few-shot", "train generator"]
    RETURN_TYPES = ("FACE_GENERATOR", "IMAGE", "LOSS_MAP")
    RETURN_NAMES = ("style", "preview", "losses")
    OUTPUT_TOOLTIPS = (
        "The style, ready for Stylise Faces and Save Face Generator.",
        "The same faces before (above) and after (below).",
        "The loss curves, for Loss Plot, Stylisation Report and ComfyUI's own loss graph.",
    )

    REQUIRED = {
        "source": socket("FACE_GENERATOR", "The generator to start from, with its discriminator. It is not changed."),
        "style_images": socket(
            "IMAGE", "Aligned pictures of the style, 10 to 300: Load Style Images, or any other IMAGE batch."
        ),
        **settings_of(FinetuneConfig),
        "resume": switch(
            True,
            "Continue a cancelled run that had the same settings, generator and pictures. Turn off to start it again.",
            advanced=True,
        ),
        "if_cancelled": choice(
            IF_CANCELLED,
            "stop: the workflow ends, and the run is kept to be resumed. use it so far: cancelling only ends "
            "the training; the style as it is then goes on through the workflow, and the run is kept too.",
            advanced=True,
        ),
    }
    OPTIONAL = {
        "guides": socket("FACE_GUIDE", GUIDES_TOOLTIP),
        "validation_images": socket(
            "IMAGE",
            "Pictures of the style to measure with, not trained on, from Load Style Images; instead of `validation`.",
        ),
    }

    def run(
        self,
        source: FaceGenerator,
        style_images: Tensor,
        resume: bool = True,
        guides: tuple[NetworkGuide, ...] | None = None,
        if_cancelled: str = IF_CANCELLED[0],
        validation_images: Tensor | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceGenerator, Tensor, dict[str, list[float]]]:
        from ..core.pictures import image_to_tensor
        from ..pipeline.train import same_faces, training_run
        from ..runtime.progress import stop_on_interrupt
        from ..training.data.inputs import too_few
        from ..training.finetune.run import finetune, run_identity
        from ..training.reports.curves import loss_map

        config = read_settings(FinetuneConfig, widgets, settings)
        pictures = image_to_tensor(style_images)
        guides = tuple(guides or ())
        held_out = None
        if validation_images is not None and len(validation_images):
            held_out = image_to_tensor(validation_images)
            if config.validation:
                raise ValueError(
                    "`validation_images` are connected and `validation` is above 0. Set it to 0, or disconnect them."
                )
        identity = run_identity(config, source, pictures, guides, held_out)
        with training_run(config.style_name, identity, config.steps, "fine-tune", resume, node_id) as run:
            if warning := too_few(pictures):
                run.progress.text(warning)
            callbacks = run.progress.callbacks()
            if if_cancelled != IF_CANCELLED[0]:
                callbacks = stop_on_interrupt(callbacks)
            try:
                result = finetune(
                    source.to(run.device),
                    pictures,
                    config,
                    callbacks,
                    run.folder,
                    resume=True,
                    guides=guides,
                    validation_images=held_out,
                )
                run.finished = result.finished
            finally:
                for guide in guides:
                    guide.to("cpu")
        style = result.generator.to("cpu")
        return style, same_faces(source, style), loss_map(result.history)

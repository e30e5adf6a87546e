"""Nodes of the second stage: the people behind style pictures, and training with pseudo-pairs.

STYLE_PAIRS is described in `pairs.py`, FACE_GENERATOR and FACE_LATENT in `generators.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..training.pairs.supervision_settings import PairSupervisionConfig
from .declare import Node, WithSettings, integer, read_settings, settings_of, socket, switch
from .pairs import PAIRS_TOOLTIP, SOURCE_TOOLTIP
from .training import GUIDES_TOOLTIP

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.types import FaceEncoder, FaceGenerator, FaceLatent
    from ..training.guides.networks import NetworkGuide
    from ..training.pairs.types import StylePairs

CATEGORY = "FaceStylist/Training"


class Destylise(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Finds the person behind each style picture: latents of the source generator whose faces have the picture's "
        "structure. Make Pseudo-Pairs makes pairs of them whose target is a true picture of the style, the only ones "
        "that teach something new."
    )
    SEARCH_ALIASES = ["destylise", "destylize", "anchors", "find source faces", "invert style pictures", "unstylise"]
    RETURN_TYPES = ("FACE_LATENT", "IMAGE")
    RETURN_NAMES = ("style_latent", "faces")
    OUTPUT_TOOLTIPS = (
        "One latent per style picture, for `style_latent` of Make Pseudo-Pairs.",
        "The people found, as the source generator draws them. Pose and features should be those of the pictures.",
    )

    REQUIRED = {
        "source": socket("FACE_GENERATOR", "The generator before the style."),
        "style_images": socket("IMAGE", "Aligned pictures of the style, as for Fine-tune Generator."),
        "steps": integer(
            0,
            "Search steps for the code with which the style draws the picture best. 0 keeps what the "
            "encoder reads; without an encoder 200 to 400 are needed.",
            low=0,
            high=10_000,
            step=10,
        ),
        "centre": switch(
            True,
            "Assume that the style pictures show the same kinds of people as the source. Otherwise a "
            "style with large eyes is read as people with large eyes.",
        ),
    }
    OPTIONAL = {
        "encoder": socket("FACE_ENCODER", "Reads the pictures as photos of the people they show."),
        "style": socket("FACE_GENERATOR", "A first attempt at the style, for the search."),
    }

    def run(
        self,
        source: FaceGenerator,
        style_images: Tensor,
        steps: int,
        centre: bool,
        encoder: FaceEncoder | None = None,
        style: FaceGenerator | None = None,
        node_id: str | None = None,
    ) -> tuple[FaceLatent, Tensor]:
        from ..core.pictures import image_to_tensor
        from ..pipeline.networks import placed
        from ..pipeline.stylise import draw
        from ..runtime.progress import ProgressReporter
        from ..training.pairs.anchors import destylise

        critic = None if style is None else style.discriminator
        with (
            placed(source, style, critic, encoder),
            ProgressReporter(max(steps, 1), "destylise", node_id=node_id) as progress,
        ):
            found = destylise(
                source, style, image_to_tensor(style_images), encoder, steps, centre, progress.callbacks()
            )
        return found.latent.replace(w_plus=found.latent.w_plus.cpu()), draw(source, found.latent)


class TrainWithPairs(WithSettings):
    CONFIG = PairSupervisionConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Continues training a style with pseudo-pairs: true style pictures with the people behind "
        "them, and the style's own best pictures. Lines and textures of the style become crisp "
        "while the people are kept. Cancelling keeps the run, and the same settings resume it."
    )
    SEARCH_ALIASES = ["stage 2", "pseudo pairs", "paired training", "supervised fine-tune", "train style", "pair loss"]
    RETURN_TYPES = ("FACE_GENERATOR", "IMAGE", "LOSS_MAP")
    RETURN_NAMES = ("style", "preview", "losses")
    OUTPUT_TOOLTIPS = (
        "The style, ready for Stylise Faces and Save Face Generator.",
        "The same faces by the source (above), by the style as it came (middle) and now (below).",
        "The loss curves, for Loss Plot, Stylisation Report and ComfyUI's own loss graph.",
    )

    REQUIRED = {
        "source": socket("FACE_GENERATOR", SOURCE_TOOLTIP),
        "style": socket(
            "FACE_GENERATOR",
            "The style the pairs were made with, with its discriminator, as Fine-tune Generator gives it.",
        ),
        "pairs": socket("STYLE_PAIRS", PAIRS_TOOLTIP),
        **settings_of(PairSupervisionConfig),
        "resume": switch(
            True,
            "Continue a cancelled run that had the same settings, generators and pairs. Turn off to start it again.",
            advanced=True,
        ),
    }
    OPTIONAL = {"guides": socket("FACE_GUIDE", GUIDES_TOOLTIP)}

    def run(
        self,
        source: FaceGenerator,
        style: FaceGenerator,
        pairs: StylePairs,
        resume: bool = True,
        guides: tuple[NetworkGuide, ...] | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceGenerator, Tensor, dict[str, list[float]]]:
        from ..pipeline.train import same_faces, training_run
        from ..training.pairs.supervise import run_identity, supervise
        from ..training.reports.curves import loss_map

        config = read_settings(PairSupervisionConfig, widgets, settings)
        name = f"{style.style or 'style'}-pairs"
        guides = tuple(guides or ())
        identity = run_identity(config, source, style, pairs, guides)
        with training_run(name, identity, config.steps, "pairs", resume, node_id) as run:
            there = source.to(run.device), style.to(run.device)
            callbacks = run.progress.callbacks()
            try:
                result = supervise(*there, pairs, config, callbacks, run.folder, resume=True, guides=guides)
            finally:
                for guide in guides:
                    guide.to("cpu")
        learned = result.generator.to("cpu")
        return learned, same_faces(source, style, learned), loss_map(result.history)

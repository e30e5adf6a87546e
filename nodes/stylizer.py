"""Nodes of the fast stylizer: pictures of any size in a style, in one pass and with no generator.

FACE_STYLIZER is `models.types.FaceStylizer`: a small feed-forward network and the name of its style. It is never
changed in place. FACE_CROPS and STYLE_PAIRS are described in `faces.py` and `pairs.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..training.stylizer.settings import StylizerConfig
from .declare import (
    NetworkLoader,
    Node,
    SavingNode,
    WithSettings,
    number,
    read_settings,
    settings_of,
    socket,
    switch,
    text,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.types import FaceCrops
    from ..models.types import FaceGenerator, FaceStylizer
    from ..training.pairs.types import StylePairs

CATEGORY = "FaceStylist/Fast Stylizer"


class LoadFastStylizer(NetworkLoader):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads a fast stylizer: one that ships with the pack and draws any photograph, or a file from "
        "models/face_stylizers. Nothing in a file is ever executed."
    )
    SEARCH_ALIASES = ["student", "load stylizer", "style transfer model", "pencil sketch", "oil paint", "filter"]
    RETURN_TYPES = ("FACE_STYLIZER",)
    RETURN_NAMES = ("stylizer",)
    OUTPUT_TOOLTIPS = ("The fast stylizer, for Run Fast Stylizer.",)

    KIND = "stylizer"
    NAME_TOOLTIP = (
        "embedded:student-sketch and the like ship with the pack. Below them stand the files in models/face_stylizers."
    )


class SaveFastStylizer(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Saves a fast stylizer as one small .safetensors file that Load Fast Stylizer lists. A file that exists is "
        "never overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["save student", "export stylizer", "safetensors"]
    OUTPUT_TOOLTIPS = ("Where the file is.",)

    REQUIRED = {
        "stylizer": socket("FACE_STYLIZER", "What to save."),
        "name": text(
            "my_style",
            "File name inside models/face_stylizers. When that name is taken, a number is added; nothing is "
            "overwritten.",
        ),
    }

    def run(self, stylizer: FaceStylizer, name: str, node_id: str | None = None) -> tuple[str]:
        from ..models.checkpoints import save_stylizer
        from ..pipeline.networks import new_model_file

        path = new_model_file("stylizer", name)
        save_stylizer(stylizer, path, dict(stylizer.provenance))
        return self.saved(path, node_id)


class RunFastStylizer(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws whole pictures of any size, or aligned faces, in the style of a fast stylizer. One pass, no generator, "
        "no inversion; large pictures are drawn in tiles without visible seams."
    )
    SEARCH_ALIASES = ["student", "sketch", "oil painting", "style transfer", "stylize photo", "filter", "cartoon"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("stylised",)
    OUTPUT_TOOLTIPS = ("The pictures in the style, of the same size; of faces, ready for Paste Faces Back.",)

    REQUIRED = {
        "stylizer": socket("FACE_STYLIZER", "From Load Fast Stylizer or Train Fast Stylizer."),
        "strength": number(
            1.0,
            "1: the whole style. Lower values keep the photo's colours, then more and more of the "
            "photo itself. 0: the photo.",
            step=0.05,
        ),
        "stroke_size": number(
            0.0,
            "Size of the strokes, relative to the style's own. 0: automatic, 1 up to 1024 pixels and "
            "proportionally larger on longer pictures.",
            high=16.0,
            step=0.25,
        ),
    }
    OPTIONAL = {
        "image": socket("IMAGE", "Whole pictures. Connect either this or faces."),
        "faces": socket("FACE_CROPS", "Aligned faces, drawn as they were cut out."),
    }

    def run(
        self,
        stylizer: FaceStylizer,
        strength: float,
        stroke_size: float,
        image: Tensor | None = None,
        faces: FaceCrops | None = None,
        node_id: str | None = None,
    ) -> tuple[Tensor]:
        from ..core.pictures import alpha_of, image_to_tensor, tensor_to_image, with_alpha
        from ..models.stylizer import draw
        from ..pipeline.networks import placed
        from ..runtime.progress import ProgressReporter

        if (image is None) == (faces is None):
            raise ValueError("Connect either `image` or `faces` to Run Fast Stylizer, and not both.")
        pictures = faces.crops if faces is not None else image_to_tensor(image)  # type: ignore[arg-type]
        with placed(stylizer), ProgressReporter(len(pictures), "draw", node_id=node_id) as progress:
            drawn = draw(stylizer.network, pictures, strength, stroke_size, progress.update)
        return (with_alpha(tensor_to_image(drawn), None if image is None else alpha_of(image)),)


class TrainFastStylizer(WithSettings):
    CONFIG = StylizerConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Trains a small network to draw a style in one pass: from pseudo-pairs with their two "
        "generators, or from any two batches of pictures, before and after. Shows input, output "
        "and target while it trains; cancelling keeps the run, and the same settings resume it."
    )
    SEARCH_ALIASES = ["student", "distill", "distillation", "train style transfer", "paired training", "pix2pix"]
    RETURN_TYPES = ("FACE_STYLIZER", "IMAGE", "LOSS_MAP")
    RETURN_NAMES = ("stylizer", "preview", "losses")
    OUTPUT_TOOLTIPS = (
        "The fast stylizer, for Run Fast Stylizer and Save Fast Stylizer.",
        "Rows of input, output and target pictures.",
        "The loss curves, for Loss Plot and ComfyUI's own loss graph.",
    )

    REQUIRED = {
        **settings_of(StylizerConfig),
        "resume": switch(
            True,
            "Continue a cancelled run that had the same settings and pictures. Turn off to start it again.",
            advanced=True,
        ),
    }
    OPTIONAL = {
        "before": socket("IMAGE", "Photos. Each becomes the picture of the same number in `after`."),
        "after": socket("IMAGE", "The same photos in the style, of the same size."),
        "pairs": socket("STYLE_PAIRS", "Pseudo-pairs instead of before and after; both generators are needed too."),
        "source": socket("FACE_GENERATOR", "The generator that draws the pairs before the style."),
        "target": socket("FACE_GENERATOR", "The generator that draws them in the style."),
        "start": socket(
            "FACE_STYLIZER",
            (
                "A stylizer to continue from, such as a shipped one; its medium and width are kept. Not "
                "connected: a new one."
            ),
        ),
    }

    def run(
        self,
        resume: bool = True,
        before: Tensor | None = None,
        after: Tensor | None = None,
        pairs: StylePairs | None = None,
        source: FaceGenerator | None = None,
        target: FaceGenerator | None = None,
        start: FaceStylizer | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[FaceStylizer, Tensor, dict[str, list[float]]]:
        import torch

        from ..core.pictures import tensor_to_image
        from ..pipeline.train import training_run
        from ..training.reports.curves import loss_map
        from ..training.stylizer.dataset import pair_batches, shown_pairs, shown_pictures
        from ..training.stylizer.task import StylizerTask, chosen_medium, run_identity, train_stylizer

        config = read_settings(StylizerConfig, widgets, settings)
        medium = chosen_medium(config, "none" if start is None else start.medium)
        with torch.inference_mode(False):
            triples = _pairs(before, after, pairs, source, target)
            batches = pair_batches(
                triples, medium, config.size, config.batch_size, config.degrade, config.pair_share, config.seed
            )
        shown = shown_pictures(triples)
        if pairs is not None and source is not None and target is not None:
            shown = shown_pairs(pairs, source, target)
        identity = run_identity(config, medium, start, shown)
        with training_run(config.style_name, identity, config.steps, "train", resume, node_id) as run:
            result = train_stylizer(
                config,
                batches,
                medium,
                {"learnt_from": f"{len(triples)} pairs"},
                run.progress.callbacks(),
                run.folder,
                True,
                run.device,
                start=start,
                shown=shown,
            )
        with torch.inference_mode(False):
            task = StylizerTask(config, batches, medium, "cpu", start=start)
            task.average.load_state_dict(result.stylizer.network.state_dict())
            preview = task.preview()
        return result.stylizer, tensor_to_image(preview[None] * 2 - 1), loss_map(result.history)


def _pairs(
    before: Tensor | None,
    after: Tensor | None,
    pairs: StylePairs | None,
    source: FaceGenerator | None,
    target: FaceGenerator | None,
) -> list[tuple[Tensor, Tensor, float]]:
    """The pairs as pictures in -1..1 with their levels."""
    from ..core.pictures import image_to_tensor
    from ..training.stylizer.dataset import pair_pictures

    if pairs is not None:
        if source is None or target is None:
            raise ValueError("Pairs are latents: connect `source` and `target`, the generators they were made with.")
        return list(pair_pictures(pairs, source, target))
    if before is None or after is None:
        raise ValueError("There is nothing to learn from. Connect `before` and `after`, or `pairs` and two generators.")
    if before.shape[:3] != after.shape[:3]:
        raise ValueError(
            f"`before` holds {before.shape[0]} pictures of {before.shape[2]}x{before.shape[1]} and `after` "
            f"{after.shape[0]} of {after.shape[2]}x{after.shape[1]}. Both need the same number of the same size."
        )
    return list(zip(image_to_tensor(before.clone()), image_to_tensor(after.clone()), [3.0] * len(before), strict=True))

"""Nodes that teach a generator a new style. FACE_GENERATOR is described in `generators.py`.

Style pictures travel as ordinary IMAGE batches, so that any node can make or change them. Fine-tune Generator's widgets
are the settings of `training/config.py`, which the command line and TOML files share.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from ..training.config import FinetuneConfig, fields_of, to_mapping
from .declare import content_hash, from_spec, integer, socket, switch, text
from .faces import MIN_CONFIDENCE, face_finder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from ..models.types import FaceGenerator
    from ..training.guides.networks import NetworkGuide

CATEGORY = "FaceStylist/Training"
PREVIEW_FACES = 6
PREVIEW_TRUNCATION = 0.8


class LoadStyleImages:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads a folder of style pictures to train on, finds and aligns the face in each, and reports what it left out "
        "and why. 100 to 300 pictures of one style are plenty, 10 are a start."
    )
    SEARCH_ALIASES = ["load folder", "image folder", "training images", "data set", "dataset", "style pictures"]
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("style_images", "report")
    OUTPUT_TOOLTIPS = (
        "The style pictures as one batch.",
        "How many pictures were taken, and each one that was not, with its reason.",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "folder": text("my_style", "A folder of pictures: inside ComfyUI's input folder, or a full path."),
                "align": switch(
                    True,
                    "Find the face and cut it out as the generator expects. Turn off for pictures that are aligned "
                    "already, or for drawings in which no face is found; they are then only cut square and resized.",
                ),
                "size": integer(
                    256,
                    "Side of the pictures in pixels; training resizes them to its generator.",
                    low=64,
                    high=1024,
                    step=8,
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, folder: str | None) -> bool | str:
        """Says before anything runs that a folder is missing; one that comes over a wire is None here."""
        from ..runtime.folders import find_input

        if folder is None:
            return True
        try:
            path = find_input(folder)
        except ValueError as error:
            return str(error)
        return path.is_dir() or f"There is no folder {path}. Give the folder that holds the style pictures."

    @classmethod
    def IS_CHANGED(cls, folder: str, align: bool, size: int) -> str:
        from ..runtime.folders import find_input

        path = find_input(folder)
        return content_hash(path.iterdir() if path.is_dir() else [])

    def run(self, folder: str, align: bool, size: int, node_id: str | None = None) -> tuple[Tensor, str]:
        from ..runtime.folders import find_input
        from ..runtime.images import tensor_to_image
        from ..runtime.progress import ProgressReporter
        from ..training.style_images import load_style_folder

        styles = load_style_folder(find_input(folder), size, _largest_face(size) if align else False)
        lines = [f"{len(styles.paths)} pictures taken, {len(styles.skipped)} left out."]
        lines += [f"{path.name}: {reason}" for path, reason in styles.skipped]
        report = "\n".join(lines)
        ProgressReporter(1, node_id=node_id).text(report)
        return tensor_to_image(styles.images), report


def _largest_face(size: int) -> Callable[[Tensor], Tensor | None]:
    """The function that cuts the main face out of a picture, or finds none."""
    from ..faces.align import align_faces

    find = face_finder("auto", MIN_CONFIDENCE)

    def align(picture: Tensor) -> Tensor | None:
        faces = align_faces(picture[None], find, size, on_no_face="skip", max_faces=1)
        return faces.crops[0] if len(faces) else None

    return align


class FinetuneGenerator:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Teaches a copy of a face generator a style from a few pictures, while a semantic constraint holds what is "
        "where: the result draws the same faces, in the style. Shows progress pictures while it trains; cancelling "
        "keeps the run, and the same settings resume it."
    )
    SEARCH_ALIASES = ["train style", "finetune", "fine-tune", "stylegan train", "few-shot", "train generator"]
    RETURN_TYPES = ("FACE_GENERATOR", "IMAGE")
    RETURN_NAMES = ("style", "preview")
    OUTPUT_TOOLTIPS = (
        "The style, ready for Stylise Faces and Save Face Generator.",
        "The same faces before (above) and after (below).",
    )
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "source": socket(
                    "FACE_GENERATOR", "The generator to start from, with its discriminator. It is not changed."
                ),
                "style_images": socket(
                    "IMAGE", "Aligned pictures of the style, 10 to 300: Load Style Images, or any other IMAGE batch."
                ),
                **{spec.name: from_spec(spec) for spec in fields_of(FinetuneConfig)},
                "resume": switch(
                    True,
                    "Continue a cancelled run that had the same settings, generator and pictures. Turn off to start "
                    "it again.",
                    advanced=True,
                ),
            },
            "optional": {
                "guides": socket(
                    "FACE_GUIDE",
                    "What else to keep, seen by networks you have the weights of: LPIPS, identity, structure, face "
                    "parts. Guide nodes chain.",
                ),
            },
            "hidden": {"node_id": "UNIQUE_ID"},
        }

    def run(
        self,
        source: FaceGenerator,
        style_images: Tensor,
        resume: bool = True,
        guides: tuple[NetworkGuide, ...] | None = None,
        node_id: str | None = None,
        **settings: Any,
    ) -> tuple[FaceGenerator, Tensor]:
        import shutil

        import torch

        from ..models.sampling import sample_latent, synthesise
        from ..runtime.devices import room_for_training
        from ..runtime.images import image_to_tensor, tensor_to_image
        from ..runtime.progress import ProgressReporter
        from ..training.finetune import finetune

        config = FinetuneConfig(**settings)
        pictures = image_to_tensor(style_images)
        guides = tuple(guides or ())
        run_dir = _run_dir(source, pictures, config, guides)
        if not resume:
            shutil.rmtree(run_dir / "state", ignore_errors=True)
        with (
            room_for_training() as device,
            ProgressReporter(config.steps, "fine-tune", node_id=node_id) as progress,
        ):
            try:
                result = finetune(
                    source.to(device), pictures, config, progress.callbacks(), run_dir, resume=True, guides=guides
                )
            finally:
                for guide in guides:
                    guide.to("cpu")
        # Only an unfinished run needs its state, and that of a large generator fills gigabytes.
        shutil.rmtree(run_dir / "state", ignore_errors=True)

        style = result.generator.to("cpu")
        faces = sample_latent(source, range(PREVIEW_FACES), PREVIEW_TRUNCATION)
        before, after = (torch.cat(list(synthesise(generator, faces)), dim=2) for generator in (source, style))
        return style, tensor_to_image(torch.cat([before, after], dim=1)[None])


def _run_dir(
    source: FaceGenerator, pictures: Tensor, config: FinetuneConfig, guides: Sequence[NetworkGuide] = ()
) -> Path:
    """One folder per generator, pictures, settings and guides, so that the same run finds what it left there."""
    from ..runtime.folders import output_dir
    from ..training.finetune import SETTINGS_FREE_TO_CHANGE, digest

    fixed = {name: value for name, value in to_mapping(config).items() if name not in SETTINGS_FREE_TO_CHANGE}
    parts: list[Any] = [fixed, digest(source.generator.state_dict().values()), digest([pictures])]
    # Only where there are guides, so that runs begun before there were any are found.
    parts += [[guide.identity, guide.weight] for guide in guides]
    key = json.dumps(parts)
    name = re.sub(r"[^\w-]+", "_", config.style_name)
    return output_dir() / "facestylist_runs" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

"""Nodes of pseudo-pairs: faces before and after a style, for further training here or elsewhere.

STYLE_PAIRS is a manifest of latents: pictures are drawn when a node asks for them, by the two generators that it was
made with. FACE_LATENT and FACE_GENERATOR are described in `generators.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..training.pairs.settings import PairsConfig
from .declare import (
    Node,
    SavingNode,
    WithSettings,
    choice,
    content_hash,
    input_file,
    integer,
    read_settings,
    settings_of,
    socket,
    switch,
    text,
)
from .latents import FILE_TOOLTIP

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..models.identity import IdentityNetwork
    from ..models.types import FaceGenerator, FaceLatent
    from ..training.pairs.types import StylePairs
    from .guides import Guides

CATEGORY = "FaceStylist/Training"
FOLDER = "pairs"
"""Where pairs go, inside the output folder."""
ORDERS = ("as made", "worst structure first", "worst quality first")
PAIRS_TOOLTIP = "Pairs from Make Pseudo-Pairs or Load Pairs."
SOURCE_TOOLTIP = "The source generator the pairs were made with."
TARGET_TOOLTIP = "The style the pairs were made with."


class MakePairs(WithSettings):
    CONFIG = PairsConfig
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Makes pairs of faces before and after a style at four levels, from the generators before and after "
        "fine-tuning: synthetic people, your photos, and the style pictures themselves. Bad pairs are filtered out, "
        "and the report says what each filter dropped."
    )
    SEARCH_ALIASES = ["pseudo pairs", "paired data", "data set", "dataset", "before after", "distillation", "lora data"]
    RETURN_TYPES = ("STYLE_PAIRS", "STRING")
    RETURN_NAMES = ("pairs", "report")
    OUTPUT_TOOLTIPS = (
        "The pairs, as latents: for Preview Pairs, Export Pairs, Save Pairs and the trainings.",
        "How many pairs of each level and origin were made and kept, and what was dropped for which reason.",
    )

    REQUIRED = {
        "source": socket("FACE_GENERATOR", "The generator the style was fine-tuned from."),
        "target": socket("FACE_GENERATOR", "The style."),
        **settings_of(PairsConfig),
    }
    OPTIONAL = {
        "photos": socket("IMAGE", "Aligned photos of people, as they were inverted. They become pairs too."),
        "photo_latent": socket("FACE_LATENT", "Their latents in the source, from an inversion node."),
        "style_images": socket(
            "IMAGE", "Aligned pictures of the style: pairs whose target is a true style picture (level 3)."
        ),
        "style_latent": socket(
            "FACE_LATENT",
            "The people behind the style pictures, from Destylise Style Images. Needed with style_images.",
        ),
        "identity": socket(
            "FACE_GUIDE",
            ("An Identity Guide, whose network judges min_identity. Not connected: identity is not checked."),
        ),
    }

    def run(
        self,
        source: FaceGenerator,
        target: FaceGenerator,
        photos: Tensor | None = None,
        photo_latent: FaceLatent | None = None,
        style_images: Tensor | None = None,
        style_latent: FaceLatent | None = None,
        identity: Guides | None = None,
        settings: str = "",
        node_id: str | None = None,
        **widgets: Any,
    ) -> tuple[StylePairs, str]:
        from ..pipeline.networks import placed
        from ..runtime.progress import ProgressReporter
        from ..training.pairs.making import make_pairs
        from ..training.pairs.preview import describe

        config = read_settings(PairsConfig, widgets, settings)
        people = _known("photos", photos, "photo_latent", photo_latent)
        anchors = _known("style_images", style_images, "style_latent", style_latent)
        judge = None if identity is None else identity_network(identity)
        with (
            placed(source, target, discriminators=True),
            ProgressReporter(config.count, "pairs", node_id=node_id) as progress,
        ):
            pairs = make_pairs(source, target, config, anchors, people, progress.callbacks(), judge)
            report = describe(pairs)
            progress.text(report)
        return pairs, report


def identity_network(guides: Guides) -> IdentityNetwork:
    """The network of the identity guide among these.

    Raises:
        ValueError: there is none.
    """
    for guide in guides:
        if guide.name == "identity":
            return cast("IdentityNetwork", guide.network)
    raise ValueError("`identity` contains no identity guide. Connect an Identity Guide, or nothing.")


def _known(picture_name: str, pictures: Tensor | None, latent_name: str, latent: FaceLatent | None) -> Any:
    """Pictures with their latents, None for neither, a sentence for one alone."""
    from ..core.pictures import image_to_tensor
    from ..training.pairs.candidates import PicturesWithLatents

    if pictures is None and latent is None:
        return None
    if pictures is None or latent is None:
        given, missing = (latent_name, picture_name) if pictures is None else (picture_name, latent_name)
        raise ValueError(f"`{given}` is connected but `{missing}` is not: connect both, or neither.")
    return PicturesWithLatents(latent, image_to_tensor(pictures)) if len(latent) else None


class PreviewPairs(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Draws some pairs of each level and origin, before and after side by side with their scores, so that you can "
        "judge them before training on them."
    )
    SEARCH_ALIASES = ["show pairs", "pair grid", "contact sheet", "inspect pairs", "pseudo pairs"]
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("sheet",)
    OUTPUT_TOOLTIPS = ("The sheet, one row for each level and origin.",)

    REQUIRED = {
        "pairs": socket("STYLE_PAIRS", PAIRS_TOOLTIP),
        "source": socket("FACE_GENERATOR", SOURCE_TOOLTIP),
        "target": socket("FACE_GENERATOR", TARGET_TOOLTIP),
        "per_row": integer(5, "Pairs shown of each level and origin.", low=1, high=20),
        "size": integer(128, "Side of each picture in pixels.", low=32, high=512, step=8),
        "order": choice(
            ORDERS,
            "as made: spread evenly. Worst first: what the filters were about to drop; if those look good, all do.",
        ),
        "move": switch(True, "Show them mirrored, turned and moved as training sees them.", advanced=True),
    }

    def run(
        self,
        pairs: StylePairs,
        source: FaceGenerator,
        target: FaceGenerator,
        per_row: int,
        size: int,
        order: str,
        move: bool = True,
    ) -> tuple[Tensor]:
        from ..pipeline.networks import placed
        from ..training.pairs.preview import preview_pairs

        with placed(source, target, discriminators=True):
            sheet = preview_pairs(pairs, source, target, per_row, size, order, move)
        return (sheet.permute(1, 2, 0)[None].contiguous(),)


class ExportPairs(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Writes pairs as pictures: source/, target/ and metadata.jsonl, the image folder that trainers of editing "
        "LoRAs and Hugging Face's load_dataset read. The folder appears when it is complete; nothing is overwritten."
    )
    SEARCH_ALIASES = ["save dataset", "export dataset", "lora data", "imagefolder", "kontext", "pix2pix"]
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("folder",)
    OUTPUT_TOOLTIPS = ("Where the pictures are.",)
    OUTPUT_NODE = True

    REQUIRED = {
        "pairs": socket("STYLE_PAIRS", PAIRS_TOOLTIP),
        "source": socket("FACE_GENERATOR", SOURCE_TOOLTIP),
        "target": socket("FACE_GENERATOR", TARGET_TOOLTIP),
        "name": text("my_pairs", "Name of the folder, in the folder pairs inside ComfyUI's output folder."),
        "prompt": text(
            "turn the portrait into {style}",
            "Text of each pair. {style}, {level} (0 to 3), {degree} (words for it), {origin} are filled in.",
        ),
        "levels": text("3", "Levels to write, separated by commas. An editing LoRA needs only 3."),
        "size": integer(0, "Side of the pictures in pixels; 0 keeps the generators' own.", low=0, high=2048, step=8),
        "captions": switch(
            False, "Also write each text as a .txt file beside its target picture, as many trainers expect it."
        ),
    }

    def run(
        self,
        pairs: StylePairs,
        source: FaceGenerator,
        target: FaceGenerator,
        name: str,
        prompt: str,
        levels: str,
        size: int,
        captions: bool,
        node_id: str | None = None,
    ) -> tuple[str]:
        from ..pipeline.networks import new_output_files, placed
        from ..runtime.progress import ProgressReporter
        from ..training.pairs.export import export_pairs

        chosen = PairsConfig(levels=levels).chosen_levels
        (folder,) = new_output_files(FOLDER, name or "pairs", "")
        with (
            placed(source, target, discriminators=True),
            ProgressReporter(len(pairs), "export", node_id=node_id) as progress,
        ):
            export_pairs(pairs, source, target, folder, prompt, size, captions, chosen, progress.callbacks())
            progress.text(f"Saved {folder}")
        return (str(folder),)


class SavePairs(SavingNode):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Saves pairs as one file: latents, scores, and the photos and style pictures among them. Whoever has the file "
        "and the two generators draws the same pictures. Nothing is overwritten: names are numbered."
    )
    SEARCH_ALIASES = ["save pairs", "pseudo pairs", "write pairs", "manifest"]
    OUTPUT_TOOLTIPS = ("Where the file is; Load Pairs takes it.",)

    REQUIRED = {
        "pairs": socket("STYLE_PAIRS", PAIRS_TOOLTIP),
        "name": text("my_pairs", "File name, in the folder pairs inside ComfyUI's output folder."),
    }

    def run(self, pairs: StylePairs, name: str, node_id: str | None = None) -> tuple[str]:
        from ..pipeline.networks import new_output_file
        from ..training.pairs.manifest import save_pairs

        return self.saved(save_pairs(pairs, new_output_file(FOLDER, name or "pairs", ".safetensors")), node_id)


class LoadPairs(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Loads pairs that Save Pairs or the command `pairs` wrote. Their pictures are drawn by the generators they "
        "were made with; others are refused."
    )
    SEARCH_ALIASES = ["load pairs", "pseudo pairs", "open pairs", "manifest"]
    RETURN_TYPES = ("STYLE_PAIRS", "STRING")
    RETURN_NAMES = ("pairs", "report")
    OUTPUT_TOOLTIPS = ("The pairs.", "What was made, kept and dropped when they were made.")

    REQUIRED = {"file": text(f"{FOLDER}/my_pairs.safetensors [output]", f"The file. {FILE_TOOLTIP}")}

    @classmethod
    def VALIDATE_INPUTS(cls, file: str) -> bool | str:
        from ..runtime.folders import find_input

        told = input_file(file)
        return True if told is not True and _parts(find_input(file)) else told

    @classmethod
    def IS_CHANGED(cls, file: str) -> str:
        from ..runtime.folders import find_input

        path = find_input(file)
        return content_hash([path, *_parts(path)])

    def run(self, file: str) -> tuple[StylePairs, str]:
        from ..runtime.folders import find_input
        from ..training.pairs.manifest import load_pairs
        from ..training.pairs.preview import describe

        pairs = load_pairs(find_input(file))
        return pairs, describe(pairs)


def _parts(path: Path) -> list[Path]:
    """The files of a run on several processes, which stand for `path` where that is not there."""
    return [] if path.exists() else sorted(path.parent.glob(f"{path.stem}-?????-of-?????{path.suffix}"))

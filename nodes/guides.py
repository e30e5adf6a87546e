"""Nodes that make guides: what else should fine-tuning keep, seen by a network the user has the weights of?

Custom socket:
  FACE_GUIDE: a tuple of guides (`training.guides.networks`), each an additional pull on the generator with its weight.
    Every guide node takes the guides before it and appends its own, so that several chain into Fine-tune Generator.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .declare import Node, choice, content_hash, number, socket

if TYPE_CHECKING:
    from ..training.guides.networks import NetworkGuide

    Guides = tuple[NetworkGuide, ...]

CATEGORY = "FaceStylist/Training"
MODEL_FOLDER = "face_guides"
NONE = "none"
"""Offered where the folder holds no file."""
AUTOMATIC = "automatic"
BEFORE = socket("FACE_GUIDE", "Guides to add this one to: the output of another guide node.")


class _Guide(Node):
    """A node that adds one guide to a chain."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("FACE_GUIDE",)
    RETURN_NAMES = ("guides",)
    OUTPUT_TOOLTIPS = ("This guide after those before it, for Fine-tune Generator and Train with Pseudo-Pairs.",)


class _FileGuide(_Guide):
    """One whose network is in one file."""

    KIND: ClassVar[str]
    FILE_TOOLTIP: ClassVar[str]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        file = choice(_files(cls.KIND), cls.FILE_TOOLTIP)
        return {"required": {"file": file, "weight": _weight(cls.KIND)}, "optional": {"guides": BEFORE}}

    @classmethod
    def IS_CHANGED(cls, file: str, weight: float, guides: Any = None) -> str:
        return content_hash([_path(file)])

    def run(self, file: str, weight: float, guides: Guides | None = None) -> tuple[Guides]:
        return _with(guides, _opened(self.KIND, [file], weight))


class LpipsGuide(_Guide):
    DESCRIPTION = (
        "A guide that keeps what the style draws near what the source draws, detail by detail, as LPIPS sees it. Good "
        "for gentle styles; lower the weight for styles that change the drawing. Needs VGG16 or AlexNet and LPIPS' "
        "linear layers in models/face_guides."
    )
    SEARCH_ALIASES = ["perceptual loss", "lpips", "vgg loss", "guide"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = _files("lpips")
        return {
            "required": {
                "backbone": choice(
                    names,
                    "torchvision's vgg16-397923af.pth or alexnet-owt-7be5be79.pth, or a whole LPIPS network, in "
                    "models/face_guides.",
                ),
                "linear": choice(
                    [AUTOMATIC, *[name for name in names if name != NONE]],
                    "LPIPS' linear layers: vgg.pth or alex.pth. automatic finds them in models/face_guides or in an "
                    "installed lpips or torchmetrics.",
                    advanced=True,
                ),
                "weight": _weight("lpips"),
            },
            "optional": {"guides": BEFORE},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, backbone: str | None) -> bool | str:
        return _is_there("lpips", backbone)

    @classmethod
    def IS_CHANGED(cls, backbone: str, linear: str, weight: float, guides: Any = None) -> str:
        return content_hash(_path(name) for name in (backbone, linear) if name not in (AUTOMATIC, NONE))

    def run(self, backbone: str, linear: str, weight: float, guides: Guides | None = None) -> tuple[Guides]:
        names = [backbone] if linear == AUTOMATIC else [backbone, linear]
        return _with(guides, _opened("lpips", names, weight))


class IdentityGuide(_FileGuide):
    DESCRIPTION = (
        "A guide that keeps the person: a face recognition network should see the same one before and after. The "
        "shipped encoder has one; dlib's (free for any use) and ArcFace, in models/face_guides, are better judges."
    )
    SEARCH_ALIASES = ["identity loss", "arcface", "dlib", "face recognition", "keep person", "guide"]
    KIND = "identity"
    FILE_TOOLTIP = (
        "embedded: that of the shipped encoder. In models/face_guides: dlib_face_recognition_resnet_model_v1.dat, "
        "face_recognition_model.bin with its manifest beside it, or ArcFace's model_ir_se50.pth."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = super().INPUT_TYPES()
        files = [name for name in types["required"]["file"][0] if name != NONE]
        types["required"]["file"] = choice([*files, "embedded"], cls.FILE_TOOLTIP)
        return types

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        return _is_there(cls.KIND, file)


class DinoGuide(_FileGuide):
    DESCRIPTION = (
        "A guide that keeps the structure of the picture, whatever its look: which places belong together, as the keys "
        "of DINOv2 tell it. Needs a DINOv2 file in models/face_guides, or a DINOv2 loaded by Load CLIP Vision."
    )
    SEARCH_ALIASES = ["dino", "dinov2", "structure loss", "self-similarity", "clip vision", "guide"]
    KIND = "dino"
    FILE_TOOLTIP = (
        "dinov2_vits14_pretrain.pth and the like, or the model.safetensors of facebook/dinov2-small, in "
        "models/face_guides. Ignored if clip_vision is connected."
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = super().INPUT_TYPES()
        model = socket("CLIP_VISION", "A DINOv2 model from Load CLIP Vision, instead of a file.")
        return {**types, "optional": {**types["optional"], "clip_vision": model}}

    @classmethod
    def IS_CHANGED(cls, file: str, weight: float, guides: Any = None, clip_vision: Any = None) -> str:
        return content_hash([] if file == NONE else [_path(file)])

    def run(self, file: str, weight: float, guides: Guides | None = None, clip_vision: Any = None) -> tuple[Guides]:
        if clip_vision is None:
            return super().run(file, weight, guides)
        from ..training.guides.files import dino_guide_of

        return _with(guides, dino_guide_of(clip_vision.get_sd(), weight))


class ParsingGuide(_FileGuide):
    DESCRIPTION = (
        "A guide that keeps the parts of the face where they are: brows, eyes, mouth, hair, glasses, clothes, as the "
        "face-parsing network BiSeNet labels them. Needs 79999_iter.pth in models/face_guides."
    )
    SEARCH_ALIASES = ["face parsing", "bisenet", "segmentation", "labels", "guide"]
    KIND = "parsing"
    FILE_TOOLTIP = "79999_iter.pth of face-parsing.PyTorch, in models/face_guides."

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        return _is_there(cls.KIND, file)


def _files(kind: str) -> list[str]:
    """What the drop-down list offers: the files of models/face_guides, those that look right first."""
    from ..runtime.folders import list_model_files
    from ..training.guides.hints import likely_first

    return likely_first(kind, list_model_files(MODEL_FOLDER)) or [NONE]


def _weight(kind: str) -> Any:
    from ..training.guides.hints import SUGGESTED_WEIGHTS

    tooltip = f"Weight of the guide; {SUGGESTED_WEIGHTS[kind]:g} is a usual value. 0 turns it off."
    return number(SUGGESTED_WEIGHTS[kind], tooltip, high=100.0, step=0.05)


def _is_there(kind: str, name: str | None) -> bool | str:
    """True, or the sentence that says what to get; a name that comes over a wire is None here."""
    from ..runtime.folders import find_model, model_dirs
    from ..training.guides.hints import get_it

    if name is None:
        return True
    try:
        if name != NONE:
            find_model(MODEL_FOLDER, name)
            return True
    except ValueError:
        pass
    return get_it(kind, model_dirs(MODEL_FOLDER))


def _path(name: str) -> Path:
    """The file's path; one that is missing is reported when the node runs."""
    from ..runtime.folders import find_model

    try:
        return Path(find_model(MODEL_FOLDER, name))
    except ValueError:
        return Path(name)


def _opened(kind: str, names: list[str], weight: float) -> NetworkGuide:
    from ..runtime.folders import find_model, model_dirs
    from ..training.guides.files import open_guide

    for name in names:
        there = _is_there(kind, name)
        if there is not True:
            raise ValueError(there)
    files = [find_model(MODEL_FOLDER, name) for name in names]
    return open_guide(kind, files, weight, model_dirs(MODEL_FOLDER))


def _with(guides: Guides | None, guide: NetworkGuide) -> tuple[Guides]:
    """The chain with this guide at its end.

    Raises:
        ValueError: a guide of this kind is in it already.
    """
    before = tuple(guides or ())
    if any(other.name == guide.name for other in before):
        raise ValueError(f"`guides` already contains a {guide.name} guide; use one of each kind.")
    return ((*before, guide),)

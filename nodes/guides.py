"""Nodes that make guides: what else should fine-tuning keep, seen by a network the user has the weights of?

Custom socket:
  FACE_GUIDE: a tuple of guides (`training.guides.networks`), each an additional pull on the generator with its weight.
    Every guide node takes the guides before it and appends its own, so that several chain into Fine-tune Generator.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

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
MADE = ("FACE_GUIDE",)
MADE_NAMES = ("guides",)
MADE_TOOLTIPS = ("This guide after those before it, for Fine-tune Generator.",)


class LpipsGuide(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A guide that keeps what the style draws near what the source draws, detail by detail, as LPIPS sees it. Good "
        "for gentle styles; lower the weight for styles that change the drawing. Needs VGG16 or AlexNet and LPIPS' "
        "linear layers in models/face_guides."
    )
    SEARCH_ALIASES = ["perceptual loss", "lpips", "vgg loss", "guide"]
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = MADE, MADE_NAMES, MADE_TOOLTIPS

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


class IdentityGuide(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A guide that keeps the person: a face recognition network should see the same one before and after. The "
        "shipped encoder has one; dlib's (free for any use) and ArcFace, in models/face_guides, are better judges."
    )
    SEARCH_ALIASES = ["identity loss", "arcface", "dlib", "face recognition", "keep person", "guide"]
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = MADE, MADE_NAMES, MADE_TOOLTIPS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        tooltip = (
            "embedded: that of the shipped encoder. In models/face_guides: dlib_face_recognition_resnet_model_v1.dat, "
            "face_recognition_model.bin with its manifest beside it, or ArcFace's model_ir_se50.pth."
        )
        declared = _one_file("identity", tooltip)
        files = [name for name in declared["required"]["file"][0] if name != NONE]
        return {**declared, "required": {**declared["required"], "file": choice([*files, "embedded"], tooltip)}}

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        return _is_there("identity", file)

    @classmethod
    def IS_CHANGED(cls, file: str, weight: float, guides: Any = None) -> str:
        return content_hash([_path(file)])

    def run(self, file: str, weight: float, guides: Guides | None = None) -> tuple[Guides]:
        return _with(guides, _opened("identity", [file], weight))


class DinoGuide(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A guide that keeps the structure of the picture, whatever its look: which places belong together, as the keys "
        "of DINOv2 tell it. Needs a DINOv2 file in models/face_guides, or a DINOv2 loaded by Load CLIP Vision."
    )
    SEARCH_ALIASES = ["dino", "dinov2", "structure loss", "self-similarity", "clip vision", "guide"]
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = MADE, MADE_NAMES, MADE_TOOLTIPS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        types = _one_file(
            "dino",
            "dinov2_vits14_pretrain.pth and the like, or the model.safetensors of "
            "facebook/dinov2-small, in models/face_guides. Ignored if clip_vision is connected.",
        )
        types["optional"]["clip_vision"] = socket(
            "CLIP_VISION", "A DINOv2 model from Load CLIP Vision, instead of a file."
        )
        return types

    @classmethod
    def IS_CHANGED(cls, file: str, weight: float, guides: Any = None, clip_vision: Any = None) -> str:
        return content_hash([] if file == NONE else [_path(file)])

    def run(self, file: str, weight: float, guides: Guides | None = None, clip_vision: Any = None) -> tuple[Guides]:
        if clip_vision is None:
            return _with(guides, _opened("dino", [file], weight))
        from ..training.guides.files import dino_guide_of

        return _with(guides, dino_guide_of(clip_vision.get_sd(), weight))


class ParsingGuide(Node):
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "A guide that keeps the parts of the face where they are: brows, eyes, mouth, hair, glasses, clothes, as the "
        "face-parsing network BiSeNet labels them. Needs 79999_iter.pth in models/face_guides."
    )
    SEARCH_ALIASES = ["face parsing", "bisenet", "segmentation", "labels", "guide"]
    RETURN_TYPES, RETURN_NAMES, OUTPUT_TOOLTIPS = MADE, MADE_NAMES, MADE_TOOLTIPS

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return _one_file("parsing", "79999_iter.pth of face-parsing.PyTorch, in models/face_guides.")

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        return _is_there("parsing", file)

    @classmethod
    def IS_CHANGED(cls, file: str, weight: float, guides: Any = None) -> str:
        return content_hash([_path(file)])

    def run(self, file: str, weight: float, guides: Guides | None = None) -> tuple[Guides]:
        return _with(guides, _opened("parsing", [file], weight))


def _files(kind: str) -> list[str]:
    """What the drop-down list offers: the files of models/face_guides, those that look right first."""
    from ..runtime.folders import list_model_files

    return _likely_first(kind, list_model_files(MODEL_FOLDER)) or [NONE]


def _likely_first(kind: str, names: list[str]) -> list[str]:
    from ..training.guides.hints import likely_first

    return likely_first(kind, names)


def _weight(kind: str) -> Any:
    from ..training.guides.hints import SUGGESTED_WEIGHTS

    tooltip = f"Weight of the guide; {SUGGESTED_WEIGHTS[kind]:g} is a usual value. 0 turns it off."
    return number(SUGGESTED_WEIGHTS[kind], tooltip, high=100.0, step=0.05)


def _one_file(kind: str, tooltip: str) -> dict[str, Any]:
    return {
        "required": {"file": choice(_files(kind), tooltip), "weight": _weight(kind)},
        "optional": {"guides": BEFORE},
    }


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

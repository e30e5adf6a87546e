"""What the guides are called, which files they need and how they are asked for: all that is known without torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

KINDS = ("lpips", "identity", "dino", "parsing")
"""Names of the guides, as the command line and the loss table have them."""
SUGGESTED_WEIGHTS = {"lpips": 0.5, "identity": 1.0, "dino": 1.0, "parsing": 0.1}
FOLDER = "face_guides"
WANTED = {
    "lpips": "torchvision's vgg16-397923af.pth or alexnet-owt-7be5be79.pth, and vgg.pth or alex.pth of lpips",
    "identity": "dlib_face_recognition_resnet_model_v1.dat, or face_recognition_model.bin with its manifest (dlib's, "
    "free for any use), or model_ir_se50.pth (ArcFace)",
    "dino": "dinov2_vits14_pretrain.pth of DINOv2, or model.safetensors of facebook/dinov2-small",
    "parsing": "79999_iter.pth of face-parsing.PyTorch",
}
"""The files each guide reads; docs/training.md#guides says where they come from and under which terms."""
HINTS = {
    "lpips": r"vgg16|alexnet|lpips",
    "identity": r"dlib|face_recognition|ir_?se|arcface",
    "dino": r"dino",
    "parsing": r"79999|bisenet|parsing",
}
"""What the names of a guide's files look like: such files are offered first."""


def get_it(kind: str, places: Iterable[Path | str]) -> str:
    """The sentence for weights that are not there."""
    where = " or ".join(str(place) for place in places)
    return (
        f"The {kind} guide needs weights that are not there: put {WANTED[kind]} into {where}. "
        "docs/training.md#guides says where to get them."
    )


def likely_first(kind: str, names: Sequence[str]) -> list[str]:
    """The names, those that look like this guide's files before the others."""
    return sorted(names, key=lambda name: (re.search(HINTS[kind], name.lower()) is None, name))


@dataclass(frozen=True)
class GuideRequest:
    """What `--guide KIND=FILE[+FILE][:WEIGHT]` asks for."""

    kind: str
    files: tuple[str, ...]
    weight: float


def parse_request(text: str) -> GuideRequest:
    """`lpips=vgg16.pth+vgg.pth:0.5`: kind, one or two files, and the weight, by default the suggested one.

    Raises:
        ValueError: it is written in another way.
    """
    kind, equals, rest = text.partition("=")
    match = re.fullmatch(r"(.+?)(?::(\d*\.?\d+))?", rest)
    if kind not in KINDS or not equals or match is None:
        raise ValueError(
            f"{text!r} is no guide; write KIND=FILE or KIND=FILE:WEIGHT, KIND being one of {', '.join(KINDS)}."
        )
    weight = SUGGESTED_WEIGHTS[kind] if match[2] is None else float(match[2])
    return GuideRequest(kind, tuple(match[1].split("+")), weight)

"""Networks by name, on their device, and free names for the files that are saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.assets import SETS, is_embedded
from ..detection.settings import MIN_CONFIDENCE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..faces.types import Detection
    from ..models.discriminator import Discriminator
    from ..models.types import FaceEncoder, FaceGenerator, FaceStylizer

FOLDERS = {
    "generator": "stylegan",
    "discriminator": "stylegan",
    "encoder": "face_encoders",
    "stylizer": "face_stylizers",
}
"""The models folder of each kind of network."""


def load_generator(name: str) -> FaceGenerator:
    """A generator by path, by name in the models folder, or embedded; on the chosen device with its discriminator."""
    return _load("generator", name)


def load_encoder(name: str) -> FaceEncoder:
    """An encoder, found and placed likewise."""
    return _load("encoder", name)


def load_stylizer(name: str) -> FaceStylizer:
    """A fast stylizer, found and placed likewise."""
    return _load("stylizer", name)


def load_discriminator(name: str) -> Discriminator:
    """A discriminator, found and placed likewise."""
    return _load("discriminator", name)


def _load(kind: str, name: str) -> Any:
    network = read_network(kind, name)
    with placed(network, discriminators=True):
        return network


def read_network(kind: str, name: str) -> Any:
    """A network of one of `FOLDERS` by its name in the folder's list, on the CPU until `placed` asks for it."""
    from ..models import checkpoints
    from ..runtime.folders import find_model

    return getattr(checkpoints, f"load_{kind}")(find_model(FOLDERS[kind], name))


def face_finder(
    detector: str = "auto",
    min_confidence: float = MIN_CONFIDENCE,
    download_if_missing: bool = False,
    keep_unsure: bool = False,
) -> Callable[[Tensor], list[Detection]]:
    """The function `photo [3, H, W] -> faces` of a detector; see `detect_faces` for `keep_unsure`."""
    from ..detection.detectors import detect_faces, load_detector
    from ..runtime.folders import model_dirs

    network = load_detector(detector, model_dirs("face_detection"), download_if_missing)
    return partial(detect_faces, network, min_confidence=min_confidence, keep_unsure=keep_unsure)


@contextmanager
def placed(
    *given: FaceGenerator | FaceEncoder | FaceStylizer | nn.Module | None, discriminators: bool = False
) -> Iterator[None]:
    """All these networks, with or without their discriminators, on the device they run on while the block lasts."""
    from ..models.types import FaceEncoder, FaceGenerator, FaceStylizer
    from ..runtime.devices import on_device

    networks: list[Any] = []
    for one in given:
        if isinstance(one, FaceGenerator):
            networks += [one.generator, one.discriminator if discriminators else None]
        else:
            networks.append(one.network if isinstance(one, (FaceEncoder, FaceStylizer)) else one)
    with on_device(*(network for network in networks if network is not None)):
        yield


def find_file(name: str) -> str:
    """A network's file by path, by its name in any of the models folders, or embedded; else the name as it is."""
    from ..runtime.folders import MODEL_EXTENSIONS, find_model

    for kind in MODEL_EXTENSIONS:
        try:
            return find_model(kind, name)
        except ValueError:
            continue
    return name


def own_encoder(source: str) -> str | None:
    """The name of the encoder that ships with a shipped generator; None for any other."""
    return source if source in SETS else None


def source_of(style: str) -> str:
    """The name of the shipped generator that a style belongs to, as far as its name tells."""
    return style.partition(":")[0] if is_embedded(style) else "embedded"


def style_file(name: str) -> str:
    """What `--style` names: an embedded style by its bare name, or whatever a FILE may be.

    Raises:
        ValueError: it is neither.
    """
    from ..runtime.folders import find_model, list_embedded_styles

    styles = list_embedded_styles()
    if name in styles:
        return f"embedded:{name}"
    try:
        return find_model("stylegan", name)
    except ValueError as error:
        raise ValueError(f"{error} The embedded styles are: {', '.join(styles) or 'none'}.") from error


def new_model_file(kind: str, name: str) -> Path:
    """Where a new network of one of `FOLDERS` is written: with a number added where the name is taken."""
    from ..runtime.folders import new_model_path

    return _free(lambda stem: [new_model_path(FOLDERS.get(kind, kind), stem)], name.removesuffix(".safetensors"))[0]


def new_output_files(folder: str, name: str, *suffixes: str) -> list[Path]:
    """Files of this name in a folder of the output folder, none of which exists; the name cannot leave the folder."""
    from ..runtime.folders import find_input

    return _free(lambda stem: [find_input(f"{folder}/{stem}{suffix} [output]") for suffix in suffixes], name)


def new_output_file(folder: str, name: str, suffix: str) -> Path:
    """One such file; `suffix` may be at the end of `name` already."""
    return new_output_files(folder, name.removesuffix(suffix), suffix)[0]


def _free(paths_of: Callable[[str], list[Path]], stem: str) -> list[Path]:
    paths, copies = paths_of(stem), 1
    while any(path.exists() for path in paths):
        copies += 1
        paths = paths_of(f"{stem}-{copies}")
    return paths

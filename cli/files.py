"""Files that several commands read and write: networks, arrays, pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.discriminator import Discriminator
    from ..models.types import FaceEncoder, FaceGenerator, FaceStylizer

DETECTORS = ("auto", "yunet", "embedded")


def load_generator(name: str) -> FaceGenerator:
    """A generator by path, by name in the models folder, or embedded; on the chosen device."""
    from ..models.checkpoints import load_generator as load
    from ..runtime.devices import on_device
    from ..runtime.folders import find_model

    generator = load(find_model("stylegan", name))
    with on_device(generator.generator, *([generator.discriminator] if generator.discriminator else [])) as device:
        return generator.replace(mean_latent=generator.mean_latent.to(device))


def load_encoder(name: str) -> FaceEncoder:
    """An encoder by path, by name in the models folder, or embedded; on the chosen device."""
    from ..models.checkpoints import load_encoder as load
    from ..runtime.devices import on_device
    from ..runtime.folders import find_model

    encoder = load(find_model("face_encoders", name))
    with on_device(encoder.network):
        return encoder


def load_stylizer(name: str) -> FaceStylizer:
    """A fast stylizer by path, by name in the models folder, or embedded; on the chosen device."""
    from ..models.checkpoints import load_stylizer as load
    from ..runtime.devices import on_device
    from ..runtime.folders import find_model

    stylizer = load(find_model("face_stylizers", name))
    with on_device(stylizer.network):
        return stylizer


def load_discriminator(name: str) -> Discriminator:
    """A discriminator by path, by name in the models folder, or embedded; on the chosen device."""
    from ..models.checkpoints import load_discriminator as load
    from ..runtime.devices import on_device
    from ..runtime.folders import find_model

    discriminator = load(find_model("stylegan", name))
    with on_device(discriminator):
        return discriminator


def find_file(name: str) -> str:
    """A network's file by path, by its name in any of the models folders, or embedded; else the name as it is."""
    from ..runtime.folders import MODEL_EXTENSIONS, find_model

    for kind in MODEL_EXTENSIONS:
        try:
            return find_model(kind, name)
        except ValueError:
            continue
    return name


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


def read_array(path: str, shape: Sequence[int | None], meaning: str) -> Tensor:
    """A float array from a `.npy` file, as float32.

    Args:
        path: the file.
        shape: its expected shape, None where any length will do.
        meaning: what it should hold, for the message.

    Raises:
        ValueError: the file is missing, is no such array, or would have to be unpickled.
    """
    import numpy as np
    import torch

    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}. Check the path.")
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is not a .npy array ({error}). Save it with numpy.save.") from error
    fits = isinstance(array, np.ndarray) and array.ndim == len(shape) and array.dtype.kind in "fiu"
    if not fits or any(want is not None and got != want for want, got in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("N" if length is None else str(length) for length in shape)
        given = f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "an archive"
        raise ValueError(f"{path} holds {given}; {meaning} of shape [{wanted}] is needed.")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def write_array(tensor: Tensor, path: str | Path) -> Path:
    """Saves a float32 `.npy` file under exactly this name, and makes its folder."""
    import numpy as np

    from ..models.files import write_atomically

    array = tensor.detach().float().cpu().numpy()
    return write_atomically(Path(path), lambda file: np.save(file, array))


def write_pictures(tensors: Tensor, paths: Iterable[Path]) -> list[Path]:
    """Saves `[N, 3, H, W]` in -1..1 as picture files."""
    from ..runtime.images import tensor_to_image, write_picture

    return [write_picture(image, path) for image, path in zip(tensor_to_image(tensors), paths, strict=True)]


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        ValueError: the file is missing or is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if not path.is_file():
        raise ValueError(f"There is no settings file {path}. Check the path.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML: {error}.") from error


def unique_stems(paths: Sequence[str | Path]) -> list[str]:
    """A name for each file's results: its own, with a number where two files in different folders share it."""
    seen: dict[str, int] = {}
    stems = []
    for path in paths:
        stem = Path(path).stem
        seen[stem] = seen.get(stem, 0) + 1
        stems.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return stems


@contextmanager
def about(subject: object) -> Iterator[None]:
    """Puts the file that an error is about in front of its sentence."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(subject)) else f"{subject}: {said}") from error


def face_finder(
    detector: str, min_confidence: float, download_if_missing: bool = False, keep_unsure: bool = False
) -> Any:
    """`photo [3, H, W] -> faces`, with the detector of this name; see `detect_faces` for `keep_unsure`."""
    from functools import partial

    from ..models.detection import detect_faces, load_detector
    from ..runtime.folders import model_dirs

    network = load_detector(detector, model_dirs("face_detection"), download_if_missing)
    return partial(detect_faces, network, min_confidence=min_confidence, keep_unsure=keep_unsure)


def need(condition: bool, sentence: str) -> None:
    """Ends the command with exit status 2 unless the condition holds."""
    if not condition:
        raise UsageError(sentence)

"""Files that several commands read and write: networks, arrays, pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.assets import SETS, is_embedded
from ..core.settings import parse_toml
from .console import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.discriminator import Discriminator
    from ..models.types import FaceEncoder, FaceGenerator, FaceStylizer

DETECTORS = ("auto", "yunet", "embedded")
BRIGHTEST = 8.0
"""Of pictures without a negative value: those that a network drew are about -1..1, and bytes go to 255."""


def load_generator(name: str) -> FaceGenerator:
    """A generator by path, by name in the models folder, or embedded; on the chosen device."""
    from ..models.checkpoints import load_generator as load
    from ..runtime.devices import on_device
    from ..runtime.folders import find_model

    generator = load(find_model("stylegan", name))
    with on_device(generator.generator, *([generator.discriminator] if generator.discriminator else [])):
        return generator


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


def read_array(path: str, shape: Sequence[int | None], meaning: str) -> Tensor:
    """A float32 array from a file of any kind that `models/checkpoints/arrays.py` reads.

    Args:
        path: the file.
        shape: its expected shape, None where any length will do; a first side that may be of any length may be absent.
        meaning: what it should hold, for the message.

    Raises:
        ValueError: the file is missing, holds no such array or several, or would have to be executed.
    """
    import torch

    from ..models.checkpoints.arrays import find_arrays, read_arrays

    def fits(wanted: Sequence[int | None]) -> Callable[[Tensor], bool]:
        return lambda array: (
            array.ndim == len(wanted)
            and all(length in (None, side) for length, side in zip(wanted, array.shape, strict=True))
        )

    file = Path(path)
    wanted = ", ".join("N" if length is None else str(length) for length in shape)
    needed = f"an array of {meaning}, [{wanted}],"
    parts = find_arrays(file, read_arrays(file)[0], (), [fits(shape), fits(shape[1:])], needed)
    if all(part.ndim == len(shape) for part in parts):
        return torch.cat(parts).float().contiguous()
    return torch.stack(parts).float().contiguous()


def read_images(path: str, size: int, channels: int | None = 3) -> Tensor:
    """Pictures `[N, channels, size, size]` in -1..1 from an array in a file.

    Bytes (uint8) are 0..255 and become -1..1; a last side of three holds the colours, as Pillow and OpenCV have them.

    Raises:
        ValueError: as `read_array`, or the values are no pictures in -1..1.
    """
    import torch

    from ..models.checkpoints.arrays import find_arrays, read_arrays

    def planes(array: Tensor) -> bool:
        return array.ndim in (3, 4) and array.shape[-2:] == (size, size) and channels in (None, array.shape[-3])

    def colours_last(array: Tensor) -> bool:
        return array.ndim in (3, 4) and array.shape[-3:] == (size, size, 3)

    file = Path(path)
    needed = f"an array of pictures [N, {channels or 3}, {size}, {size}] in -1..1"
    parts = find_arrays(file, read_arrays(file)[0], ("images", "image"), [planes, colours_last], needed)
    images = torch.cat([part if part.ndim == 4 else part[None] for part in parts])
    if not planes(images):
        images = images.permute(0, 3, 1, 2)
    if images.dtype == torch.uint8:
        return (images.float() / 127.5 - 1).contiguous()
    images = images.float().contiguous()
    if not bool(torch.isfinite(images).all()):
        raise ValueError(f"{path}: its pictures hold values that are not finite numbers. Make them again.")
    if images.numel() and float(images.min()) >= 0 and float(images.max()) > BRIGHTEST:
        raise ValueError(
            f"{path}: its values go from {float(images.min()):g} to {float(images.max()):g}; {needed} is needed. Save "
            "them as uint8, or as x / 127.5 - 1."
        )
    return images


def write_array(tensor: Tensor, path: str | Path) -> Path:
    """Saves a float32 `.npy` file under exactly this name, and makes its folder."""
    import numpy as np

    from ..core.files import write_atomically

    array = tensor.detach().float().cpu().numpy()
    return write_atomically(Path(path), lambda file: np.save(file, array))


def write_pictures(tensors: Tensor, paths: Iterable[Path], alpha: Tensor | None = None) -> list[Path]:
    """Saves `[N, 3, H, W]` in -1..1 as picture files, with their alpha `[N, H, W]` where it is given."""
    from ..core.pictures import tensor_to_image, with_alpha, write_picture

    images = with_alpha(tensor_to_image(tensors), alpha)
    return [write_picture(image, path) for image, path in zip(images, paths, strict=True)]


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
        ValueError: the file is missing or is not TOML.
    """
    if not path.is_file():
        raise ValueError(f"There is no settings file {path}. Check the path.")
    try:
        # "utf-8-sig" passes over the byte order mark that Windows' editors write.
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not TOML: it is not text in UTF-8. Save it in that encoding.") from error
    except ValueError as error:
        raise ValueError(f"{path} is {error}.") from error


@contextmanager
def error_context(subject: object) -> Iterator[None]:
    """Puts the file that an error is about in front of its sentence."""
    try:
        yield
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(subject)) else f"{subject}: {said}") from error


def require(condition: bool, sentence: str) -> None:
    """Ends the command with exit status 2 unless the condition holds."""
    if not condition:
        raise UsageError(sentence)

"""Files that several commands read and write: arrays, pictures, settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.settings import parse_toml

if TYPE_CHECKING:
    from torch import Tensor

BRIGHTEST = 8.0
"""Of pictures without a negative value: those that a network drew are about -1..1, and bytes go to 255."""


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

"""Latents in files: ours, and those that other projects leave behind. Nothing in a file is ever executed.

Ours is one `.safetensors`: `w_plus [N, num_ws, w_dim]`, `noise.<i> [1 or N, 1, r, r]`, `reconstruction_error [N]` and
`identity_distance [N]` where known, and in the metadata the identity of the W they belong to. Of other projects' files
whatever array has the shape of latents (`arrays.py`): NVIDIA's projector, e4e, PTI, pSp, ReStyle, JoJoGAN, rosinality's
projector.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.files import write_atomically
from ..models.checkpoints.arrays import Fits, find_arrays, read_arrays
from ..models.types import FaceGenerator, FaceLatent, name_of

FORMAT_VERSION = 1
KIND = "set of latents"
CODE_NAMES = (
    "w_plus",
    "wplus",
    "w+",
    "latent",
    "latents",
    "dlatents",
    "dlatent",
    "latent_in",
    "latent_code",
    "latent_codes",
    "ws",
    "w",
    "projected_w",
    "code",
    "codes",
)
"""What the entry with the codes is called in the files of various projects, in order of preference."""
MEASURED = ("reconstruction_error", "identity_distance")
CODE_SIZES = (4, 26)
"""Least and greatest number of codes that a generator has (8 px to 16384 px)."""


def save_latents(latent: FaceLatent, path: str | Path) -> Path:
    """Writes latents whole or not at all; the file's ending chooses the format.

    `.safetensors` keeps everything. `.npy` holds the codes alone, `[N, num_ws, w_dim]` float32, for other programs.

    Raises:
        ValueError: the name has another ending, there are no latents, or the file cannot be written.
    """
    path = Path(path)
    if len(latent) == 0:
        raise ValueError("There are no latents to save: no face was found. Nothing was written.")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, _plain(latent.w_plus).float().numpy())
        return save_bytes(path, buffer.getvalue())
    if suffix != ".safetensors":
        raise ValueError(f"{path}: latents are saved as .safetensors, or as .npy for other programs.")
    from safetensors.torch import save

    tensors = {"w_plus": _plain(latent.w_plus)}
    for index, noise in enumerate(latent.noise or ()):
        tensors[f"noise.{index:02}"] = _plain(noise)
    for name in MEASURED:
        if getattr(latent, name) is not None:
            tensors[name] = _plain(getattr(latent, name))
    return save_bytes(path, save(tensors, our_metadata(KIND, w_space=latent.w_space, generator=latent.generator)))


def load_latents(path: str | Path, generator: FaceGenerator | None = None) -> FaceLatent:
    """The latents in a file, on the CPU, float32 where they are not ours.

    Args:
        path: `.safetensors`, `.npy`, `.npz`, `.pt` or `.pth`; what it is, its contents tell.
        generator: the one they are meant for. They are checked against it, a file that does not say whose they are
            becomes its own, and a single w `[w_dim]` is repeated for its layers.

    Raises:
        ValueError: the file cannot be read without running code, holds no codes, or belongs to another generator.
    """
    path = Path(path)
    arrays, metadata = read_arrays(path)
    if metadata.get("format") == "facestylist":
        latent = _ours(path, arrays, metadata)
    else:
        tiers, needed = _shapes(generator)
        found = find_arrays(path, arrays, CODE_NAMES, tiers, needed)
        parts = [_as_w_plus(path, code, generator) for code in found]
        if len({tuple(part.shape[1:]) for part in parts}) > 1:
            raise ValueError(f"{path}: its latents differ in shape, so they cannot belong to one generator.")
        latent = FaceLatent(torch.cat(parts))
    if not torch.isfinite(latent.w_plus).all():
        raise ValueError(f"{path}: its latents hold values that are not finite numbers. Take another copy of the file.")
    return latent if generator is None else _for(path, latent, generator)


def our_metadata(kind: str, **entries: str) -> dict[str, str]:
    """The metadata of a file of ours that is no network: readers of networks then refuse it by name."""
    return {"format": "facestylist", "format_version": str(FORMAT_VERSION), "kind": kind, "config": "{}", **entries}


def check_ours(path: Path, metadata: Mapping[str, str], kind: str) -> None:
    """Raises ValueError when a file of ours is of another kind or of a newer version than this program's."""
    if metadata.get("kind") != kind:
        raise ValueError(f"{path}: it holds a {metadata.get('kind', 'network')}, not a {kind}. Choose another file.")
    version = metadata.get("format_version", "1")
    if not version.isdecimal() or int(version) > FORMAT_VERSION:
        raise ValueError(
            f"{path}: it has format version {version} and this program reads up to {FORMAT_VERSION}. "
            "Update the node pack."
        )


def save_bytes(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all, and makes its folder.

    Raises:
        ValueError: it cannot be written.
    """
    try:
        return write_atomically(path, data)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}). Choose another folder.") from error


def _plain(tensor: Tensor) -> Tensor:
    # A copy, since safetensors refuses tensors that share memory, as noise maps may.
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _ours(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> FaceLatent:
    check_ours(path, metadata, KIND)
    w_plus = arrays.get("w_plus")
    if not isinstance(w_plus, Tensor) or w_plus.ndim != 3:
        raise ValueError(f"{path}: it is incomplete: `w_plus` is missing. Take another copy of the file.")
    noise = tuple(arrays[name].clone() for name in sorted(arrays) if name.startswith("noise."))
    return FaceLatent(
        w_plus=w_plus.clone(),
        noise=noise or None,
        w_space=metadata.get("w_space", ""),
        **{name: arrays[name].clone() for name in MEASURED if name in arrays},
        generator=metadata.get("generator", ""),
    )


def _sides(shape: Sequence[int]) -> list[int]:
    """A shape without the sides of one that programs leave before the layers; `[]` where it is no shape of latents."""
    sides = list(shape)
    while len(sides) > 3 and 1 in sides[:-2]:
        sides.remove(1)
    return sides if len(sides) <= 3 and 0 not in sides else []


def _is_count(rows: int) -> bool:
    """Whether a generator could have so many codes."""
    return rows % 2 == 0 and CODE_SIZES[0] <= rows <= CODE_SIZES[1]


def _shapes(generator: FaceGenerator | None) -> tuple[list[Fits], str]:
    """What `find_arrays` asks of an array, the likeliest first, and that in words."""

    def single(array: Tensor) -> bool:
        return len(_sides(array.shape)) == 1 or _sides(array.shape)[-2:-1] == [1]

    if generator is None:
        codes: list[Fits] = [lambda array: any(map(_is_count, _sides(array.shape)[-2:-1])), single]
        return codes, "an array of W+ codes [N, layers, length]"
    num_ws, w_dim = generator.num_ws, generator.w_dim
    shapes: list[Callable[[list[int]], bool]] = [
        lambda sides: sides[-2:] == [num_ws, w_dim],
        lambda sides: sides[-1:] == [w_dim] and sides[-2:-1] in ([], [1]),
        # Rows of a number that is no generator's number of codes are a w each.
        lambda sides: len(sides) == 2 and sides[1] == w_dim and not _is_count(sides[0]),
        lambda sides: sides[-1:] == [w_dim] and any(map(_is_count, sides[-2:-1])),
    ]
    fits: list[Fits] = [lambda array, shape=shape: shape(_sides(array.shape)) for shape in shapes]  # type: ignore[misc]
    codes_of = f"W+ codes for the generator {name_of(generator)}"
    return fits, f"an array [N, {num_ws}, {w_dim}] of {codes_of}, or [N, {w_dim}] of w,"


def _as_w_plus(path: Path, code: Tensor, generator: FaceGenerator | None) -> Tensor:
    """`[N, num_ws, w_dim]` float32 of an array of one of the shapes above."""
    sides = _sides(code.shape)
    if len(sides) == 1 or (len(sides) == 2 and generator is not None and not _is_count(sides[0])):
        sides = [sides[0] if len(sides) == 2 else 1, 1, sides[-1]]
    code = code.detach().float().reshape(-1, *sides[-2:])
    if sides[-2] == 1:
        if generator is None:
            raise ValueError(
                f"{path}: it holds one w of length {sides[-1]} for all layers, and only a generator knows how many "
                "there are. Connect the generator."
            )
        code = code.expand(-1, generator.num_ws, -1)
    # A copy: what was read is a view of the file, which may be written over while these are at work.
    return code.clone(memory_format=torch.contiguous_format)


def _for(path: Path, latent: FaceLatent, generator: FaceGenerator) -> FaceLatent:
    """The latents as this generator's, or a sentence saying why they are not."""
    if latent.w_plus.shape[1:] != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"{path}: it holds {latent.w_plus.shape[1]} codes of length {latent.w_plus.shape[2]} per face, but the "
            f"generator {name_of(generator)} ({generator.resolution} px) takes {generator.num_ws} of length "
            f"{generator.w_dim}. Load the generator the latents were found with, or a style of it. (Where each row is "
            "the w of a face of its own, save them as [N, 1, length].)"
        )
    if latent.w_space and latent.w_space != generator.w_space:
        whose = f" {latent.generator!r}" if latent.generator else ""
        raise ValueError(
            f"{path}: its latents belong to another generator{whose} than {name_of(generator)}: the same code means a "
            "different face there. Load the generator they were found with, or a style of it."
        )
    if latent.noise is not None:
        wanted = [shape[2:] for shape in generator.generator.noise_shapes]
        if [noise.shape[2:] for noise in latent.noise] != wanted:
            raise ValueError(f"{path}: its noise does not fit the generator {name_of(generator)}. Load another file.")
    return latent.replace(w_space=generator.w_space, generator=latent.generator or generator.style)

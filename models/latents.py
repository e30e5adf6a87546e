"""Latents in files: ours, and those that other projects leave behind. Nothing in a file is ever executed.

Ours is one `.safetensors`: `w_plus [N, num_ws, w_dim]`, `noise.<i> [1 or N, 1, r, r]` and `reconstruction_error [N]`
where known, and in the metadata the identity of the W they belong to. Read besides: `.npy`, NVIDIA's projector
(`projected_w.npz`), tensors in `.pt` (e4e, PTI), JoJoGAN's `{"latent": ...}` and rosinality's projector.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checkpoints.container import read_contents
from .checkpoints.entries import as_tensor
from .files import write_atomically
from .sampling import name_of
from .types import FaceGenerator, FaceLatent

FORMAT_VERSION = 1
KIND = "set of latents"
NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
UNPACKED_LIMIT = 2**30
"""Bytes that the arrays of an `.npz` may unpack to: thirty thousand W+ codes."""
CODE_NAMES = ("w_plus", "latent", "latents", "latent_in", "latent_code", "w", "ws", "projected_w", "code", "codes")
"""What the entry with the codes is called in the files of various projects, in order of preference."""
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
    if latent.reconstruction_error is not None:
        tensors["reconstruction_error"] = _plain(latent.reconstruction_error)
    return save_bytes(
        path, save(tensors, our_metadata(KIND, w_space=latent.w_space, generator=latent.generator))
    )


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
        found = list(_codes(arrays))
        if not found:
            raise ValueError(
                f"{path}: no latents are in it. Expected is an array of W+ codes [N, layers, length], or an entry "
                f"called {', '.join(CODE_NAMES[:4])} or the like."
            )
        parts = [_as_w_plus(path, code, generator) for code in found]
        if len({tuple(part.shape[1:]) for part in parts}) > 1:
            raise ValueError(f"{path}: its latents differ in shape, so they cannot belong to one generator.")
        latent = FaceLatent(torch.cat(parts))
    if not torch.isfinite(latent.w_plus).all():
        raise ValueError(f"{path}: its latents hold values that are not finite numbers. Take another copy of the file.")
    return latent if generator is None else _for(path, latent, generator)


def read_arrays(path: Path) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Every entry of a file by name, tensors being on the CPU (a bare array is called `w_plus`), and its metadata.

    Raises:
        ValueError: it is missing, damaged, too large once unpacked, or would have to be executed.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Check the path.")
    with path.open("rb") as file:
        head = file.read(len(NPY))
    try:
        if head == NPY:
            # Mapped, a file whose header promises more than it holds is refused before memory is taken.
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return {"w_plus": _tensor(array)}, {}
        if head.startswith(ZIP) and _is_npz(path):
            with np.load(path, allow_pickle=False) as archive:
                return {name: _tensor(archive[name]) for name in archive.files}, {}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} cannot be read as an array ({error}). Arrays of Python objects would have to be executed; save "
            "plain numbers with numpy.save."
        ) from error
    try:
        contents = read_contents(path)
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    if isinstance(contents.data, Tensor):
        return {"w_plus": contents.data.detach()}, {}
    if isinstance(contents.data, Mapping):
        return {str(name): value for name, value in contents.data.items()}, contents.metadata
    if isinstance(contents.data, list | tuple) and all(isinstance(item, Tensor) for item in contents.data):
        return {f"face {index}": {"latent": item} for index, item in enumerate(contents.data)}, {}
    return {}, contents.metadata


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


def _tensor(array: Any) -> Tensor:
    if array.dtype.kind not in "fiu":
        raise ValueError(f"it holds {array.dtype} values, not numbers")
    return torch.from_numpy(np.array(array, dtype=np.float32))


def _is_npz(path: Path) -> bool:
    """Whether a zip file is numpy's; refuses one that would fill the memory."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if not entries or not all(entry.filename.endswith(".npy") for entry in entries):
        return False
    if sum(entry.file_size for entry in entries) > UNPACKED_LIMIT:
        raise ValueError(f"unpacked it would take more than {UNPACKED_LIMIT >> 20} MB")
    return True


def _ours(path: Path, arrays: Mapping[str, Any], metadata: Mapping[str, str]) -> FaceLatent:
    check_ours(path, metadata, KIND)
    w_plus = arrays.get("w_plus")
    if not isinstance(w_plus, Tensor) or w_plus.ndim != 3:
        raise ValueError(f"{path}: it is incomplete: `w_plus` is missing. Take another copy of the file.")
    noise = tuple(arrays[name].clone() for name in sorted(arrays) if name.startswith("noise."))
    error = arrays.get("reconstruction_error")
    return FaceLatent(
        w_plus=w_plus.clone(),
        noise=noise or None,
        w_space=metadata.get("w_space", ""),
        reconstruction_error=None if error is None else error.clone(),
        generator=metadata.get("generator", ""),
    )


def _codes(arrays: Mapping[str, Any]) -> Iterator[Tensor]:
    """The codes in a file of another project: one tensor, or one for each picture that the file is about."""
    by_name = {name.lower(): value for name, value in arrays.items()}
    for name in CODE_NAMES:
        code = as_tensor(by_name.get(name))
        if code is not None:
            yield code
            return
    for value in arrays.values():
        if isinstance(value, Mapping):
            yield from _codes({str(key): entry for key, entry in value.items()})


def _as_w_plus(path: Path, code: Tensor, generator: FaceGenerator | None) -> Tensor:
    """`[N, num_ws, w_dim]` float32 of `[d]`, `[1, d]`, `[L, d]`, `[N, 1, d]` or `[N, L, d]`, leading ones allowed."""
    shape = list(code.shape)
    code = code.detach().float()
    while code.ndim > 3 and code.shape[0] == 1:
        code = code[0]
    if code.ndim in (1, 2) and code.numel() == code.shape[-1]:
        code = code.reshape(1, 1, -1)
    elif code.ndim == 2:
        code = code[None]
    if code.ndim != 3 or code.numel() == 0:
        raise ValueError(f"{path}: its latents have shape {shape}; [N, layers, length] or [layers, length] is needed.")
    if code.shape[1] == 1:
        if generator is None:
            raise ValueError(
                f"{path}: it holds one w of length {code.shape[2]} for all layers ({shape}), and only a generator "
                "knows how many there are. Connect the generator."
            )
        code = code.expand(-1, generator.num_ws, -1)
    elif generator is None and (code.shape[1] % 2 or not CODE_SIZES[0] <= code.shape[1] <= CODE_SIZES[1]):
        raise ValueError(
            f"{path}: its latents have shape {shape}, but a generator has an even number of codes from "
            f"{CODE_SIZES[0]} to {CODE_SIZES[1]} (18 at 1024 px)."
        )
    # A copy: what was read is a view of the file, which may be written over while these are at work.
    return code.clone(memory_format=torch.contiguous_format)


def _for(path: Path, latent: FaceLatent, generator: FaceGenerator) -> FaceLatent:
    """The latents as this generator's, or a sentence saying why they are not."""
    if latent.w_plus.shape[1:] != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"{path}: it holds {latent.w_plus.shape[1]} codes of length {latent.w_plus.shape[2]} per face, but the "
            f"generator {name_of(generator)} ({generator.resolution} px) takes {generator.num_ws} of length "
            f"{generator.w_dim}. Load the generator the latents were found with, or a style of it."
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

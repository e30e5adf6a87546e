"""A folder of style pictures: any size, format and number in, equal squares out, the unusable ones named.

`scan_style_folder` looks at every file once, one at a time, and keeps the crops in a cache on disk; what it returns
reads them when asked. `load_style_folder` is that, read into one tensor.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.picture_files import find_pictures
from ...detection.detectors import detect_faces, load_detector
from ...faces.align import align_faces
from .crop_cache import Crop, CropCache, FileHashes
from .duplicates import DuplicateFinder
from .picture_files import UnusablePicture, read_picture

log = logging.getLogger(__name__)

Align = Callable[[Tensor], Tensor | None]
"""`picture [3, H, W]` in -1..1 to aligned face `[3, S, S]`, or None when it shows no face."""
Progress = Callable[[int, int], None]
"""`(files done, files in all)`; may raise to interrupt."""
NO_FACE = "no face was found in it"
TOLD = 3
"""Skipped files that an error names."""


@dataclass(frozen=True, eq=False)
class StyleImages:
    """What a folder held."""

    images: Tensor
    """`[N, 3, S, S]` in -1..1."""
    paths: tuple[Path, ...]
    """Where each picture came from, N of them."""
    skipped: tuple[tuple[Path, str], ...]
    """Files that were left out and why."""


@dataclass(frozen=True)
class FolderSettings:
    """How a folder is read."""

    size: int
    """Side of the squares, in pixels."""
    skip_duplicates: bool = True
    """Leave out pictures that equal or nearly equal an earlier one."""
    subfolders: bool = False
    """Take the pictures of its subfolders, too."""
    most: int = 0
    """No more pictures than this, spread evenly over the folder; 0 for all."""


@dataclass(frozen=True, eq=False)
class StyleFolder:
    """The usable pictures of a folder; they stay on disk until they are read."""

    folder: Path
    size: int
    paths: tuple[Path, ...]
    """The pictures' files, N of them."""
    skipped: tuple[tuple[Path, str], ...]
    """Files that were left out and why."""
    contents: tuple[str, ...] = field(repr=False)
    """Hash of each picture's file."""
    crop: Callable[[int], Crop] = field(repr=False)
    """Number -> its square, `[S, S, 3]` of 8 bits."""

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int] | None = None) -> Tensor:
        """The squares with these numbers, by default all, as `[N, 3, S, S]` in -1..1."""
        chosen = range(len(self)) if indices is None else indices
        images = torch.empty(len(chosen), 3, self.size, self.size)
        for place, index in enumerate(chosen):
            images[place] = torch.from_numpy(self.crop(index).copy()).permute(2, 0, 1).float() / 127.5 - 1.0
        return images

    def split(self, fraction: float) -> tuple[list[int], list[int]]:
        """(numbers to train on, numbers held out), the latter about this fraction of all.

        Which are held out depends on the pictures alone, not on their names or order. At least one is held out where
        the fraction is above 0, and at least one is left to train on.
        """
        if not 0.0 <= fraction < 1.0:
            raise ValueError(f"The held-out fraction is {fraction}; it has to be at least 0 and below 1.")
        count = min(max(round(len(self) * fraction), 1 if fraction > 0 else 0), len(self) - 1)
        order = sorted(range(len(self)), key=lambda index: hashlib.sha256(self.contents[index].encode()).digest())
        held_out = sorted(order[:count])
        return [index for index in range(len(self)) if index not in set(held_out)], held_out

    def report(self) -> str:
        """How many were taken, and every file that was not with its reason, folder by folder."""
        lines = [f"{len(self.paths)} pictures taken, {len(self.skipped)} left out."]
        places = sorted({path.parent for path in [*self.paths, *(path for path, _ in self.skipped)]})
        for place in places:
            indent = ""
            if len(places) > 1:
                taken = sum(path.parent == place for path in self.paths)
                out = sum(path.parent == place for path, _ in self.skipped)
                name = place.relative_to(self.folder).as_posix()
                lines.append(f"{'this folder' if name == '.' else name + '/'}: {taken} taken, {out} left out")
                indent = "  "
            lines += [f"{indent}{path.name}: {reason}" for path, reason in self.skipped if path.parent == place]
        return "\n".join(lines)


def load_style_folder(
    folder: Path | str, size: int, align: bool | Align = False, skip_duplicates: bool = True
) -> StyleImages:
    """All usable pictures of a folder (not of its subfolders) as one tensor: see `scan_style_folder`."""
    scanned = scan_style_folder(folder, FolderSettings(size, skip_duplicates), align)
    return StyleImages(scanned.read(), scanned.paths, scanned.skipped)


def scan_style_folder(
    folder: Path | str,
    settings: FolderSettings,
    align: bool | Align = False,
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> StyleFolder:
    """Looks at the pictures of a folder, in the order of their names.

    align   True cuts out the largest face that the best detector at hand finds; a callable is asked instead; False
            takes the centred square, so the pictures should already be face portraits.
    cache   a folder in which crops are kept between runs; it may be deleted at any time. Crops of a callable are kept
            only where it has a `fingerprint`, which has to change when its crops would. Without a cache the crops are
            held in memory, at 8 bits.

    Raises ValueError with a sentence when there is no such folder or no usable picture in it.
    """
    folder = Path(folder)
    files = _files(folder, settings)
    aligner = largest_face_aligner(settings.size) if align is True else align or None
    fingerprint = "centre" if aligner is None else getattr(aligner, "fingerprint", "")
    kept = CropCache(cache if fingerprint else None, f"{settings.size} {fingerprint}")
    hashes = FileHashes(cache)
    memory: dict[int, Crop] = {}
    paths: list[Path] = []
    contents: list[str] = []
    skipped: list[tuple[Path, str]] = []
    finder = DuplicateFinder()
    try:
        for number, path in enumerate(files):
            if on_progress is not None:
                on_progress(number, len(files))
            try:
                content = hashes.of(path)
            except OSError as error:
                skipped.append((path, f"it cannot be opened ({error.strerror or error})"))
                continue
            crop = _crop(path, content, settings.size, aligner, kept)
            if isinstance(crop, str):
                skipped.append((path, crop))
                continue
            twin = finder.twin_or_add(crop) if settings.skip_duplicates else None
            if twin is not None:
                equal = contents[twin] == content
                words = "is the same picture as" if equal else "is nearly the same picture as"
                skipped.append((path, f"{words} {_name(paths[twin], path)}"))
                continue
            if cache is None or not fingerprint:
                memory[len(paths)] = crop
            paths.append(path)
            contents.append(content)
    finally:
        # Also when it was interrupted: what was looked at need not be looked at again.
        hashes.save()
    if on_progress is not None:
        on_progress(len(files), len(files))
    for path, reason in skipped:
        log.warning("Skipped style picture %s: %s.", path.name, reason)
    if not paths:
        reasons = "; ".join(f"{path.name} {reason}" for path, reason in skipped[:TOLD])
        raise ValueError(f"None of the {len(files)} pictures in {folder} can be used ({reasons}).")

    def crop_of(index: int) -> Crop:
        if index in memory:
            return memory[index]
        made = _crop(paths[index], contents[index], settings.size, aligner, kept)
        if isinstance(made, str):
            raise ValueError(f"The style picture {paths[index]} was changed while it was in use: {made}.")
        return made

    return StyleFolder(folder, settings.size, tuple(paths), tuple(skipped), tuple(contents), crop_of)


def folder_content(folder: Path | str, subfolders: bool = False, cache: Path | None = None) -> str:
    """A hash of the names and contents of a folder's pictures; files that were not changed are not read again."""
    folder = Path(folder)
    hashes = FileHashes(cache)
    digest = hashlib.sha256()
    for path in find_pictures(folder, subfolders) if folder.is_dir() else []:
        digest.update(path.relative_to(folder).as_posix().encode())
        try:
            digest.update(hashes.of(path).encode())
        except OSError:
            digest.update(b"?")
    hashes.save()
    return digest.hexdigest()


def largest_face_aligner(
    size: int, detector: str = "auto", places: str | Path | Sequence[Path] | None = None
) -> FaceAligner:
    """An `align` that cuts out the largest face, FFHQ-framed at `size` pixels; see `load_detector` for the rest."""
    return FaceAligner(size, partial(detect_faces, load_detector(detector, places)))


class FaceAligner:
    """Cuts out the largest face that `find` finds; an `Align` whose crops can be kept."""

    def __init__(self, size: int, find: Callable[[Tensor], Any]) -> None:
        """`find` is `partial(detect_faces, detector, ...)`; of another function the crops are not kept."""
        self.size, self.find, self.fingerprint = size, find, _fingerprint_of(find)

    def __call__(self, picture: Tensor) -> Tensor | None:
        faces = align_faces(picture[None], self.find, self.size, on_no_face="skip", max_faces=1)
        return faces.crops[0] if len(faces) else None


def detector_fingerprint(detector: object) -> str:
    """A short hash of the weights of a detector, `""` where it has none to tell it by."""
    digest = hashlib.sha256()
    found = False
    for network in _networks(detector):
        for name, tensor in network.state_dict().items():
            found = True
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return f"largest face {digest.hexdigest()[:16]}" if found else ""


def _fingerprint_of(find: Callable[[Tensor], Any]) -> str:
    """That of `partial(detect_faces, detector, ...)`, as nodes and commands make it; its settings belong to it."""
    arguments = getattr(find, "args", ())
    print_ = detector_fingerprint(arguments[0]) if arguments else ""
    return f"{print_} {sorted(getattr(find, 'keywords', {}).items())}" if print_ else ""


def _networks(detector: object) -> Iterator[nn.Module]:
    """The networks in a detector, and in the detectors it asks."""
    if isinstance(detector, nn.Module):
        yield detector
        return
    for value in vars(detector).values() if hasattr(detector, "__dict__") else ():
        parts = value if isinstance(value, (tuple, list)) else (value,)
        for part in parts:
            if isinstance(part, nn.Module) or hasattr(part, "find"):
                yield from _networks(part)


def _files(folder: Path, settings: FolderSettings) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}. Give the folder that holds the style pictures.")
    files = find_pictures(folder, settings.subfolders)
    if not files:
        below = 0 if settings.subfolders else len(find_pictures(folder, subfolders=True))
        if below:
            raise ValueError(
                f"The folder {folder} holds no pictures itself, but its subfolders hold {below}. Turn `subfolders` on, "
                "or give one of them."
            )
        raise ValueError(f"The folder {folder} holds no pictures. Put 10 to 300 style portraits (PNG, JPEG) into it.")
    if 0 < settings.most < len(files):
        files = [files[index * len(files) // settings.most] for index in range(settings.most)]
    return files


def _crop(path: Path, content: str, size: int, align: Align | None, cache: CropCache) -> Crop | str:
    """The square of a picture file, from the cache where it is there, or the reason why it has none."""
    known = cache.get(content)
    if known is not None and (isinstance(known, str) or known.shape == (size, size, 3)):
        return known
    try:
        square = _square(read_picture(path), size, align)
    except UnusablePicture as error:
        # Not kept: a file that a later version of Pillow can read should not stay refused.
        return str(error)
    made: Crop | str = NO_FACE if square is None else _bytes(square)
    cache.put(content, made)
    return made


def _square(picture: Tensor, size: int, align: Align | None) -> Tensor | None:
    """The face, or the centred square, as `[3, size, size]`; None when there is no face."""
    if align is not None:
        aligned = align(picture)
        if aligned is None:
            return None
        picture = aligned.detach().float().cpu()
    side = min(picture.shape[1:])
    top, left = (picture.shape[1] - side) // 2, (picture.shape[2] - side) // 2
    picture = picture[:, top : top + side, left : left + side]
    if side != size:
        picture = torch.nn.functional.interpolate(
            picture[None], size=(size, size), mode="bicubic", antialias=True, align_corners=False
        )[0]
    return picture.clamp(-1.0, 1.0).contiguous()


def _bytes(square: Tensor) -> Crop:
    """8 bits, also where nothing is kept: a picture must not depend on whether its crop was in the cache."""
    pixels: Crop = ((square + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return np.ascontiguousarray(pixels)


def _name(path: Path, seen_from: Path) -> str:
    """A file's name, with its folder where that is another one."""
    return path.name if path.parent == seen_from.parent else f"{path.parent.name}/{path.name}"

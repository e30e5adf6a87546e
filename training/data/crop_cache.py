"""Aligned crops kept on disk, by what is in the picture's file and how it was cut; and which file holds what.

Looking for a face costs a hundred times what reading a crop does, so a folder is only slow the first time. Everything
here may be deleted at any time, also while it is in use: what is missing is made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.files import write_atomically

log = logging.getLogger(__name__)

FORMAT = 1
"""Part of every crop's key: raise it when the same picture and settings make another crop."""
HASHES = "hashes.json"
MOST_HASHES = 200_000
Crop = np.ndarray[Any, np.dtype[np.uint8]]


class FileHashes:
    """SHA-256 of files, read again only where size, time of change or place on the disk are others.

    The time of change (ctime) cannot be set by programs on Unix, so a file that was written over is noticed even where
    its size and modification time were put back.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` keeps them between runs; None for one run only."""
        self._path = None if folder is None else folder / HASHES
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        if self._path is not None:
            try:
                read = json.loads(self._path.read_text(encoding="utf-8"))
                if isinstance(read, dict) and len(read) <= MOST_HASHES:
                    self._known = read
            except (OSError, ValueError):
                pass

    def of(self, path: Path) -> str:
        """The hash of a file's content; raises OSError where it cannot be read."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        key = str(path.absolute())
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 5 and known[:4] == stamp and isinstance(known[4], str):
            return known[4]
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        self._known[key] = [*stamp, digest.hexdigest()]
        self._changed = True
        return digest.hexdigest()

    def save(self) -> None:
        """Writes what was learned; that it cannot be written costs time later and is no error."""
        if self._path is None or not self._changed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self._known)
            write_atomically(self._path, lambda file: file.write(text.encode()))
            self._changed = False
        except OSError as error:
            log.warning("The hashes of picture files could not be kept in %s: %s", self._path, error)


class CropCache:
    """Crops `[S, S, 3]` of 8 bits as PNG files, and the reasons for pictures that gave none."""

    def __init__(self, folder: Path | None, settings: str) -> None:
        """`settings` says how crops are cut, in any words; `folder` None keeps nothing."""
        self._folder, self._settings = folder, f"{FORMAT} {settings}"

    def get(self, content: str) -> Crop | str | None:
        """The crop of the picture with this content hash, or the reason for none; None where nothing is kept."""
        path = self._path(content)
        if path is None:
            return None
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            if data[:1] == b"{":
                return str(json.loads(data)["reason"])
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError, KeyError, TypeError):
            log.warning("The cached crop %s is damaged and is made again.", path)
            return None

    def put(self, content: str, result: Crop | str) -> None:
        """Keeps a crop, or the reason for none; a full disk is no error."""
        path = self._path(content)
        if path is None:
            return
        if isinstance(result, str):
            data = json.dumps({"reason": result}).encode()
        else:
            buffer = io.BytesIO()
            Image.fromarray(result).save(buffer, format="PNG", compress_level=1)
            data = buffer.getvalue()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: file.write(data))
        except OSError as error:
            log.warning("A crop could not be kept in %s (%s); no more are tried.", path.parent, error)
            self._folder = None

    def _path(self, content: str) -> Path | None:
        if self._folder is None:
            return None
        key = hashlib.sha256(f"{self._settings} {content}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.crop"

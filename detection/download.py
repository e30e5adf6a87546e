"""Fetching one file that a person asked for: checked against its SHA-256, and never half there.

Nothing else in this project opens a connection, and nothing here does so on its own: callers ask the person first.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

TIMEOUT = 20.0
"""Seconds without an answer after which an address is given up."""
BLOCK = 1 << 16


class DownloadError(OSError):
    """A file that could not be fetched, with a sentence saying why and what to do."""


class _Refused(Exception):
    """Why one address does not give the file."""


def download(
    urls: Sequence[str],
    target: Path,
    sha256: str,
    largest: int,
    timeout: float = TIMEOUT,
) -> Path:
    """Fetches a file into `target`, whole and verified or not at all (temporary file, fsync, rename).

    Args:
        urls: http or https addresses of the same file, tried in order.
        target: where it goes; its folder is made.
        sha256: what the content has to hash to, in lower-case hex.
        largest: bytes after which an address is given up: nobody gets to fill the disk.
        timeout: seconds to wait for an answer.

    Returns:
        `target`.

    Raises:
        DownloadError: no address gave this file, or it cannot be written.
    """
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise DownloadError(
            f"{target.name} cannot be written into {target.parent} ({error.strerror or error}). Make the folder "
            "writable, or choose another models folder."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            for url in urls:
                file.seek(0)
                file.truncate()
                try:
                    _fetch(url, file, sha256, largest, timeout)
                except _Refused as reason:
                    reasons.append(f"{urlsplit(url).netloc}: {reason}")
                    continue
                file.flush()
                os.fsync(file.fileno())
                break
            else:
                raise DownloadError(
                    f"{target.name} could not be downloaded ({'; '.join(reasons)}). Check the connection and try "
                    f"again, or fetch {urls[-1]} elsewhere and put it into {target.parent}."
                )
        # mkstemp makes private files; this one is for whoever may read the folder.
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    logger.info("%s was downloaded to %s", target.name, target.parent)
    return target


def _fetch(url: str, file: BinaryIO, sha256: str, largest: int, timeout: float) -> None:
    """Writes what `url` gives; `_Refused` when it is not the file."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise _Refused("not a web address")
    digest, size = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "facestylist"})  # noqa: S310 - the scheme is checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            while block := answer.read(BLOCK):
                size += len(block)
                if size > largest:
                    raise _Refused("it sends more than the file has; this is something else")
                digest.update(block)
                file.write(block)
    except urllib.error.HTTPError as error:
        raise _Refused(f"it answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise _Refused(f"no connection ({reason})") from error
    if digest.hexdigest() != sha256:
        raise _Refused("what came is another file than expected (its SHA-256 differs) and was thrown away")

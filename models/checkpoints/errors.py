"""What is raised at a file that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACCEPTED = (
    "Accepted are NVIDIA stylegan2-ada-pytorch .pkl, rosinality stylegan2-pytorch .pt and what was fine-tuned from it, "
    "pSp, e4e and ReStyle encoders, ArcFace's and dlib's face recognition, and this project's .safetensors"
)


class CheckpointError(ValueError):
    """A file that cannot be used, with a sentence saying why and what to do."""


class CorruptFile(ValueError):
    """The instructions do not make sense; the text says where."""


class TruncatedFile(CorruptFile):
    """The data ends before what it announces."""


@contextmanager
def in_words(file: Path | None = None) -> Iterator[None]:
    """Whatever a reader raises becomes a CheckpointError with a sentence, which begins with the file where it is given.

    It decorates a function, too.
    """
    prefix = "" if file is None else f"{file}: "
    try:
        yield
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
        OSError,
    ) as error:
        if isinstance(error, CheckpointError) and str(error).startswith(prefix):
            raise
        raise CheckpointError(prefix + _sentence(error)) from error


def _sentence(error: Exception) -> str:
    if isinstance(error, CheckpointError):
        return str(error)
    if isinstance(error, TruncatedFile):
        return f"it is cut off, as after an interrupted download ({error}). Download it again."
    if isinstance(error, CorruptFile):
        return f"it is damaged or not a checkpoint ({error}). Download it again, or take another copy."
    if isinstance(error, OSError):
        return f"it cannot be read ({error.strerror or error}). Check its permissions."
    # Data that no check foresaw: nothing was run.
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if not reason.isprintable():
        reason = reason.encode("unicode_escape").decode()
    return f"it is incomplete or damaged ({reason}). Download it again, or take another copy."

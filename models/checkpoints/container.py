"""Reads a file from disk as plain data, whatever it is called: safetensors, PyTorch (zip or legacy) or pickle."""

from __future__ import annotations

import argparse
import json
import pickle  # noqa: S403 - for the exception type
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from .contents import CheckpointError, Contents
from .pickles import load_restricted

ACCEPTED = (
    "Accepted are NVIDIA stylegan2-ada-pytorch .pkl, rosinality stylegan2-pytorch .pt, and this project's .safetensors"
)
SAFETENSORS_HEADER_LIMIT = 100_000_000
LEGACY_TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850")


def read_contents(path: Path) -> Contents:
    """The data in `path`; its kind is told by its first bytes, not by its name.

    Raises:
        CheckpointError: it is missing, unreadable, damaged, no container we know, or asks to run code.
    """
    if path.is_dir():
        raise CheckpointError("this is a folder. Choose the checkpoint file inside it.")
    if not path.is_file():
        raise CheckpointError("there is no such file.")
    with path.open("rb") as file:
        head = file.read(32)
    if head[:4] == b"PK\x03\x04":
        return Contents(path, "torch", _read_torch(path, mmap=True))
    # Asked before the pickles: the header's length may well begin with the byte that every pickle begins with.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < SAFETENSORS_HEADER_LIMIT:
        return _read_safetensors(path)
    if head[:1] == b"\x80" and LEGACY_TORCH_MAGIC in head:
        return Contents(path, "torch", _read_torch(path, mmap=False))
    if head[:1] == b"\x80":
        with path.open("rb") as file:
            return Contents(path, "pickle", load_restricted(file))
    raise CheckpointError(f"this is not a checkpoint. {ACCEPTED}.")


def _read_torch(path: Path, mmap: bool) -> Any:
    # Training files keep their command line as argparse.Namespace: a bag of attributes, so it is let through as data.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"the Python object `{found.group(1)}`" if found else "Python objects"
        raise CheckpointError(
            f"it holds {what} and not only tensors; loading that could run code, so it was not loaded. "
            "Save the state dict alone (`torch.save(network.state_dict(), ...)`)."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"it is damaged or not a checkpoint ({reason}).") from error


def _read_safetensors(path: Path) -> Contents:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            data = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"it is damaged or not a checkpoint ({error}).") from error
    return Contents(path, "safetensors", data, metadata)

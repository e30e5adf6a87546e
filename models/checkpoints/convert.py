"""Any readable checkpoint into this project's own format, and networks of ours into the public layouts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from ..irse import ArcFace
from . import (
    CheckpointInfo,
    inspect,
    load_discriminator,
    load_encoder,
    load_generator,
    load_identity,
    save_encoder,
    save_generator,
    save_identity,
)
from .errors import CheckpointError
from .export import (
    LAYOUTS,
    discriminator_to_nvidia,
    discriminator_to_rosinality,
    extra_options,
    to_arcface,
    to_nvidia,
    to_psp,
    to_rosinality,
)
from .formats.facestylist import save_bytes, write

OURS = "facestylist"


def convert(path: str | Path, out: Path, layout: str = OURS, half: bool = False) -> CheckpointInfo:
    """Reads a checkpoint and writes it in another layout; what it was comes back.

    Args:
        path: any readable checkpoint, or the name of a shipped network.
        out: the new file; `.safetensors` for our own format, `.pt` for the others. Replaced whole where it exists.
        layout: "facestylist" (everything in the file: generator, discriminator, mean latent, or an encoder with its
            generator), "rosinality" or "nvidia" (a generator and its discriminator, or one alone, as state dicts),
            "psp" (an encoder of pSp, e4e or ReStyle and the generator with it), "arcface" (an ArcFace network).
        half: 16-bit numbers; only for our own format.

    Raises:
        CheckpointError: the file cannot be read or written, or the layout has no place for what is in it.
    """
    wanted = ".safetensors" if layout == OURS else ".pt"
    if layout not in (OURS, *LAYOUTS):
        raise CheckpointError(f"{layout!r} is no layout. Choose {OURS}, {' or '.join(LAYOUTS)}.")
    if out.suffix.lower() != wanted:
        raise CheckpointError(f"{out}: a file in {layout}'s layout ends in {wanted}. Give a name that ends so.")
    info = inspect(path)
    if layout == OURS:
        _to_ours(path, info, out, half)
    else:
        _to_public(path, info, out, layout)
    return info


def public_layout(info: CheckpointInfo) -> str:
    """The public layout that most programs read such a file in."""
    return {"encoder": "psp", "embedding": "arcface"}.get(info.kind, "rosinality")


def _to_ours(path: str | Path, info: CheckpointInfo, out: Path, half: bool) -> None:
    if info.kind == "encoder":
        encoder = load_encoder(path)
        generator = load_generator(path) if info.has_generator else None
        save_encoder(encoder, out, dict(encoder.provenance), half=half, generator=generator)
    elif info.kind == "embedding":
        save_identity(load_identity(path), out, _text(info))
    elif info.kind == "generator":
        loaded = load_generator(path)
        save_generator(loaded, out, dict(loaded.provenance), half=half)
    elif info.kind == "discriminator":
        write(out, "discriminator", {"discriminator": load_discriminator(path)}, _text(info), half)
    else:
        raise CheckpointError(f"{path}: it holds a {info.kind}, which is in our format already.")


def _text(info: CheckpointInfo) -> dict[str, Any]:
    return {**info.metadata, "origin_family": info.family, "licence": info.licence}


def _to_public(path: str | Path, info: CheckpointInfo, out: Path, layout: str) -> None:
    if layout == "arcface":
        network = load_identity(path) if info.kind == "embedding" else None
        if not isinstance(network, ArcFace):
            raise _misplaced(path, layout, "an ArcFace network", "dlib" if network else info.kind)
        _save(to_arcface(network), out)
        return
    if layout == "psp":
        if info.kind != "encoder":
            raise _misplaced(path, layout, "an encoder", info.kind)
        encoder = load_encoder(path)
        content = to_psp(encoder, load_generator(path) if info.has_generator else None)
        _save({**content, "provenance": dict(encoder.provenance)}, out)
        return
    if info.kind == "discriminator":
        discriminator = load_discriminator(path)
        key, state = ("d", discriminator_to_rosinality) if layout == "rosinality" else ("D", discriminator_to_nvidia)
        _save({key: state(discriminator), **extra_options(None, discriminator.config)}, out)
        return
    if not info.has_generator:
        raise CheckpointError(f"{path}: it holds no generator, and {layout}'s layout is for generators.")
    loaded = load_generator(path)
    content = to_rosinality(loaded) if layout == "rosinality" else to_nvidia(loaded)
    _save({**content, "provenance": dict(loaded.provenance)}, out)


def _misplaced(path: str | Path, layout: str, wanted: str, found: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: {layout}'s layout is for {wanted}; the file's kind is {found!r}. Choose another layout."
    )


def _save(content: dict[str, Any], out: Path) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    save_bytes(out, buffer.getbuffer())


def report(info: CheckpointInfo) -> str:
    """What a checkpoint is, a line for each fact, for people."""
    channels = ", ".join(f"{resolution}: {width}" for resolution, width in info.channels.items())
    facts = {
        "family": info.family,
        "kind": info.kind,
        "resolution": f"{info.resolution} px",
        "num_ws": info.num_ws,
        "channels": channels,
        "parameters": f"{info.parameters:,}",
        "missing": "; ".join(info.missing),
        "licence": info.licence,
    }
    lines = [f"{name}: {value}" for name, value in facts.items() if value not in (None, "")]
    return "\n".join([*lines, *(f"{name}: {value}" for name, value in info.metadata.items())])

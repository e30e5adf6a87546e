"""A guide from the user's files, read as every checkpoint is: nothing in them is executed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ...models.checkpoints import load_identity
from ...models.checkpoints.guides import dino_from_state, find_lpips_linear, load_bisenet, load_dino, load_lpips
from .hints import KINDS, SUGGESTED_WEIGHTS
from .networks import DinoGuide, IdentityGuide, LpipsGuide, NetworkGuide, ParsingGuide

LPIPS_PACKAGES = {"lpips": "weights/v0.1", "torchmetrics": "functional/image/lpips_models"}
"""Packages that bring the linear layers along, and the folder they are in."""


def open_guide(
    kind: str, files: Sequence[str | Path], weight: float | None = None, places: Sequence[Path] = ()
) -> NetworkGuide:
    """A guide by its name, with the network in the user's files.

    kind    one of KINDS.
    files   one file; for lpips the backbone and the linear layers, which may be left out where they are in the same
            file, in `places`, or in an installed lpips or torchmetrics.
    weight  how strongly it pulls; None takes the suggested one.
    places  folders in which lpips' linear layers are looked for.

    Raises:
        CheckpointError: a file cannot be used; ValueError: there is no such guide, or too many files.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no guide {kind!r}; the guides are {', '.join(KINDS)}.")
    most = 2 if kind == "lpips" else 1
    if not 1 <= len(files) <= most:
        raise ValueError(f"The {kind} guide takes {'one file or two' if most == 2 else 'one file'}, not {len(files)}.")
    pull = SUGGESTED_WEIGHTS[kind] if weight is None else weight
    if kind == "lpips":
        backbone = files[0]
        linear = files[1] if len(files) > 1 else find_lpips_linear(backbone, _linear_candidates(places))
        return LpipsGuide(load_lpips(backbone, linear), pull)
    if kind == "identity":
        return IdentityGuide(load_identity(files[0]), pull)
    if kind == "dino":
        return DinoGuide(load_dino(files[0]), pull)
    return ParsingGuide(load_bisenet(files[0]), pull)


def dino_guide_of(state: Mapping[str, Tensor], weight: float) -> DinoGuide:
    """The dino guide with the network of this state dict, such as ComfyUI's CLIP_VISION has.

    Raises:
        CheckpointError: it is another network.
    """
    return DinoGuide(dino_from_state(state), weight)


def _linear_candidates(places: Sequence[Path]) -> list[Path]:
    """Files that may be LPIPS' linear layers: the user's own first, then those of installed packages."""
    found = [path for place in places if place.is_dir() for path in sorted(place.rglob("*"))]
    for package, folder in LPIPS_PACKAGES.items():
        # Only located, never imported: both packages load much more than these files.
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            continue
        for root in (spec.submodule_search_locations or []) if spec else []:
            found += [Path(root) / folder / f"{name}.pth" for name in ("vgg", "alex")]
    return found

"""What fine-tuning takes: which generators, pictures of which shape, which of them are held back, and how it knows them
again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.types import FaceGenerator, device_of
from .duplicates import DuplicateFinder

FEW = 10
"""Of fewer different style pictures a person is warned."""


def check_source(source: FaceGenerator) -> None:
    """Raises ValueError with a sentence when a generator cannot be fine-tuned."""
    if source.discriminator is None:
        raise ValueError(
            "This generator comes without its discriminator, and a new one cannot learn from so few pictures. Load a "
            "checkpoint that holds both (a training checkpoint, not one saved for use), or start from the embedded one."
        )
    if source.discriminator.config.resolution != source.resolution:
        raise ValueError(
            f"The generator makes pictures of {source.resolution} px but its discriminator reads "
            f"{source.discriminator.config.resolution} px; load the two that were trained together."
        )
    if source.generator.config.c_dim or source.discriminator.config.c_dim:
        raise ValueError("This generator is conditional (it takes a class); only unconditional ones can be fine-tuned.")


def prepare_style_images(style_images: Tensor, source: FaceGenerator) -> Tensor:
    """`[N, 3, R, R]` float32, on the source's device at its resolution; ValueError when the pictures do not fit."""
    if style_images.ndim != 4 or style_images.shape[1] != 3 or style_images.shape[2] != style_images.shape[3]:
        raise ValueError(
            f"The style pictures have shape {tuple(style_images.shape)}; square RGB pictures [N, 3, S, S] are needed."
        )
    if style_images.shape[0] == 0:
        raise ValueError("There are no style pictures. Give at least one, better 10 to 300.")
    pictures = style_images.detach().to(device_of(source), torch.float32).clone()
    if not torch.isfinite(pictures).all():
        raise ValueError("The style pictures hold values that are not finite numbers; load them again.")
    if pictures.shape[2] != source.resolution:
        size = (source.resolution, source.resolution)
        pictures = F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False)
    return pictures.clamp(-1.0, 1.0)


def too_few(pictures: Tensor) -> str:
    """A sentence for a person where `[N, 3, S, S]` hold fewer than `FEW` different pictures, else `""`."""
    known = DuplicateFinder()
    for picture in pictures:
        known.twin_or_add(((picture.detach() + 1.0) * 127.5).clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy())
        if len(known) == FEW:
            return ""
    few = f"{len(known)} different style picture{'s' if len(known) > 1 else ''}"
    alike = f" ({len(pictures)} were given, the others show the same)" if len(known) < len(pictures) else ""
    return (
        f"Only {few}{alike}: what is shown is learned with how it is drawn, and faces come out alike. Give {FEW} to "
        "300 different ones; with fewer, lower `steps` and look at the previews."
    )


def split_pictures(pictures: Tensor, share: float) -> tuple[list[int], list[int]]:
    """(numbers to train on, numbers held back), the latter about this share of all and at least one.

    Which are held back depends on the pictures alone, not on their order. ValueError where none would be left.
    """
    if len(pictures) < 2:
        raise ValueError("`validation` holds pictures back, but there is only one. Give more, or set it to 0.")
    count = min(max(round(len(pictures) * share), 1), len(pictures) - 1)
    order = sorted(range(len(pictures)), key=lambda index: digest([pictures[index]]))
    held_back = sorted(order[:count])
    return sorted(order[count:]), held_back


def digest(tensors: Iterable[Tensor]) -> str:
    """A short hash of the values of tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]

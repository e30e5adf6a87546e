"""What a stylisation did to some faces, in numbers: how well they were inverted, what happened to their structure, and
how near the result is to the style's pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ...latents.encoding import mean_squared_error, resize
from ...latents.sampling import sample_latent, synthesise
from ...models.discriminator import Discriminator
from ...models.types import FaceGenerator, FaceLatent, device_of
from ..losses.distances import d_kid, sliced_patch_distance, structure_distance
from ..losses.reconstruction import frozen_discriminator, peak_signal_to_noise
from ..losses.semantic import feature_loss, self_similarity_loss

FRESH_FACES = 48
"""Faces sampled from a style to compare with its pictures: a few inverted ones say little about a style."""
LEAST_PICTURES = 8
"""Fewer pictures have no distribution to speak of, and distances of sets are not measured."""


@dataclass(frozen=True)
class StyleNumbers:
    """One style, or one set of stylised pictures. None: it could not be measured, see `notes` of the report."""

    name: str
    structure_distance: float | None = None
    """Between the faces as inverted and as stylised, in the discriminator's features; 0 nothing moved."""
    semantic_feature: float | None = None
    semantic_self: float | None = None
    """The unweighted terms L_feat and L_self of the semantic constraint, at these faces' codes."""
    patch_distance: float | None = None
    """Sliced Wasserstein distance of patches to the style's pictures."""
    d_kid: float | None = None
    """Kernel distance to the style's pictures in the discriminator's features; not comparable with FID or KID."""


@dataclass(frozen=True)
class Report:
    """Everything that the picture shows in numbers, ready for JSON."""

    faces: int
    reconstruction_error: tuple[float, ...]
    """Mean squared error of each face as inverted, pictures in -1..1."""
    psnr: float | None
    """Mean over the faces, in dB."""
    identity_distance: tuple[float, ...] | None
    """Of each face from its reconstruction, see `FaceLatent`; None where it was not measured."""
    styles: tuple[StyleNumbers, ...]
    style_pictures: int
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite are left out."""
        plain: dict[str, Any] = asdict(self)
        return plain


@torch.no_grad()
def measure_style(
    source: FaceGenerator,
    style: FaceGenerator,
    latent: FaceLatent,
    style_pictures: Tensor | None = None,
    name: str = "",
) -> StyleNumbers:
    """The numbers of a style generator at the given faces `latent`, against `style_pictures [M, 3, S, S]`."""
    device, discriminator = device_of(style), frozen_discriminator(source, 1.0)
    w_plus = latent.w_plus.to(device)
    before, after = synthesise(source, latent).clamp(-1, 1), synthesise(style, latent).clamp(-1, 1)
    terms = [
        (float(feature_loss(t, s)), float(self_similarity_loss(t, s)))
        for part in w_plus.split(8)
        for t, s in [[g.generator.synthesis(part, return_features=True)[1] for g in (style, source)]]
    ]
    patch = kid = None
    if style_pictures is not None:
        fresh = synthesise(style, sample_latent(style, range(FRESH_FACES))).clamp(-1, 1).cpu()
        patch, kid = _style_distances(fresh, style_pictures, discriminator)
    return StyleNumbers(
        name or style.style,
        _structure(discriminator, before, after),
        _finite(sum(t[0] for t in terms) / len(terms)) if terms else None,
        _finite(sum(t[1] for t in terms) / len(terms)) if terms else None,
        patch,
        kid,
    )


@torch.no_grad()
def measure_pictures(
    source: FaceGenerator, latent: FaceLatent, stylised: Tensor, style_pictures: Tensor | None = None, name: str = ""
) -> StyleNumbers:
    """The same for pictures `[N * K, 3, S, S]` of the faces that were made in any other way, K of each."""
    discriminator = frozen_discriminator(source, 1.0)
    before = synthesise(source, latent).clamp(-1, 1)
    pictures = resize(stylised.to(before), source.resolution)
    repeats = len(pictures) // max(len(before), 1)
    patch = kid = None
    if style_pictures is not None:
        patch, kid = _style_distances(pictures.cpu(), style_pictures, discriminator)
    return StyleNumbers(
        name, _structure(discriminator, before.repeat_interleave(repeats, 0), pictures), None, None, patch, kid
    )


@torch.no_grad()
def make_report(
    images: Tensor,
    source: FaceGenerator,
    latent: FaceLatent,
    styles: Mapping[str, FaceGenerator],
    stylised: Mapping[str, Tensor] | None = None,
    style_pictures: Tensor | None = None,
) -> Report:
    """The numbers of some faces `[N, 3, S, S]` (-1..1, aligned), of styles, and of pictures made otherwise.

    Raises:
        ValueError: there are not as many latents as faces, or the stylised pictures are no multiple of them.
    """
    if len(images) != len(latent) or not len(latent):
        raise ValueError(
            f"The report was given {len(images)} faces and {len(latent)} latents; it needs the latent of each face, in "
            "the same order, and at least one."
        )
    for name, pictures in (stylised or {}).items():
        if len(pictures) % len(latent):
            raise ValueError(
                f"{len(pictures)} pictures in `{name}` do not belong to {len(latent)} faces: give as many for each."
            )
    prediction = synthesise(source, latent)
    error = mean_squared_error(prediction, resize(images.to(prediction), source.resolution))
    distances, notes = latent.identity_distance, []
    if frozen_discriminator(source, 1.0) is None:
        notes.append("The source has no discriminator: structure distance and D-KID were not measured.")
    if style_pictures is None:
        notes.append("No style pictures were given: distances to the style were not measured.")
    elif min(len(style_pictures), *(len(p) for p in (stylised or {}).values()), LEAST_PICTURES) < LEAST_PICTURES:
        notes.append(f"Sets of fewer than {LEAST_PICTURES} pictures have no distance to a style.")
    rows = [measure_style(source, style, latent, style_pictures, name) for name, style in styles.items()]
    rows += [
        measure_pictures(source, latent, pictures, style_pictures, name) for name, pictures in (stylised or {}).items()
    ]
    return Report(
        faces=len(latent),
        reconstruction_error=tuple(float(e) for e in error),
        psnr=_finite(float(peak_signal_to_noise(error).mean())),
        identity_distance=None if distances is None else tuple(float(d) for d in distances),
        styles=tuple(rows),
        style_pictures=0 if style_pictures is None else len(style_pictures),
        notes=tuple(notes),
    )


def _structure(discriminator: Discriminator | None, before: Tensor, after: Tensor) -> float | None:
    return None if discriminator is None else _finite(float(structure_distance(discriminator, before, after).mean()))


def _style_distances(
    prediction: Tensor, target: Tensor, discriminator: Discriminator | None
) -> tuple[float | None, float | None]:
    if min(len(prediction), len(target)) < LEAST_PICTURES:
        return None, None
    target = resize(target.to(prediction), prediction.shape[2])
    return (
        _finite(sliced_patch_distance(prediction, target)),
        None if discriminator is None else _finite(d_kid(discriminator, prediction, target)),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

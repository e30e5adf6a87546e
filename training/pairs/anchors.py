"""Anchors: source codes whose faces have the structure of given style pictures ("destylisation", DualStyleGAN).

A pair of such a face and the style picture itself is the only kind whose target is truly of the style. Two ways to the
codes, and they combine: an encoder trained on photos reads a drawing as the photo it would be of; and since a style
shares W with its source, the code with which the style draws the picture best is a code of the source too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...latents.encoding import check_pictures, resize
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent, device_of
from ..inversion.search import invert_by_optimisation
from ..inversion.settings import InversionConfig
from .candidates import PicturesWithLatents

REFERENCE_FACES = 128
SEED = 5
BATCH = 16


def destylise(
    source: FaceGenerator,
    style: FaceGenerator | None,
    pictures: Tensor,
    encoder: FaceEncoder | None = None,
    steps: int = 0,
    centre: bool = True,
    callbacks: Callbacks | None = None,
    photos: Tensor | None = None,
) -> PicturesWithLatents:
    """Style pictures with codes of the source generator that keep their structure, as `make_pairs` takes them.

    Args:
        source: the generator before the style.
        style: the one after it, or a first attempt; None where an encoder alone has to do.
        pictures: aligned style pictures `[N, 3, S, S]` in -1..1.
        encoder: reads the first codes; without one the search starts from the mean.
        steps: of search for the code with which `style` draws the picture best; 0 keeps the encoder's codes.
        centre: move the encoder's codes so that their mean is that of its codes of the source's own faces. A style
            with large eyes is then not read as a set of people with large eyes.
        callbacks: of the search.
        photos: `[N, 3, S, S]` of the people in the pictures, where they are known: the encoder reads these.

    Raises:
        ValueError: neither an encoder nor a search is given, the networks do not fit, or photos are missing.
    """
    check_pictures(pictures)
    if photos is not None and (encoder is None or photos.shape[0] != pictures.shape[0]):
        raise ValueError(
            f"There are {len(photos)} photos for {len(pictures)} style pictures; give one of each, and an encoder."
        )
    if encoder is None and (style is None or steps == 0):
        raise ValueError(
            "Nothing can find the faces behind the style pictures: give an encoder of the source generator, or a "
            "style generator and some steps of search."
        )
    with torch.inference_mode(False):
        pictures = resize(pictures.detach().float().clone(), source.resolution).clamp(-1.0, 1.0)
        start: FaceLatent | None = None
        if encoder is not None:
            w_plus = _read(encoder, pictures if photos is None else photos.detach().float())
            if w_plus.shape[1:] != (source.num_ws, source.w_dim):
                raise ValueError(
                    f"The encoder reads {tuple(w_plus.shape[1:])} codes and this generator takes "
                    f"{(source.num_ws, source.w_dim)}; load the encoder that belongs to it."
                )
            if centre:
                w_plus = w_plus + (_read(encoder, _own_faces(source)).mean(0) - w_plus.mean(0))
            start = FaceLatent(w_plus=w_plus, w_space=source.w_space, generator=source.style)
        if style is not None and steps:
            settings = InversionConfig(steps=steps, preview_interval=0)
            start = invert_by_optimisation(pictures.to(device_of(style)), style, start, settings, callbacks)
            start = replace(start, noise=None, w_space=source.w_space, generator=source.style)
        assert start is not None  # noqa: S101 - one of the two ways was taken
        return PicturesWithLatents(start, pictures)


@torch.no_grad()
def _read(encoder: FaceEncoder, pictures: Tensor) -> Tensor:
    device = next(encoder.network.parameters()).device
    seen = resize(pictures, encoder.resolution).to(device)
    return torch.cat([encoder.network(part).float().cpu() for part in seen.split(BATCH)])


@torch.no_grad()
def _own_faces(source: FaceGenerator) -> Tensor:
    random = torch.Generator().manual_seed(SEED)
    z = torch.randn(REFERENCE_FACES, source.generator.config.z_dim, generator=random).to(device_of(source))
    network = source.generator
    parts = network.broadcast(network.mapping(z)).split(BATCH)
    return torch.cat([network.synthesis(part).float().clamp(-1.0, 1.0).cpu() for part in parts])

"""The look of a reference picture as a code of the style generator, for faces that are to be drawn in that look.

The reference `s` is read in W+ of the style generator `G_t` (from an encoder's answer, the nearest known picture or the
mean), with a discriminator's features as the metric [JoJoGAN, Chong & Forsyth, arXiv 2112.11641]:

    w_s = argmin |D_l(G_t(w)) - D_l(s)|_1 + |pool64(G_t(w)) - pool64(s)|_1 + 0.01 |w - wbar|^2

Its appearance codes then replace those of the face (`latents/appearance.py`), as in DualStyleGAN (arXiv 2203.13248).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.callbacks import Callbacks
from ...latents.appearance import layer_amounts, resolve_layer_cut, swap_appearance
from ...latents.encoding import check_pictures, invert_with_encoder, resize
from ...latents.settings import ApplyConfig
from ...models.discriminator import Discriminator
from ...models.types import FaceEncoder, FaceGenerator, FaceLatent, device_of, name_of
from ..losses.reconstruction import discriminator_features, feature_distance, frozen_discriminator
from .search import Judge, PartwiseSearch, SearchContext
from .settings import InversionConfig, ReferenceConfig

POOLED = 64
"""Pixels are compared at this size: what is where in which colour, and no single line."""


@dataclass(frozen=True, eq=False)
class Anchors:
    """Style pictures whose codes are known: what a reference is compared with where there is nothing better."""

    latent: FaceLatent
    """`[A, num_ws, w_dim]` codes of the style generator's W."""
    pictures: Tensor
    """`[A, 3, S, S]`, -1..1: the pictures they stand for."""

    def __post_init__(self) -> None:
        check_pictures(self.pictures)
        if len(self.latent) != len(self.pictures):
            raise ValueError(
                f"There are {len(self.latent)} anchor latents and {len(self.pictures)} anchor pictures; each latent "
                "needs its picture, in the same order."
            )


def encode_reference(
    pictures: Tensor,
    style: FaceGenerator,
    config: ReferenceConfig | None = None,
    source: FaceGenerator | None = None,
    encoder: FaceEncoder | None = None,
    anchors: Anchors | None = None,
    callbacks: Callbacks | None = None,
) -> FaceLatent:
    """Codes of reference pictures `[N, 3, S, S]` (-1..1, aligned): one for each, or their average.

    Args:
        style: the generator that is to draw in their look.
        source: what it was fine-tuned from; its discriminator's features are used where the style has none.
        encoder: where the search begins: any encoder for this W, best one trained for the style.
        anchors: without an encoder, the search begins at the nearest of these; without both, at the mean.
        callbacks: progress, previews (row: target, row: found), a question whether to stop, after which the best so
            far is the result.

    Returns:
        Latents with each reference's mean squared error (the average of several has none). Works under
        `torch.inference_mode()`.

    Raises:
        ValueError: the pictures do not fit, the encoder or the anchors belong to another generator, or there are
            neither steps nor anything to begin with.
    """
    config, callbacks = config or ReferenceConfig(), callbacks or Callbacks()
    check_pictures(pictures)
    if config.steps == 0 and encoder is None and anchors is None:
        raise ValueError(
            "With `steps` at 0 there is nothing to read the reference with. Connect an encoder or "
            "anchors, or raise `steps`."
        )
    with torch.inference_mode(False), torch.enable_grad():
        discriminator = frozen_discriminator(style, config.feature_weight)
        if discriminator is None and source is not None and source.resolution == style.resolution:
            discriminator = frozen_discriminator(source, config.feature_weight)
        if config.steps and discriminator is None and config.pixel_weight == 0.0:
            raise ValueError(
                "`pixel_weight` is 0 and neither generator has a discriminator: nothing is compared. Raise "
                "`pixel_weight`, or connect a source with its discriminator."
            )
        device = device_of(style)
        target = resize(pictures.detach().to(device, torch.float32).clone(), style.resolution)
        search = InversionConfig(
            steps=max(config.steps, 1),
            learning_rate=config.learning_rate,
            delta_penalty=0.0,
            batch_size=config.batch_size,
            preview_interval=config.preview_interval,
            seed=config.seed,
        )
        context = SearchContext(style, search, judge=_judge_of(discriminator, config))
        start = FaceLatent(_start(target, style, encoder, anchors, discriminator))
        found = PartwiseSearch(target, context, start).run(config.steps, callbacks)
    w_plus, error = found.w_plus, found.reconstruction_error
    if config.several == "average" and len(w_plus) > 1:
        w_plus, error = w_plus.mean(0, keepdim=True), None
    return FaceLatent(w_plus, None, style.w_space, error, style.style)


def apply_reference(
    generator: FaceGenerator, faces: FaceLatent, reference: FaceLatent, config: ApplyConfig | None = None
) -> FaceLatent:
    """Every face with the look of every reference, all references of the first face first.

    `[w_c[:m], (1 - amount) w_c[m:] + amount w_s[m:]]`, and with `structure` the same from code 4 to m. An `amount` and
    a `structure` of 0 are the identity, to the bit. Raises ValueError when the latents belong to different generators.
    """
    config = config or ApplyConfig()
    cut = resolve_layer_cut(generator, config.layer_cut)
    amounts = layer_amounts(generator.num_ws, cut, config.amount, config.structure, config.preserve_colour)
    return swap_appearance(faces, reference, amounts)


@torch.no_grad()
def nearest_anchor(pictures: Tensor, anchors: Anchors, discriminator: Discriminator | None) -> Tensor:
    """`[N]`: which anchor's picture is most like each of `pictures [N, 3, R, R]`, by a discriminator's features where
    there is one and by pixels at 64 px."""
    size = pictures.shape[2]
    known = resize(anchors.pictures.to(pictures), size)
    a, b = (F.adaptive_avg_pool2d(p, min(POOLED, size)).flatten(1) for p in (pictures, known))
    distances = torch.cdist(a, b, p=1) / a.shape[1]
    if discriminator is not None:
        features = [
            [
                torch.cat(layer)
                for layer in zip(*(discriminator_features(discriminator, part) for part in p.split(8)), strict=True)
            ]
            for p in (pictures, known)
        ]
        for index in range(len(pictures)):
            ones = [layer[index : index + 1].expand_as(other) for layer, other in zip(*features, strict=True)]
            distances[index] += feature_distance(features[1], ones)
    return distances.argmin(1)


def _start(
    target: Tensor,
    style: FaceGenerator,
    encoder: FaceEncoder | None,
    anchors: Anchors | None,
    discriminator: Discriminator | None,
) -> Tensor:
    """Where the search begins, `[N, num_ws, w_dim]`."""
    if encoder is not None:
        return invert_with_encoder(target, encoder, style).w_plus.detach().clone()
    if anchors is not None:
        codes = anchors.latent
        if codes.w_plus.shape[1:] != (style.num_ws, style.w_dim) or (codes.w_space and codes.w_space != style.w_space):
            raise ValueError(
                f"The anchors belong to another generator than the style {name_of(style)}. Give anchors of its W."
            )
        chosen = nearest_anchor(target, anchors, discriminator).to(codes.w_plus.device)
        return codes.w_plus[chosen].to(target).clone()
    return style.mean_latent.to(target).expand(len(target), style.num_ws, -1).clone()


def _judge_of(discriminator: Discriminator | None, config: ReferenceConfig) -> Callable[[Tensor, SearchContext], Judge]:
    """The loss above, whatever it is compared with."""

    def make(target: Tensor, setting: SearchContext) -> Judge:
        pool = min(POOLED, target.shape[2])
        small = F.adaptive_avg_pool2d(target, pool)
        features = [] if discriminator is None else [f.detach() for f in discriminator_features(discriminator, target)]

        def judge(pictures: Tensor, w_plus: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            terms = {"pixel": (F.adaptive_avg_pool2d(pictures, pool) - small).abs().mean((1, 2, 3))}
            if discriminator is not None:
                terms["feature"] = feature_distance(discriminator_features(discriminator, pictures), features)
            terms["mean"] = ((w_plus - setting.mean) / setting.spread).square().mean((1, 2))
            loss = config.pixel_weight * terms["pixel"] + config.mean_penalty * terms["mean"]
            if discriminator is not None:
                loss = loss + config.feature_weight * terms["feature"]
            return terms, loss

        return judge

    return make

"""Many looks of one face, and a face in the look of another: codes of W+ exchanged from a layer on, nothing trained.

A style generator and its source share W, so the code of a face found in the source can be mixed with any other code
of that W. The codes up to a layer `m` decide what is where and stay the face's; the later ones decide colour and
texture and may come from elsewhere: from a random latent (multimodal), or from a reference picture
(`training/inversion/reference.py`). The split at layer 7 is that of MindTheGap (Zhu et al., arXiv 2110.08398) and
DualStyleGAN (Yang et al., arXiv 2203.13248).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.blending import blend_generators
from ..models.types import FaceGenerator, FaceLatent, name_of
from .mixing import with_exact_ends
from .sampling import sample_latent

AUTOMATIC = 0
"""A layer cut of 0 stands for `default_layer_cut`."""
STRUCTURE_START = 4
"""The first code that `structure` borrows: 16x16, where features are; 4x4 and 8x8 hold pose and face shape."""
MIDDLE, FINE = 16, 64
"""Resolutions at which `depth_weights` goes from coarse to middle and from middle to fine."""


def default_layer_cut(resolution: int) -> int:
    """The first code of W+ that decides appearance: 7 from 128 px up, 5 at 64 px, and fewer below.

    Code 7 drives the projection to RGB at 32x32 and the first convolution at 64x64. Smaller generators keep the
    same number of appearance codes, five, and at least one of structure.
    """
    num_ws = 2 * (resolution.bit_length() - 1) - 2
    return max(1, min(7, num_ws - 5))


def resolve_layer_cut(generator: FaceGenerator, layer_cut: int = AUTOMATIC) -> int:
    """The layer cut for a generator.

    Raises:
        ValueError: the generator has no code of that number.
    """
    if layer_cut == AUTOMATIC:
        return default_layer_cut(generator.resolution)
    if not 0 < layer_cut < generator.num_ws:
        raise ValueError(
            f"`layer_cut` is {layer_cut}, but the generator {name_of(generator)} has the codes 0 to "
            f"{generator.num_ws - 1}. Choose 1 to {generator.num_ws - 1}, or 0 for the usual "
            f"{default_layer_cut(generator.resolution)}."
        )
    return layer_cut


def layer_amounts(
    num_ws: int, cut: int, amount: float, structure: float = 0.0, preserve_colour: bool = False
) -> Tensor:
    """How much of the other code each code takes, `[num_ws]` in 0..1.

    Args:
        num_ws: codes of the generator.
        cut: the first code that takes `amount` (beta).
        structure: (gamma) what codes 4 to `cut - 1` take: shapes of eyes, nose and mouth are borrowed too.
        preserve_colour: the codes that drive a projection to RGB stay the face's. Those are the odd ones, 2k + 1 at
            block k, and each drives the next block's first convolution as well, so half of what makes texture stays
            with it; the even ones, second convolutions alone, take `amount`. What a convolution changes can still
            shift a colour a little, for colours are projections of features.

    Raises:
        ValueError: an amount lies outside 0..1.
    """
    for name, value in (("amount", amount), ("structure", structure)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(
                f"`{name}` is {value:g}; it has to lie between 0 (the face's own) and 1 (all of the other)."
            )
    amounts = torch.zeros(num_ws)
    amounts[STRUCTURE_START:cut] = structure
    amounts[cut:] = amount
    if preserve_colour:
        amounts[1::2] = torch.where(torch.arange(1, num_ws, 2) >= cut, 0.0, amounts[1::2])
    return amounts


def swap_appearance(faces: FaceLatent, references: FaceLatent, amounts: Tensor) -> FaceLatent:
    """Every face with every reference's appearance: `(1 - amounts) * face + amounts * reference`, code by code.

    Args:
        faces: `[N, num_ws, w_dim]`; their noise stays, for it belongs to what is where.
        references: `[K, num_ws, w_dim]`.
        amounts: `[num_ws]`, see `layer_amounts`; where 0 the face's code is kept, where 1 the reference's, to the bit.

    Returns:
        `N * K` latents, all references of the first face first. The reconstruction error is not known.

    Raises:
        ValueError: the two belong to different generators.
    """
    if faces.w_plus.shape[1:] != references.w_plus.shape[1:] or (
        faces.w_space and references.w_space and faces.w_space != references.w_space
    ):
        raise ValueError(
            "The faces and the look belong to different generators, where the same code means something else. Take "
            "both from one generator or from styles of it."
        )
    count = len(references)
    own = faces.w_plus.repeat_interleave(count, 0)
    other = references.w_plus.to(own.device, own.dtype).repeat(len(faces), 1, 1)
    share = amounts.to(own.device, own.dtype)[:, None]
    mixed = with_exact_ends(own, other, share, torch.lerp(own, other, share))
    noise = faces.noise
    if noise is not None:
        noise = tuple(n if n.shape[0] == 1 else n.repeat_interleave(count, 0) for n in noise)
    return faces.replace(
        w_plus=mixed,
        noise=noise,
        w_space=faces.w_space or references.w_space,
        reconstruction_error=None,
        identity_distance=None,
    )


def random_appearances(
    generator: FaceGenerator,
    faces: FaceLatent,
    seeds: Sequence[int],
    amount: float = 1.0,
    truncation_psi: float = 0.7,
    layer_cut: int = AUTOMATIC,
    preserve_colour: bool = False,
) -> FaceLatent:
    """Multimodal stylisation: each face with the appearance of each seed, all seeds of the first face first.

    `w+ = [w_c[:m], (1 - amount) w_c[m:] + amount f(z)[m:]]`; the same seed gives all faces the same appearance. An
    `amount` of 0 is the identity, to the bit.
    """
    amounts = layer_amounts(generator.num_ws, resolve_layer_cut(generator, layer_cut), amount, 0.0, preserve_colour)
    return swap_appearance(faces, sample_latent(generator, seeds, truncation_psi), amounts)


def depth_weights(
    resolutions: Sequence[int], coarse: float = 1.0, middle: float = 1.0, fine: float = 1.0
) -> dict[int, float]:
    """Share of the style per block resolution for `blending.blend_generators`: strength along the depth.

    coarse  4x4 and 8x8: proportions of the head. middle  16x16 and 32x32: eyes, nose, mouth. fine  64x64 and finer:
    lines, colour, texture.
    """
    return {r: coarse if r < MIDDLE else middle if r < FINE else fine for r in resolutions}


def style_at_depth(
    source: FaceGenerator | None, style: FaceGenerator, coarse: float = 1.0, middle: float = 1.0, fine: float = 1.0
) -> FaceGenerator:
    """The style at a strength for each depth, see `depth_weights`; the source is only needed below 1.

    Raises:
        ValueError: a strength is below 1 and there is no source, or the two do not fit together.
    """
    if coarse == middle == fine == 1.0:
        return style
    if source is None:
        raise ValueError(
            "A share of the style below 1 mixes it with its source. Connect the generator the latents were found with "
            "to `source`, or set `coarse`, `middle` and `fine` to 1."
        )
    return blend_generators(source, style, depth_weights(style.generator.config.resolutions, coarse, middle, fine))

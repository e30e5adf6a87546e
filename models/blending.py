"""Two face generators that share W, mixed resolution by resolution.

A generator that was fine-tuned from another answers to the same latents, so their weights can be exchanged block by
block: coarse blocks (4x4, 8x8, ...) decide shape, fine blocks decide colour and texture. Swapping them is Toonify's
layer swap (Pinkney & Adler 2020, arXiv 2010.05334); the sigmoid edge between the two is from the same paper.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .types import FaceGenerator, name_of

EDGE_OCTAVES = 4.0
"""Width, in octaves of resolution, of the soft edge that `strength_weights` moves from the finest block to 4x4."""


def swap_weights(
    resolutions: Sequence[int],
    split_resolution: int,
    structure: float = 0.0,  # share of the style in blocks coarser than the split, 0..1
    appearance: float = 1.0,  # share of the style in the split's block and all finer ones, 0..1
    smoothness: float = 0.0,  # 0 a hard edge; otherwise the width of the sigmoid edge in octaves
) -> dict[int, float]:
    """Share of the style per block resolution for a layer swap with a sigmoid edge.

    With a hard edge the block at `split_resolution` itself takes `appearance`. Equal amounts need no edge, so
    `structure == appearance` gives exactly that amount everywhere, 0 and 1 included.
    """
    weights = {}
    for r in resolutions:
        octaves = math.log2(r / split_resolution) + 0.5
        hard = float(octaves > 0)
        fine = hard if smoothness == 0 else 1.0 / (1.0 + math.exp(-4.0 * octaves / smoothness))
        weights[r] = structure + (appearance - structure) * fine
    return weights


def strength_weights(resolutions: Sequence[int], strength: float) -> dict[int, float]:
    """Share of the style per block resolution for one overall strength in 0..1.

    A soft edge travels from the finest block to the coarsest one: a little strength changes colour and texture, more
    of it parts, and the last of it proportions. Exactly 0 everywhere at strength 0 and exactly 1 everywhere at 1.
    """
    reach = strength * (len(resolutions) - 1 + EDGE_OCTAVES)
    weights = {}
    for depth, r in enumerate(sorted(resolutions, reverse=True)):
        x = min(max((reach - depth) / EDGE_OCTAVES, 0.0), 1.0)
        weights[r] = x * x * (3.0 - 2.0 * x)
    return weights


def blend_generators(
    source: FaceGenerator,
    style: FaceGenerator,
    weights: Mapping[int, float],
    palette: float | None = None,
) -> FaceGenerator:
    """A generator whose block at r x r is `(1 - weights[r]) * source + weights[r] * style`.

    `palette` is the style's share in every projection to RGB, whatever its block's; None leaves each to its block.
    Colours are the sum of all resolutions' projections, so that a swap of fine blocks alone leaves the source's tint.

    All weights 0 returns `source` and all weights 1 returns `style`, to the bit; otherwise the result has no
    discriminator, for neither of the two was trained on its pictures.

    Raises:
        ValueError: the two do not share W or are not of one shape, or a weight lies outside 0..1.
    """
    _check_compatible(source, style)
    outside: dict[int | str, float] = {r: w for r, w in weights.items() if not 0.0 <= w <= 1.0}
    if palette is not None and not 0.0 <= palette <= 1.0:
        outside["palette"] = palette
    if outside:
        raise ValueError(f"Blend weights must lie between 0 and 1, but these do not: {outside}.")
    shares = [float(weights[r]) for r in source.generator.config.resolutions]
    colours = shares if palette is None else [palette] * len(shares)
    if all(share == 0.0 for share in shares + colours):
        return source
    if all(share == 1.0 for share in shares + colours):
        return style

    # Weights created in inference mode could never again be trained or differentiated through.
    with torch.inference_mode(False), torch.no_grad():
        style_state = style.generator.state_dict()
        network = copy.deepcopy(source.generator)
        for name, tensor in network.state_dict().items():
            if (k := _block_index(name)) >= 0:
                share = colours[k] if name.split(".")[3] == "to_rgb" else shares[k]
                tensor.copy_(_mix(tensor, style_state[name].to(tensor.device), share))
    return source.replace(
        generator=network,
        discriminator=None,
        style=style.style,
        provenance={
            **style.provenance,
            "blended_with": source.style or "base generator",
            "blend_weights": json.dumps({str(r): round(float(w), 4) for r, w in weights.items()}),
        },
    )


def with_strength(source: FaceGenerator | None, style: FaceGenerator, strength: float) -> FaceGenerator:
    """The style at a strength in 0..1, see `strength_weights`; the source is only needed below 1.

    Raises:
        ValueError: the strength lies outside 0..1 or is below 1 with no source, or the two do not fit together.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"`strength` is {strength}; it has to lie between 0 (no style) and 1 (the whole style).")
    if strength == 1.0:
        return style
    if source is None:
        raise ValueError(
            f"A strength of {strength:g} mixes the style with its source. Connect the generator the latents were found "
            "with to `source`, or set `strength` to 1."
        )
    return blend_generators(source, style, strength_weights(style.generator.config.resolutions, strength))


def _mix(source: Tensor, style: Tensor, share: float) -> Tensor:
    """Linear mix that returns an end unchanged, since `lerp` at 1 may differ from its end in the last bit."""
    if share == 0.0 or not source.is_floating_point():
        return source
    if share == 1.0:
        return style
    return torch.lerp(source, style, share)


def _block_index(name: str) -> int:
    """k of `synthesis.blocks.k...`, or -1 for tensors of the mapping network and other shared ones."""
    parts = name.split(".")
    return int(parts[2]) if parts[:2] == ["synthesis", "blocks"] else -1


def _check_compatible(source: FaceGenerator, style: FaceGenerator) -> None:
    pair = f"The source {name_of(source)} and the style {name_of(style)} cannot be blended"
    advice = "Use the generator this style was fine-tuned from."
    if source.resolution != style.resolution:
        raise ValueError(
            f"{pair}: one makes {source.resolution} px pictures and the other {style.resolution} px ones. {advice}"
        )
    shapes = {name: tensor.shape for name, tensor in source.generator.state_dict().items()}
    if shapes != {name: tensor.shape for name, tensor in style.generator.state_dict().items()}:
        raise ValueError(f"{pair}: their layers have different widths. {advice}")
    if source.w_space != style.w_space:
        raise ValueError(f"{pair}: their mapping networks differ, so one latent means two different faces. {advice}")

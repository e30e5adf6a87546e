"""The faces that pseudo-pairs are made of, before any is drawn: all random numbers are drawn here, on the CPU."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...latents.encoding import check_pictures, resize
from ...models.types import FaceGenerator, FaceLatent, device_of, name_of
from .renderer import IDENTITY, to_bytes
from .settings import PairsConfig

MAPPED_AT_ONCE = 4096


class PicturesWithLatents(NamedTuple):
    """Pictures and the codes that were found for them: photos of people, or pictures of the style."""

    latent: FaceLatent
    """Of N faces, in the source generator's W+."""
    pictures: Tensor
    """`[N, 3, S, S]` in -1..1; they are resized to the generator's resolution."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Faces of one origin. A pair is made of each of them at each level."""

    origin: str
    levels: tuple[int, ...]
    codes: Tensor
    """`[M, num_ws, w_dim]`: what the source side is drawn from; may be an expanded view."""
    target_codes: Tensor
    """The same, or for anchors with random colours what they were before."""
    pictures: Tensor
    """`[P, 3, R, R]` uint8, P = 0 for synthetic faces."""
    picture: Tensor
    """`[M]` index into `pictures`, -1 for synthetic faces."""
    flip: Tensor
    """`[levels, M]` bool."""
    affine: Tensor
    """`[levels, M, 4]`, see `StylePairs.affine`."""

    def __len__(self) -> int:
        return len(self.codes)


def all_candidates(
    source: FaceGenerator,
    config: PairsConfig,
    anchors: PicturesWithLatents | None,
    photos: PicturesWithLatents | None,
    judged: bool,  # whether a discriminator will judge the targets, and so drop its share
) -> list[Candidates]:
    """The faces of every origin, in the order synthetic, photo, anchor."""
    random = torch.Generator().manual_seed(config.seed)
    groups = []
    if config.count:
        kept = (1.0 - config.drop_quality * judged) * (1.0 - config.drop_structure)
        codes = random_codes(source, math.ceil(config.count / kept), config, random)
        groups.append(_candidates("synthetic", config.chosen_levels, codes, codes, None, config, random))
    if photos is not None and len(photos.latent):
        codes = _checked(source, photos, "photos")
        groups.append(_candidates("photo", config.chosen_levels, codes, codes, photos.pictures, config, random, source))
    if anchors is not None and len(anchors.latent) and 3 in config.chosen_levels:
        kept_codes = _checked(source, anchors, "style pictures")
        target_codes = kept_codes.repeat_interleave(config.anchor_variants, 0)
        codes = _recoloured(source, target_codes, config, random)
        groups.append(_candidates("anchor", (3,), codes, target_codes, anchors.pictures, config, random, source))
    if not groups:
        raise ValueError(
            "No pairs would be made: `count` is 0 and neither photos nor style pictures were given that the chosen "
            "levels could use (style pictures make pairs of level 3)."
        )
    return groups


def random_codes(source: FaceGenerator, count: int, config: PairsConfig, random: torch.Generator) -> Tensor:
    """`[count, num_ws, w_dim]` on the CPU: `mean + psi (f(z) - mean)`, psi uniform between the truncations."""
    network = source.generator
    device = device_of(source)
    z = torch.randn(count, network.config.z_dim, generator=random)
    low, high = config.truncation_min, config.truncation_max
    psi = low + (high - low) * torch.rand(count, 1, generator=random)
    mean = source.mean_latent.detach().cpu().float()
    w = torch.cat([network.mapping(part.to(device)).float().cpu() for part in z.split(MAPPED_AT_ONCE)])
    return (mean + psi * (w - mean))[:, None].expand(-1, source.num_ws, -1)


def _recoloured(source: FaceGenerator, codes: Tensor, config: PairsConfig, random: torch.Generator) -> Tensor:
    """Codes whose appearance layers are a random face's [JoJoGAN]; the first variant of each may keep its own."""
    first = config.appearance_from(source.num_ws)
    other = random_codes(source, len(codes), config, random)
    mixed = torch.cat([codes[:, :first], other[:, first:]], 1)
    if not config.keep_anchor_colours:
        return mixed
    keeps = torch.arange(len(codes)) % config.anchor_variants == 0
    return torch.where(keeps[:, None, None], codes, mixed)


def _candidates(
    origin: str,
    levels: tuple[int, ...],
    codes: Tensor,
    target_codes: Tensor,
    pictures: Tensor | None,
    config: PairsConfig,
    random: torch.Generator,
    source: FaceGenerator | None = None,
) -> Candidates:
    count = len(codes)
    shape = (len(levels), count)
    flip = torch.rand(shape, generator=random) < config.flip_prob
    moves = torch.rand(shape, generator=random) < config.affine_prob
    extent = torch.tensor([config.max_rotation, config.max_scaling, config.max_shift, config.max_shift])
    affine = (torch.rand((*shape, 4), generator=random) * 2.0 - 1.0) * extent
    affine[..., 1] = _covering_scale(affine) * (1.0 + affine[..., 1].abs())
    affine = torch.where(moves[..., None], affine, torch.tensor(IDENTITY))
    stored = torch.zeros(0, 3, 1, 1, dtype=torch.uint8)
    picture = torch.full((count,), -1)
    if pictures is not None and source is not None:
        stored = to_bytes(resize(pictures.detach().float(), source.resolution))
        picture = torch.arange(len(stored)).repeat_interleave(count // len(stored))
    return Candidates(origin, levels, codes, target_codes, stored, picture, flip, affine)


def _covering_scale(affine: Tensor) -> Tensor:
    """The least enlargement with which turned and shifted pictures still fill their frame: no border is made up."""
    radians = affine[..., 0] * (math.pi / 180.0)
    diagonal = torch.cos(radians).abs() + torch.sin(radians).abs()
    return diagonal * (1.0 + 2.0 * affine[..., 2:].abs().amax(-1))


def _checked(source: FaceGenerator, faces: PicturesWithLatents, what: str) -> Tensor:
    """The codes of known faces, on the CPU, outside inference mode.

    Raises:
        ValueError: they do not belong to the source, are not finite, or do not match their pictures.
    """
    latent, pictures = faces
    check_pictures(pictures)
    if len(latent) != len(pictures):
        raise ValueError(f"There are {len(latent)} latents for {len(pictures)} {what}; one for each is needed.")
    if latent.w_plus.shape[1:] != (source.num_ws, source.w_dim) or latent.w_space not in ("", source.w_space):
        raise ValueError(
            f"The latents of the {what} belong to another generator than the source {name_of(source)}. Invert them "
            "with the source."
        )
    if not torch.isfinite(latent.w_plus).all():
        raise ValueError(f"The latents of the {what} hold values that are not finite numbers. Invert them again.")
    return latent.w_plus.detach().float().cpu().clone()

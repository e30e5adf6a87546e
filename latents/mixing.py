"""Between faces: latents mixed layer by layer, and walks from face to face.

Nothing here draws a picture: what comes out are latents, for the source and for every style that shares its W.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..models.types import FaceGenerator, FaceLatent, device_of
from .sampling import map_z, seeded_z

MixMode = Literal["linear", "slerp"]
Easing = Literal["none", "smooth"]
NEARLY_PARALLEL = 1e-6
"""Sine of the angle below which the arc between two vectors is taken to be straight."""


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """Spherical interpolation along the last axis (Shoemake 1985), exactly `a` at t = 0 and `b` at 1.

    The direction turns at a constant rate and the length goes evenly from one to the other, so vectors of one length
    keep it. Parallel, opposite and zero vectors have no arc between them and are mixed on the straight line.

    t: a number, or a tensor that broadcasts to `a [..., 1]`.
    """
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    length_a, length_b = (x.norm(dim=-1, keepdim=True) for x in (a, b))
    unit_a, unit_b = a / length_a.clamp(min=1e-30), b / length_b.clamp(min=1e-30)
    # atan2 of the two half-chords is accurate at every angle, which the arc cosine is not near 0.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True))
    sine = torch.sin(angle)
    straight = (sine.abs() < NEARLY_PARALLEL) | (length_a == 0) | (length_b == 0)
    turned = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.where(straight, 1, sine)
    mixed = torch.where(straight, torch.lerp(a, b, t), turned * torch.lerp(length_a, length_b, t))
    return with_exact_ends(a, b, t, mixed)


def mix_latents(
    a: FaceLatent,
    b: FaceLatent,
    amount: float | Sequence[float],
    mode: MixMode = "linear",
    layers: Iterable[int] | None = None,
    centre: Tensor | None = None,
) -> FaceLatent:
    """Faces between those of `a` and those of `b`, face by face; one face on a side meets all of the other.

    Args:
        amount: 0 gives `a` and 1 gives `b`, to the bit; one for all layers, or one for each. Beyond 0..1 exaggerates.
        mode: "linear", or "slerp" about the centre.
        layers: codes that are mixed, the others staying `a`'s; None for all. With an amount of 1: style mixing.
        centre: `[w_dim]`, what "slerp" turns about, usually the mean latent; None for the origin.

    The noise follows the codes, layer by layer, where both sides have some; the reconstruction error is not known.

    Raises:
        ValueError: the two belong to different generators, or their numbers of faces do not fit.
    """
    _check_same_space([a, b])
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise ValueError(
            f"{len(a)} faces cannot be mixed with {len(b)}: give both the same number, or one face to mix with all."
        )
    count, num_ws = max(len(a), len(b)) if len(a) and len(b) else 0, a.w_plus.shape[1]
    amounts = torch.tensor(list(amount) if isinstance(amount, Sequence) else [amount] * num_ws)
    if len(amounts) != num_ws:
        raise ValueError(f"{len(amounts)} amounts were given for {num_ws} layers; give one for each, or one for all.")
    if layers is not None:
        acting = torch.zeros(num_ws, dtype=torch.bool)
        acting[list(layers)] = True
        amounts = torch.where(acting, amounts, 0.0)
    if bool((amounts == 0).all()) and len(a) == count:
        return a
    if bool((amounts == 1).all()) and len(b) == count:
        return b
    codes_a = a.w_plus.expand(count, -1, -1)
    codes_b = b.w_plus.to(codes_a.device, codes_a.dtype).expand(count, -1, -1)
    t = amounts.to(codes_a.device, codes_a.dtype)[:, None]
    if mode == "slerp":
        middle = 0 if centre is None else centre.to(codes_a.device, codes_a.dtype)
        mixed = slerp(codes_a - middle, codes_b - middle, t) + middle
    else:
        mixed = torch.lerp(codes_a, codes_b, t)
    return a.replace(
        w_plus=with_exact_ends(codes_a, codes_b, t, mixed),
        noise=_mix_noise(a, b, amounts),
        w_space=a.w_space or b.w_space,
        reconstruction_error=None,
        identity_distance=None,
    )


def walk_positions(keys: int, frames: int, loop: bool = True, easing: Easing = "none") -> list[tuple[int, int, float]]:
    """For each frame the two key faces it lies between, and how far (0..1) it is on its way.

    loop    the way leads back to the first face, and the last frame is the one before it: frames repeat without a jerk.
    easing  "smooth" starts and arrives slowly (3t^2 - 2t^3).

    Raises:
        ValueError: there are fewer than two faces, or fewer frames than faces.
    """
    if keys < 2:
        raise ValueError(f"A walk leads from face to face; {keys} given, at least 2 are needed.")
    if frames < keys:
        raise ValueError(f"{frames} frames are too few to show {keys} faces. Ask for at least {keys}.")
    places = []
    for frame in range(frames):
        # Whole numbers first, so that the key faces are met exactly.
        segment, rest = divmod(frame * keys, frames) if loop else divmod(frame * (keys - 1), frames - 1)
        t = rest / (frames if loop else frames - 1)
        if easing == "smooth":
            t = t * t * (3 - 2 * t)
        places.append((segment, (segment + 1) % keys if loop else min(segment + 1, keys - 1), t))
    return places


def walk_between_latents(latent: FaceLatent, frames: int, loop: bool = True, easing: Easing = "none") -> FaceLatent:
    """Latents on straight lines in W+ from face to face; the faces themselves to the bit where a frame meets them.

    Noise that the faces share stays; noise of each face's own is left out, for it would flicker.
    """
    places = walk_positions(len(latent), frames, loop, easing)
    start, end, t = _columns(places)
    a, b = latent.w_plus[start], latent.w_plus[end]
    t = t.to(a.device, a.dtype)
    shared = latent.noise is not None and all(noise.shape[0] == 1 for noise in latent.noise)
    return latent.replace(
        w_plus=with_exact_ends(a, b, t, torch.lerp(a, b, t)),
        noise=latent.noise if shared else None,
        reconstruction_error=None,
        identity_distance=None,
    )


@torch.no_grad()
def walk_between_seeds(
    generator: FaceGenerator,
    seeds: Sequence[int],
    frames: int,
    loop: bool = True,
    easing: Easing = "none",
    truncation_psi: float = 0.7,
    space: Literal["z", "w"] = "z",
) -> FaceLatent:
    """Latents from seed to seed: on arcs in z, where every point is as likely as a seed, or on straight lines in W.

    The key faces are those of `sampling.sample_latent` with the same seeds and truncation.
    """
    network, device = generator.generator, device_of(generator)
    mean = generator.mean_latent.to(device)
    start, end, t = _columns(walk_positions(len(seeds), frames, loop, easing))
    z = seeded_z(seeds, network.config.z_dim).to(device)
    t = t.to(device)
    if space == "z":
        w = map_z(network, slerp(z[start], z[end], t[:, 0]))
    else:
        keys = map_z(network, z)
        w = with_exact_ends(keys[start], keys[end], t[:, 0], torch.lerp(keys[start], keys[end], t[:, 0]))
    return FaceLatent(
        w_plus=network.broadcast(mean + truncation_psi * (w - mean)).clone(),
        w_space=generator.w_space,
        generator=generator.style,
    )


def _columns(places: list[tuple[int, int, float]]) -> tuple[list[int], list[int], Tensor]:
    """Start, end, and the share of the way as `[frames, 1, 1]`."""
    return [p[0] for p in places], [p[1] for p in places], torch.tensor([p[2] for p in places])[:, None, None]


def with_exact_ends(a: Tensor, b: Tensor, t: Tensor, mixed: Tensor) -> Tensor:
    """`lerp` at 1 may differ from its end in the last bit."""
    return torch.where(t == 0, a, torch.where(t == 1, b, mixed))


def _check_same_space(latents: Sequence[FaceLatent]) -> None:
    shapes = {tuple(latent.w_plus.shape[1:]) for latent in latents}
    if len(shapes) > 1:
        told = " and ".join(f"{count} codes of length {length}" for count, length in sorted(shapes))
        raise ValueError(f"These latents have {told}: they belong to different generators and cannot be mixed.")
    if len({latent.w_space for latent in latents if latent.w_space}) > 1:
        raise ValueError(
            "These latents belong to different generators, where the same code means a different face. Invert both "
            "with one generator."
        )


def _mix_noise(a: FaceLatent, b: FaceLatent, amounts: Tensor) -> tuple[Tensor, ...] | None:
    """Convolution i of a generator is driven by code i, so its noise comes from the side that gives most of that."""
    if a.noise is None or b.noise is None:
        return None
    return tuple(y if share >= 0.5 else x for x, y, share in zip(a.noise, b.noise, amounts.tolist(), strict=False))

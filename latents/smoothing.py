"""One offset per shot: the codes of a person in a video, held together so that the pictures do not flicker.

Inversion answers each frame for itself, and its errors differ from frame to frame though the person does not. What is
common to a track, the mean of its codes, is kept; what differs is smoothed over time and damped:

    w_t = mean + amount * smooth(w_t - mean)        (the smoothed part has the mean 0)

Expression and pose are part of what differs and mostly in the codes of structure; nothing that should change within a
shot is in those of colour and texture. So the two have an amount each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..faces.policies import SMOOTHING
from ..faces.temporal import smooth_series
from ..models.types import FaceLatent
from .appearance import AUTOMATIC, default_layer_cut


def steady_latents(
    latent: FaceLatent,
    frame_index: Tensor,
    track: Tensor,
    strength: float = SMOOTHING,
    structure: float = 1.0,
    appearance: float = 0.1,
    layer_cut: int = AUTOMATIC,
) -> FaceLatent:
    """The latents of faces in frames, held to the mean of their track.

    Args:
        latent: `[N, num_ws, w_dim]`.
        frame_index: `[N]` int, which frame each is from.
        track: `[N]` int, which person each is: `faces.tracks`.
        strength: the most smoothing over time, in frames (`faces.temporal.steady`).
        structure: how much of the smoothed difference the codes before `layer_cut` keep, 0..1.
        appearance: the same for the codes from it on.
        layer_cut: the first code that decides appearance; 0 for the usual one.

    Returns:
        As many latents in the same order. Noise that belongs to a face is that of one frame for the whole track, for
        changing grain is flicker too.

    Raises:
        ValueError: numbers that do not belong together, or an amount outside 0..1.
    """
    count, num_ws = latent.w_plus.shape[:2]
    if len(frame_index) != count or len(track) != count:
        raise ValueError(
            f"{count} latents were given for {len(track)} faces; give one per face, in the same order: invert the "
            "crops of the same faces."
        )
    for name, amount in (("structure", structure), ("appearance", appearance)):
        if not 0 <= amount <= 1:
            raise ValueError(f"`{name}` is {amount:g}; give 0 (the shot's mean) to 1 (all that is left of movement).")
    if not 0 <= layer_cut < num_ws:
        raise ValueError(f"`layer_cut` is {layer_cut}, but the latents have the codes 0 to {num_ws - 1}.")
    cut = layer_cut or default_layer_cut(2 ** (num_ws // 2 + 1))
    amounts = latent.w_plus.new_full((num_ws, 1), structure)
    amounts[cut:] = appearance
    w_plus = latent.w_plus.clone()
    representative = torch.arange(count)
    for number in torch.unique(track).tolist():
        members = torch.nonzero(track == number)[:, 0].cpu()
        members = members[torch.argsort(frame_index.cpu()[members])]
        codes = latent.w_plus[members]
        mean = codes.mean(0)
        times = frame_index.to(codes.device)[members]
        # Each code by its own noise: those of texture tremble most.
        moved = torch.stack([smooth_series(codes[:, k] - mean[k], times, strength) for k in range(num_ws)], 1)
        # Smoothing weighs the ends otherwise than a mean does; without this the person would shift a little.
        w_plus[members] = mean + amounts * (moved - moved.mean(0))
        representative[members] = _best(latent, members)
    noise = latent.noise
    if noise is not None:
        noise = tuple(n if len(n) == 1 else n[representative.to(n.device)] for n in noise)
    return latent.replace(w_plus=w_plus, noise=noise, reconstruction_error=None, identity_distance=None)


def _best(latent: FaceLatent, members: Tensor) -> int:
    """The face of a track that was inverted best, or the one in the middle where that is not known."""
    errors = latent.reconstruction_error
    return int(members[len(members) // 2] if errors is None else members[int(errors.cpu()[members].argmin())])

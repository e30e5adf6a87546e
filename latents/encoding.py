"""From faces to codes with any encoder: what it says at first, and what it says after seeing the result.

Our encoder, pSp and e4e answer at once; asking them again corrects a code by the difference between what they see in
the face and in the generator's picture. ReStyle (Alaluf et al., arXiv 2104.02699) is trained to be asked again: it sees
both pictures, at first the generator's average face, and adds to its last code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.psp import RESTYLE_STEPS, PspEncoder
from ..models.types import FaceEncoder, FaceGenerator


def is_iterative(encoder: FaceEncoder) -> bool:
    """Whether the encoder was trained to correct itself (ReStyle)."""
    return isinstance(encoder.network, PspEncoder) and encoder.network.config.iterative


def needs_generator_mean(encoder: FaceEncoder) -> bool:
    """Whether a mean latent belongs to its codes that its file did not hold, so that the generator's is added."""
    return isinstance(encoder.network, PspEncoder) and encoder.network.config.mean == "generator"


def default_steps(encoder: FaceEncoder) -> int:
    """How often an encoder is to look when nobody said: 5 for ReStyle, 1 for the others."""
    return RESTYLE_STEPS if is_iterative(encoder) else 1


def mean_w_plus(encoder: FaceEncoder, generator: FaceGenerator) -> Tensor:
    """The mean latent `[num_ws, w_dim]` that a published encoder starts from: its own, else the generator's."""
    network = encoder.network
    mean: Tensor = network.mean_latent  # type: ignore[assignment]
    if needs_generator_mean(encoder):
        return generator.mean_latent.to(mean).expand_as(mean)
    return mean


def initial_w_plus(encoder: FaceEncoder, pictures: Tensor, generator: FaceGenerator) -> Tensor:
    """The encoder's first answer, `[N, num_ws, w_dim]`; differentiable.

    Args:
        pictures: `[N, 3, r, r]`, -1..1, at the encoder's resolution.
        generator: whose codes they are; ReStyle looks at its average face.
    """
    network = encoder.network
    if not isinstance(network, PspEncoder):
        codes: Tensor = network(pictures)
        return codes
    average = mean_w_plus(encoder, generator)
    if not is_iterative(encoder):
        return average + network.delta(pictures)
    face = restyle_input(generator.generator.synthesis(average[None]), encoder.resolution)
    return average + network.delta(torch.cat([pictures, face.expand_as(pictures)], dim=1))


@torch.no_grad()
def refined_w_plus(
    encoder: FaceEncoder, pictures: Tensor, codes: Tensor, prediction: Tensor, first: Tensor, generator: FaceGenerator
) -> Tensor:
    """The codes after one more look, `[N, num_ws, w_dim]`.

    Args:
        pictures: `[N, 3, r, r]`, -1..1, at the encoder's resolution.
        codes: the last ones.
        prediction: `[N, 3, S, S]`, what the generator makes of them.
        first: what `initial_w_plus` gave for this generator.
    """
    network, size = encoder.network, encoder.resolution
    if is_iterative(encoder):
        correction: Tensor = network.delta(torch.cat([pictures, restyle_input(prediction, size)], dim=1))  # type: ignore[operator]
        return codes + correction
    seen = prediction.clamp(-1, 1)
    if seen.shape[2] != size:
        seen = F.interpolate(seen, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    if not isinstance(network, PspEncoder):
        return codes + first - network(seen)
    return codes + first - (mean_w_plus(encoder, generator) + network.delta(seen))


def restyle_input(prediction: Tensor, size: int) -> Tensor:
    """The generator's pictures as ReStyle was shown them in training: pooled, and not clamped."""
    return F.adaptive_avg_pool2d(prediction, (size, size))

"""Networks that tell people apart, ArcFace and dlib's: how far two pictures show the same person."""

from __future__ import annotations

from torch import Tensor

from .dlib import DlibFace
from .irse import ArcFace

IdentityNetwork = ArcFace | DlibFace


def identity_similarity(network: IdentityNetwork, pictures: Tensor, others: Tensor) -> Tensor:
    """How far two batches of aligned faces show the same people: `[N]`, -1..1, 1 being the same; differentiable.

    Args:
        network: from `checkpoints.load_identity`.
        pictures: `[N, 3, S, S]`, -1..1, FFHQ-aligned, any size.
        others: the same number of pictures, of any size.

    Returns:
        ArcFace's cosine, or dlib's distance on the same scale: strangers are near 0, two photos of one person above
        0.3. `1 - identity_similarity(...).mean()` is pSp's identity loss.
    """
    if len(pictures) != len(others):
        raise ValueError(f"{len(pictures)} faces cannot be compared with {len(others)}; give one for each.")
    return network.similarity(network.describe(pictures), network.describe(others))

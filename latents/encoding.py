"""From faces to codes with any encoder: what it says at first, what it says after seeing the result, and whether the
result is the same face.

Our encoder, pSp and e4e answer at once; asking them again corrects a code by the difference between what they see in
the face and in the generator's picture. ReStyle (Alaluf et al., arXiv 2104.02699) is trained to be asked again: it sees
both pictures, at first the generator's average face, and adds to its last code.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.callbacks import Callbacks
from ..core.sheets import comparison_grid
from ..models.dlib import SAME_PERSON
from ..models.encoder import Encoder
from ..models.psp import RESTYLE_STEPS, PspEncoder
from ..models.types import FaceEncoder, FaceGenerator, FaceLatent, device_of

READ_AT_ONCE = 16
NAMED_FACES = 8
"""In one sentence."""
SMALLEST_FACE = 16
"""Fewer pixels a side show nobody."""


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
    seen = resize(prediction.clamp(-1, 1), size)
    if not isinstance(network, PspEncoder):
        return codes + first - network(seen)
    return codes + first - (mean_w_plus(encoder, generator) + network.delta(seen))


def restyle_input(prediction: Tensor, size: int) -> Tensor:
    """The generator's pictures as ReStyle was shown them in training: pooled, and not clamped."""
    return F.adaptive_avg_pool2d(prediction, (size, size))


def invert_with_encoder(
    images: Tensor,
    encoder: FaceEncoder,
    generator: FaceGenerator,
    steps: int | None = None,
    batch_size: int = 8,
    callbacks: Callbacks | None = None,
) -> FaceLatent:
    """The encoder's latents of `images [N, 3, S, S]` (-1..1, aligned).

    steps      how often it looks, each time at what the generator made of its last answer; each face keeps its best.
               None is what the encoder was made for: 5 for ReStyle (its own iteration), 1 for all others, which are
               corrected by what they miss, `w += E(x) - E(G(w))`, without having been trained for it.
    callbacks  progress (mean squared error), previews (row: target, row: found), a question whether to stop, after
               which every face keeps the best so far, those not yet looked at being looked at once.

    Raises ValueError when encoder and generator do not fit together.
    """
    check_pictures(images)
    callbacks = callbacks or Callbacks()
    if (encoder.num_ws, encoder.w_dim) != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"The encoder gives {encoder.num_ws} codes of length {encoder.w_dim}, but the generator takes "
            f"{generator.num_ws} of length {generator.w_dim}. Load the encoder that was trained for this generator."
        )
    looks = default_steps(encoder) if steps is None else steps
    if looks < 1:
        raise ValueError(f"`steps` is {steps}; the encoder has to look at least once.")
    device, stopped = device_of(generator), False
    parts = images.split(batch_size)
    found: list[Tensor] = []
    errors: list[Tensor] = []
    with torch.no_grad():
        for number, part in enumerate(parts):
            part = part.to(device, torch.float32)
            seen, target = resize(part, encoder.resolution), resize(part, generator.resolution)
            first = codes = best = initial_w_plus(encoder, seen, generator)
            best_error = torch.full((len(part),), math.inf, device=device)
            for look in range(1, looks + 1):
                picture = generator.generator.synthesis(codes)
                error = mean_squared_error(picture, target)
                better = error < best_error
                best = torch.where(better[:, None, None], codes, best)
                best_error = torch.where(better, error, best_error)
                done = number * looks + look
                if callbacks.on_preview is not None and looks > 1:
                    callbacks.on_preview(done, comparison_grid(target, picture))
                stopped |= callbacks.after(done, len(parts) * looks, {"error": float(best_error.mean())})
                if look == looks or stopped:
                    break
                codes = refined_w_plus(encoder, seen, codes, picture, first, generator)
            found.append(best)
            errors.append(best_error)
    return FaceLatent(
        w_plus=torch.cat(found),
        noise=None,
        w_space=generator.w_space,
        reconstruction_error=torch.cat(errors),
        generator=generator.style,
    )


def check_pictures(images: Tensor) -> None:
    """Raises ValueError unless there are square RGB pictures `[N, 3, S, S]` that can show a face."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3] or images.shape[0] == 0:
        raise ValueError(
            f"The faces have shape {tuple(images.shape)}; at least one square RGB picture [N, 3, S, S] is needed. "
            "Align the photo first."
        )
    if images.shape[2] < SMALLEST_FACE:
        raise ValueError(
            f"The faces are only {images.shape[2]} pixels a side; give aligned faces of at least {SMALLEST_FACE}."
        )


def resize(pictures: Tensor, size: int) -> Tensor:
    """Square pictures `[N, 3, S, S]` at `size` pixels, anti-aliased."""
    if pictures.shape[2] == size:
        return pictures
    return F.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def mean_squared_error(pictures: Tensor, target: Tensor) -> Tensor:
    """`[N]` of pictures `[N, 3, R, R]`, clamped to -1..1 as they would be shown."""
    return (pictures.clamp(-1.0, 1.0) - target).square().mean((1, 2, 3))


@torch.no_grad()
def face_distances(encoder: FaceEncoder | None, pictures: Tensor, prediction: Tensor) -> Tensor | None:
    """How far apart faces `[N, 3, S, S]` and what is drawn of them `[N, 3, R, R]` are (-1..1), `[N]` on the CPU: up to
    `dlib.SAME_PERSON` they show the same person. None where the encoder has no branch that tells people apart.
    """
    network = None if encoder is None else encoder.network
    if not isinstance(network, Encoder) or network.face is None:
        return None
    device = network.mean_latent.device
    found = []
    for face, picture in zip(pictures.split(READ_AT_ONCE), prediction.split(READ_AT_ONCE), strict=True):
        seen = [cast(Tensor, network.describe(part.to(device).clamp(-1.0, 1.0))) for part in (face, picture)]
        found.append(torch.linalg.vector_norm(seen[0] - seen[1], dim=1).cpu())
    return torch.cat(found)


def unlike(distances: Tensor | None, way_out: str) -> str:
    """Which faces come out as somebody else, in a sentence, and what to do; empty where there are none."""
    far = [] if distances is None else [n for n, d in enumerate(distances.tolist()) if not d <= SAME_PERSON]
    if not far or distances is None:
        return ""
    named = ", ".join(str(n + 1) for n in far[:NAMED_FACES]) + (" and others" if len(far) > NAMED_FACES else "")
    faces = f"Faces {named} of {len(distances)} do" if len(far) > 1 else f"Face {named} of {len(distances)} does"
    worst = f"distance {float(distances.max()):.2f}, up to {SAME_PERSON} it is the same person"
    return f"{faces} not look like the photo when drawn ({worst}). {way_out}"

"""How alike two faces are, to inversion and pivotal tuning: pixels at several scales, a discriminator's features, and
what an encoder reads.

The published methods use LPIPS and an identity network. The features of the generator's own discriminator (a good
metric: JoJoGAN, Chong & Forsyth, arXiv 2112.11641) and its encoder do their work here: nothing has to be downloaded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...latents.encoding import initial_w_plus, is_iterative, resize
from ...models.discriminator import Discriminator
from ...models.dlib import SAME_PERSON
from ...models.encoder import Encoder
from ...models.types import FaceEncoder, FaceGenerator


class ReconstructionLoss:
    """The distance of pictures from a target, term by term; what is known of the target is computed once.

    Args:
        target: `[N, 3, R, R]`, -1..1.
        discriminator: of this resolution, that collects no gradients; None leaves its features out.
        codes: what an encoder says of pictures `[N, 3, R, R]` (`codes_of`). None leaves it out.
    """

    def __init__(
        self, target: Tensor, discriminator: Discriminator | None, codes: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.target, self.discriminator, self.codes = target, discriminator, codes
        self._pyramid = pyramid(target)
        self._features: list[Tensor] = []
        if discriminator is not None:
            with torch.no_grad():
                self._features = discriminator_features(discriminator, target)
        if codes is not None:
            with torch.no_grad():
                self._codes = codes(target)

    def terms(self, pictures: Tensor, faces: slice = slice(None)) -> dict[str, Tensor]:
        """`pixel`, with a discriminator `feature`, with an encoder `code`: `[N]` each, of the pictures of `faces`."""
        terms = {"pixel": pyramid_distance(pyramid(pictures), [level[faces] for level in self._pyramid])}
        if self.discriminator is not None:
            features = discriminator_features(self.discriminator, pictures)
            terms["feature"] = feature_distance(features, [layer[faces] for layer in self._features])
        if self.codes is not None:
            terms["code"] = (self.codes(pictures) - self._codes[faces]).square().mean(1)
        return terms


def likeness_loss(terms: dict[str, Tensor], config: Any) -> Tensor:
    """`[N]`: the sum of `ReconstructionLoss.terms`, weighted by `pixel_weight`, `feature_weight` and `code_weight`."""
    weights = {"pixel": config.pixel_weight, "feature": config.feature_weight, "code": config.code_weight}
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum(0)


def peak_signal_to_noise(error: Tensor) -> Tensor:
    """PSNR in dB of mean squared errors of pictures in -1..1 (a peak of 2)."""
    return 10.0 * torch.log10(4.0 / error.clamp(min=1e-12))


def pyramid(pictures: Tensor, smallest: int = 8) -> list[Tensor]:
    """`[N, 3, R, R]` and its halvings by averaging, down to `smallest` pixels."""
    levels = [pictures]
    while levels[-1].shape[2] > smallest:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def pyramid_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """`[N]`: mean absolute difference, averaged over the levels of two pyramids."""
    return torch.stack([(x - y).abs().mean((1, 2, 3)) for x, y in zip(a, b, strict=True)]).mean(0)


def discriminator_features(discriminator: Discriminator, pictures: Tensor) -> list[Tensor]:
    """The discriminator's features, high to low resolution; each face's own (they lie before the batch statistics)."""
    features: list[Tensor] = discriminator(pictures, return_features=True)[1]
    return features


def feature_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """`[N]`: mean absolute difference relative to the mean size of b's features, averaged over the layers."""
    layers = [(x - y).abs().mean((1, 2, 3)) / (y.abs().mean((1, 2, 3)) + 1e-8) for x, y in zip(a, b, strict=True)]
    return torch.stack(layers).mean(0)


def frozen_copy(network: Any) -> Any:
    """The network, or a copy of it where it was loaded under inference mode or still collects gradients."""
    if any(p.is_inference() or p.requires_grad for p in network.parameters()):
        network = copy.deepcopy(network).requires_grad_(False)
    return network.eval()


def frozen_discriminator(generator: Any, weight: float) -> Discriminator | None:
    """The generator's discriminator, frozen, where it has one of its size and the features count."""
    discriminator = generator.discriminator
    if weight <= 0 or discriminator is None or discriminator.config.c_dim:
        return None
    if discriminator.config.resolution != generator.resolution:
        return None
    frozen: Discriminator = frozen_copy(discriminator)
    return frozen


def codes_of(
    encoder: FaceEncoder | None, generator: FaceGenerator, weight: float, spread: Tensor
) -> Callable[[Tensor], Tensor] | None:
    """What an encoder says of pictures, `[N, 3, S, S] -> [N, D]`: who it is, where it has a branch for that, a mean
    square difference of 1 being somebody else; or its codes, in standard deviations `spread` of w.

    None without an encoder, or with ReStyle's, which compares pictures instead of reading them.
    """
    if encoder is None or weight <= 0 or is_iterative(encoder):
        return None
    if (encoder.num_ws, encoder.w_dim) != (generator.num_ws, generator.w_dim):
        raise ValueError(
            f"The encoder gives {encoder.num_ws} codes of length {encoder.w_dim}, but the generator takes "
            f"{generator.num_ws} of length {generator.w_dim}. Load the encoder that was trained for this generator."
        )
    network = frozen_copy(encoder.network)
    if next(network.parameters(), spread).device != spread.device:
        network = copy.deepcopy(network).to(spread.device)
    reader = encoder.replace(network=network)

    def codes(pictures: Tensor) -> Tensor:
        return (initial_w_plus(reader, resize(pictures, encoder.resolution), generator) / spread).flatten(1)

    def who(pictures: Tensor) -> Tensor:
        descriptors: Tensor = network.describe(pictures)
        return descriptors * (descriptors.shape[1] ** 0.5 / SAME_PERSON)

    return who if isinstance(network, Encoder) and network.face is not None else codes

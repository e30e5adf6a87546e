"""Differentiable augmentation of what the discriminator sees, and the controller of its probability.

Zhao et al. (DiffAugment, arXiv 2006.10738) and Karras et al. (ADA, arXiv 2006.06676): the same random changes go over
real and generated pictures, so a small set of style pictures cannot be learned by heart. Each change leaves enough
pictures alone (probability 0.8 at most) that the generator does not learn to make it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_TRANSLATION = 0.125
"""Of the picture's side."""
MAX_ROTATION = math.radians(8.0)
MAX_LOG2_SCALE = 0.15
MAX_BRIGHTNESS = 0.3
"""Added, on the -1..1 scale."""
MAX_LOG2_CONTRAST = 0.5
MAX_LOG2_SATURATION = 1.0
DECIDING_BATCHES = 4
"""After so many the probability is changed."""
MAX_PROBABILITY = 0.8
"""Above this the generator begins to make the changes itself."""


def draw_augmentation(count: int, generator: torch.Generator) -> Tensor:
    """The random numbers of `count` pictures, `[count, 15]` in 0..1: whether each change happens, and how much."""
    whether = torch.rand(6, count, generator=generator)
    return torch.cat([whether, torch.rand(9, count, generator=generator)]).t()


def apply_augmentation(images: Tensor, drawn: Tensor, probability: float) -> Tensor:
    """Pictures `[N,3,R,R]` in about -1..1, each change applied to each of them with `probability`.

    Changes: translation, rotation with scale (reflected beyond the border), brightness, contrast, saturation.
    Differentiable in the pictures; those that nothing happens to come back bit for bit.

    drawn  `[N, 15]` from `draw_augmentation`, of which these changes use twelve.
    """
    chosen, amounts = drawn[:, :5].t() < probability, drawn[:, 6:13].t() * 2.0 - 1.0
    images = _warp(images, chosen[0], chosen[1], amounts[:4])
    return _recolour(images, chosen[2:], amounts[4:])


def apply_diffaugment(images: Tensor, drawn: Tensor) -> Tensor:
    """The published policy "color,translation,cutout" of DiffAugment on pictures `[N,3,R,R]`, always at full strength.

    Brightness +-0.5 on the -1..1 scale, as published, saturation x 0..2, contrast x 0.5..1.5, translation of up to 1/8
    of the side over black, and a grey square of half the side.
    `drawn [N, 15]` are the numbers of `draw_augmentation`, so that either choice advances a generator equally.
    """
    side = images.shape[3]
    amounts = drawn[:, 6:].to(images)[:, :, None, None, None]
    images = images + (amounts[:, 0] - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (amounts[:, 1] * 2.0)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = mean + (images - mean) * (amounts[:, 2] + 0.5)
    shift = ((drawn[:, 9:11] * 2.0 - 1.0) * 2.0 * MAX_TRANSLATION).to(images)
    matrices = torch.eye(2, 3, device=images.device, dtype=images.dtype).repeat(len(images), 1, 1)
    # Whole pixels: a translation should not blur.
    matrices[:, :, 2] = (shift * side / 2.0).round() / (side / 2.0)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    centre = (drawn[:, 11:13].t() * side).to(images.device)
    distance = (torch.arange(side, device=images.device) + 0.5 - centre[:, :, None]).abs()
    inside = distance < 0.5 * side / 2.0
    return images.masked_fill((inside[1][:, :, None] & inside[0][:, None, :])[:, None], 0.0)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures `[N,3,R,R]`, each mirrored left to right with probability one half."""
    mirrored = (torch.rand(images.shape[0], generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def _warp(images: Tensor, shifted: Tensor, turned: Tensor, amounts: Tensor) -> Tensor:
    touched = (shifted | turned).nonzero()[:, 0]
    if touched.numel() == 0:
        return images
    shift = amounts[:2] * 2.0 * MAX_TRANSLATION * shifted
    angle = amounts[2] * MAX_ROTATION * turned
    scale = torch.exp2(amounts[3] * MAX_LOG2_SCALE * turned)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrices = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], 1)
    touched_here = touched.to(images.device)
    chosen = images[touched_here]
    grid = F.affine_grid(matrices[touched].to(images), list(chosen.shape), align_corners=False)
    warped = F.grid_sample(chosen, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return images.index_copy(0, touched_here, warped)


def _recolour(images: Tensor, chosen: Tensor, amounts: Tensor) -> Tensor:
    if not chosen.any():
        return images
    brightness, contrast, saturation = (amounts * chosen).to(images)[:, :, None, None, None]
    gain = torch.exp2(contrast * MAX_LOG2_CONTRAST)
    colour_gain = torch.exp2(saturation * MAX_LOG2_SATURATION)
    grey = images.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    # Written as differences from the picture: an untouched picture has gains of exactly 1 and passes unchanged.
    return (
        images
        + (colour_gain - 1.0) * gain * (images - grey)
        + (gain - 1.0) * (images - mean)
        + brightness * MAX_BRIGHTNESS
    )


class AdaptiveProbability:
    """ADA's controller: raises the probability while the discriminator overfits, lowers it when it does not.

    Overfitting is the mean sign of D on real pictures: 0 when it cannot tell, 1 when it knows every one. The published
    ramp (0 to 1 in 500 000 pictures) never gets anywhere in a few hundred iterations; here it is `ramp_pictures`, which
    fine-tuning sets to a share of its own length.
    """

    def __init__(self, start: float, target: float, ramp_pictures: float) -> None:
        self.probability = start
        self.target = target
        self.ramp_pictures = ramp_pictures
        self.sign_sum, self.pictures, self.batches = 0.0, 0, 0

    def update(self, real_logits: Tensor) -> None:
        """Takes D's logits `[N,1]` on the (augmented) real pictures of one iteration into account."""
        self.sign_sum += float(real_logits.detach().sign().sum())
        self.pictures += real_logits.numel()
        self.batches += 1
        if self.batches < DECIDING_BATCHES:
            return
        overfits = self.sign_sum / self.pictures > self.target
        change = self.pictures / self.ramp_pictures
        self.probability = min(max(self.probability + (change if overfits else -change), 0.0), MAX_PROBABILITY)
        self.sign_sum, self.pictures, self.batches = 0.0, 0, 0


class SharedAugmentation:
    """Brightness, contrast and a shift, the same for the true and the made picture of a face. Differentiable.

    Of a `shard` of `count` pictures; fewer get those of the first ones.
    """

    def __init__(
        self,
        count: int,
        size: int,
        random: torch.Generator,
        shard: Callable[[Tensor], Tensor] = lambda batch: batch,
    ) -> None:
        self.brightness = shard((torch.rand(count, 1, 1, 1, generator=random) - 0.5) * 0.3)
        self.contrast = shard(torch.rand(count, 1, 1, 1, generator=random) * 0.5 + 0.75)
        self.margin = max(size // 16, 1)
        self.shift = shard(torch.randint(0, 2 * self.margin + 1, (count, 2), generator=random)).tolist()

    def __call__(self, pictures: Tensor) -> Tensor:
        mean = pictures.mean((1, 2, 3), keepdim=True)
        contrast, brightness = (x[: len(pictures)].to(pictures) for x in (self.contrast, self.brightness))
        pictures = (pictures - mean) * contrast + mean + brightness
        size = pictures.shape[-1]
        padded = F.pad(pictures, (self.margin,) * 4, mode="replicate")
        return torch.stack([p[:, y : y + size, x : x + size] for p, (x, y) in zip(padded, self.shift, strict=False)])

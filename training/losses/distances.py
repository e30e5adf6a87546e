"""How far sets of pictures are apart in style, and pictures in structure: numbers for reports and benchmarks.

Nothing here is trained for judging. A distance in a discriminator's features is called D-KID and never FID: FID and KID
are defined on Inception's features, and numbers in other features cannot be compared with theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ...latents.encoding import resize
from ...models.discriminator import Discriminator
from .adversarial import second_moments, texture_distance
from .reconstruction import discriminator_features
from .semantic import self_similarity_distance

STRUCTURE_SIZES = (8, 32)
"""Feature maps from 8 to 32 px are compared for structure: finer ones hold lines and grain."""

PatchPart = Literal["all", "colours", "details"]


def kernel_discrepancy(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD with KID's cubic kernel (Binkowski et al., arXiv 1801.01401) of features `[N, C]`, `[M, C]`.

    Both are standardised by y's statistics. It may come out a little below 0; nan with fewer than two rows on a side.
    """
    if min(len(x), len(y)) < 2:
        return float("nan")
    spread = y.std(0) + 1e-3
    x, y = (x - y.mean(0)) / spread, (y - y.mean(0)) / spread

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.t() / a.shape[1] + 1) ** 3

    def off_diagonal(k: Tensor) -> float:
        n = len(k)
        return float((k.sum() - k.diagonal().sum()) / (n * (n - 1)))

    return off_diagonal(kernel(x, x)) + off_diagonal(kernel(y, y)) - 2 * float(kernel(x, y).mean())


@torch.no_grad()
def sliced_patch_distance(
    prediction: Tensor,
    target: Tensor,
    patch: int = 7,
    count: int = 8192,
    directions: int = 128,
    part: PatchPart = "all",
) -> float:
    """Sliced Wasserstein distance of small patches at three scales (Karras et al., arXiv 1710.10196): a judge without
    parameters. Mean over scales, in picture units. Pictures `[N, 3, S, S]` and `[M, 3, S, S]`. `part`: of whole
    patches, of their mean colours alone, or of what is left of them without (lines, strokes, edges)."""
    random = torch.Generator().manual_seed(2)
    distances = []
    for _ in range(3):
        samples = [_part_of(_patches(pictures, patch, count, random), part) for pictures in (prediction, target)]
        axes = F.normalize(torch.randn(samples[0].shape[1], directions, generator=random), dim=0)
        a, b = ((s @ axes).sort(0).values for s in samples)
        distances.append(float((a - b).abs().mean()) / patch)
        prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
    return sum(distances) / len(distances)


def _part_of(patches: Tensor, part: PatchPart) -> Tensor:
    if part not in get_args(PatchPart):
        raise ValueError(f"Patches have no part '{part}'. Choose one of: {', '.join(get_args(PatchPart))}.")
    if part == "all":
        return patches
    channels = patches.unflatten(1, (3, -1))
    colours = channels.mean(2, keepdim=True).expand_as(channels)
    return (colours if part == "colours" else channels - colours).flatten(1)


class PatchJudge:
    """`sliced_patch_distance` to the same pictures `[M, 3, S, S]` again and again, with fewer patches and directions:
    their side is computed once, and the same places are looked at every time."""

    PATCH, COUNT, DIRECTIONS = 7, 4096, 64

    @torch.no_grad()
    def __init__(self, target: Tensor) -> None:
        random = torch.Generator().manual_seed(2)
        self._scales: list[tuple[Tensor, Tensor]] = []
        for _ in range(3):
            if min(target.shape[2:]) < self.PATCH:
                break
            sample = _patches(target, self.PATCH, self.COUNT, random)
            axes = F.normalize(torch.randn(sample.shape[1], self.DIRECTIONS, generator=random), dim=0)
            self._scales.append((axes, (sample @ axes).sort(0).values))
            target = F.avg_pool2d(target, 2)

    @torch.no_grad()
    def __call__(self, prediction: Tensor) -> float:
        """The distance of pictures `[N, 3, S, S]`, mean over scales, in picture units."""
        random = torch.Generator().manual_seed(3)
        total = 0.0
        for axes, known in self._scales:
            found = (_patches(prediction, self.PATCH, self.COUNT, random) @ axes).sort(0).values
            total += float((found - known).abs().mean()) / self.PATCH / len(self._scales)
            prediction = F.avg_pool2d(prediction, 2)
        return total


def _patches(pictures: Tensor, patch: int, count: int, random: torch.Generator) -> Tensor:
    """`[count, 3 * patch^2]`: patches from random places of random pictures."""
    columns = F.unfold(pictures, patch, stride=3).transpose(1, 2).flatten(0, 1)
    return columns[torch.randint(len(columns), (count,), generator=random)]


def d_kid(discriminator: Discriminator, prediction: Tensor, target: Tensor) -> float:
    """Kernel distance of two sets of pictures `[N, 3, S, S]` in a discriminator's features, averaged over the map."""
    return kernel_discrepancy(_pooled(discriminator, prediction), _pooled(discriminator, target))


@torch.no_grad()
def structure_distance(discriminator: Discriminator, pictures: Tensor, others: Tensor) -> Tensor:
    """`[N]`: how differently the parts of two pictures belong together, from the cosines between all positions of a
    discriminator's feature maps from 8 to 32 px. Colours and textures that change everywhere alike hardly count."""
    distances = []
    for a, b in zip(pictures.split(1), others.split(1), strict=True):
        maps = zip(_features(discriminator, a), _features(discriminator, b), strict=True)
        found = [
            self_similarity_distance(x, y) for x, y in maps if STRUCTURE_SIZES[0] <= x.shape[2] <= STRUCTURE_SIZES[1]
        ]
        distances.append(torch.stack(found).mean() if found else torch.tensor(float("nan")))
    return torch.stack(distances)


def appearance_distance(features: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Distance of two single pictures in texture and colour: of the second moments of their feature maps
    `[1, C, H, W]`, relative to the size of the second one's."""
    return float(texture_distance(second_moments(features), second_moments(others)))


def _features(discriminator: Discriminator, pictures: Tensor) -> list[Tensor]:
    device = next(discriminator.parameters()).device
    return discriminator_features(discriminator, resize(pictures.to(device), discriminator.config.resolution))


@torch.no_grad()
def _pooled(discriminator: Discriminator, pictures: Tensor) -> Tensor:
    """`[N, channels of all maps]`."""
    return torch.cat(
        [torch.cat([f.float().mean((2, 3)) for f in _features(discriminator, part)], 1) for part in pictures.split(8)]
    )


def gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours, across and down."""
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def face_box(x: Tensor) -> Tensor:
    """The part of an aligned picture that the face fills."""
    c = x.shape[-1] // 4
    return x[..., c : -(c // 2), c:-c]


@torch.no_grad()
def measure(prediction: Tensor, target: Tensor) -> dict[str, float]:
    """L1 (0..1 scale) over picture and face, PSNR, and the gradient energy of the face relative to the target's."""
    prediction = prediction.clamp(-1, 1)

    def energy(x: Tensor) -> float:
        return sum(float(g.square().mean()) for g in gradients(x))

    squared = ((prediction - target) / 2).square().mean((1, 2, 3))
    return {
        "l1": float((prediction - target).abs().mean()) / 2,
        "face_l1": float((face_box(prediction) - face_box(target)).abs().mean()) / 2,
        "psnr": float((-10 * squared.clamp(min=1e-10).log10()).mean()),
        "gradient_energy": energy(face_box(prediction)) / energy(face_box(target)),
    }

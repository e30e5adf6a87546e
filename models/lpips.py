"""LPIPS, the learned distance between pictures: a classifier's features, weighted channel by channel.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924), version 0.1.
The convolutions are those of VGG16 or AlexNet without what follows them; their widths come from the file.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BACKBONES = ("vgg", "alex")
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Pictures in -1..1 minus SHIFT, over SCALE, are what the classifiers were trained on."""
SMALLEST_SIDE = 32
"""Below this the last stage of AlexNet would see nothing."""
EPS = 1e-10


@dataclass(frozen=True)
class _Stage:
    """What lies before one compared feature map."""

    pool: tuple[int, int] | None
    """Kernel and stride of the max pooling in front, None for none."""
    convolutions: tuple[tuple[int, int, int, int], ...]
    """Index in torchvision's `features`, kernel, stride, padding; each followed by a ReLU."""


_STAGES: dict[str, tuple[_Stage, ...]] = {
    "vgg": tuple(
        _Stage((2, 2) if stage else None, tuple((index, 3, 1, 1) for index in indices))
        for stage, indices in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)))
    ),
    "alex": (
        _Stage(None, ((0, 11, 4, 2),)),
        _Stage((3, 2), ((3, 5, 1, 2),)),
        _Stage((3, 2), ((6, 3, 1, 1),)),
        _Stage(None, ((8, 3, 1, 1),)),
        _Stage(None, ((10, 3, 1, 1),)),
    ),
}


@dataclass(frozen=True)
class LpipsConfig:
    """Architecture of an LPIPS network."""

    backbone: str
    """"vgg" or "alex"."""
    widths: tuple[int, ...]
    """Width of every convolution, in order."""

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"The backbone {self.backbone!r} is none of {', '.join(BACKBONES)}.")
        count = len(convolution_indices(self.backbone))
        if len(self.widths) != count:
            raise ValueError(f"{self.backbone} has {count} convolutions, not {len(self.widths)}.")


def convolution_indices(backbone: str) -> tuple[int, ...]:
    """Where torchvision's `features` holds the convolutions of a backbone."""
    return tuple(index for stage in _STAGES[backbone] for index, *_ in stage.convolutions)


class Lpips(nn.Module):
    """`pictures, others [N, 3, H, W]` in -1..1 -> distances `[N]`, 0 for equal pictures; differentiable.

    Modules are named `features.<index>` as in torchvision and `lin<stage>` as in lpips.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, config: LpipsConfig) -> None:
        super().__init__()
        self.config = config
        self.stages = _STAGES[config.backbone]
        self.features = nn.ModuleDict()
        ends: list[int] = []
        before, widths = 3, iter(config.widths)
        for stage in self.stages:
            for index, kernel, stride, padding in stage.convolutions:
                width = next(widths)
                self.features[str(index)] = nn.Conv2d(before, width, kernel, stride, padding)
                before = width
            ends.append(before)
        self.lin = nn.ParameterList([nn.Parameter(torch.zeros(1, width, 1, 1)) for width in ends])
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The compared feature maps, each position's channels of length 1."""
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[2:]) < SMALLEST_SIDE:
            raise ValueError(
                f"LPIPS compares pictures [N, 3, H, W] of at least {SMALLEST_SIDE} px, not {list(pictures.shape)}."
            )
        x = (pictures - self.shift) / self.scale
        maps = []
        for stage in self.stages:
            if stage.pool is not None:
                x = F.max_pool2d(x, *stage.pool)
            for index, *_ in stage.convolutions:
                x = F.relu(self.features[str(index)](x))
            # Not divided by a square root that may be 0: where all channels are off, its gradient is not a number.
            maps.append(F.normalize(x, dim=1, eps=EPS))
        return maps

    def between(self, maps: list[Tensor], others: list[Tensor]) -> Tensor:
        """Distances `[N]` of pictures whose `maps` are known."""
        distances = [
            ((a - b).square() * weight).sum(dim=1).mean(dim=(1, 2))
            for a, b, weight in zip(maps, others, self.lin, strict=True)
        ]
        return torch.stack(distances).sum(dim=0)

    def forward(self, pictures: Tensor, others: Tensor) -> Tensor:
        return self.between(self.maps(pictures), self.maps(others))

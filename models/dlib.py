"""dlib's face recognition network, whose weights are free (CC0): who is in a picture, as 128 numbers.

King, "High Quality Face Recognition with Deep Metric Learning" (blog.dlib.net, 2017): the residual network of He et
al. (arXiv 1512.03385) with half as many filters and 29 convolutions. Two pictures of a person are nearer than 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ops import at_least_float32

SAME_PERSON = 0.6
"""Distance below which two descriptors are of one person, as the network was trained and is documented."""
SAME_SIMILARITY = 0.3
"""What `similarity` gives at that distance: about where ArcFace's cosine parts people, too. Strangers are near 0."""
MEAN_COLOUR = (122.782, 117.001, 104.298)
SIDE = 150
CHIP_EYES = ((48.23, 47.64), (100.78, 47.62))
"""Centres of the eyes in the picture that the network takes, in corner-origin pixels of 150 x 150."""
ALIGNED_EYES = ((0.375, 0.4755), (0.625, 0.4755))
"""Where FFHQ's rule puts them (a square four times as wide as the eyes are apart), in parts of the picture's side."""
LARGEST_CROP = 256
"""Larger pictures are made smaller first, so that the chip is cut out without aliasing."""
MOST_BLOCKS = 64


@dataclass(frozen=True)
class DlibConfig:
    """Architecture; the defaults are the published network's."""

    widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Width of each stage; all but the first begin with a block that halves the picture."""
    blocks: tuple[int, ...] = (3, 4, 3, 3, 1)
    """Residual blocks of each stage."""
    embedding: int = 128
    """Length of a descriptor."""

    def __post_init__(self) -> None:
        for name in ("widths", "blocks"):
            object.__setattr__(self, name, tuple(int(number) for number in getattr(self, name)))
        if len(self.widths) != len(self.blocks) or not self.widths or sum(self.blocks) > MOST_BLOCKS:
            raise ValueError(f"A network of widths {self.widths} cannot have {self.blocks} blocks.")

    @property
    def resolution(self) -> int:
        """Height and width of the picture it takes."""
        return SIDE


class Convolution(nn.Module):
    """A convolution, then a scale and a shift of each channel (what training's batch normalisation came to)."""

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        # dlib pads a convolution only where it keeps the size.
        self.conv = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2 if stride == 1 else 0)
        self.scale = nn.Parameter(torch.ones(after))
        self.shift = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor) -> Tensor:
        # Scaled weights, and not maps: a third less time for a network of 29 of these.
        weight = self.conv.weight * self.scale[:, None, None, None]
        bias = self.shift if self.conv.bias is None else self.shift + self.scale * self.conv.bias
        return F.conv2d(x, weight, bias, self.conv.stride, self.conv.padding)


class Block(nn.Module):
    """`x [N, I, H, W] -> [N, O, H, W]`, or half the size where it halves."""

    def __init__(self, before: int, after: int, halves: bool) -> None:
        super().__init__()
        self.conv1 = Convolution(before, after, stride=2 if halves else 1)
        self.conv2 = Convolution(after, after)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        short = F.avg_pool2d(x, 2) if self.halves else x
        # dlib adds maps of different sizes as if zeros continued them below, at the right and in further channels.
        size = [max(a, b) for a, b in zip(short.shape[1:], y.shape[1:], strict=True)]
        return F.relu(_padded(short, size) + _padded(y, size))


def _padded(x: Tensor, size: list[int]) -> Tensor:
    channels, height, width = (want - have for want, have in zip(size, x.shape[1:], strict=True))
    return F.pad(x, (0, width, 0, height, 0, channels)) if channels or height or width else x


class DlibFace(nn.Module):
    """`face [N, 3, 150, 150]` in -1..1, cut out by `crop_for_dlib` -> descriptors `[N, 128]`, of no set length."""

    def __init__(self, config: DlibConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = Convolution(3, config.widths[0], kernel=7, stride=2)
        self.blocks = nn.Sequential()
        before = config.widths[0]
        for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for index in range(count):
                self.blocks.append(Block(before, width, halves=stage > 0 and index == 0))
                before = width
        self.fc = nn.Linear(before, config.embedding, bias=False)

    def forward(self, face: Tensor) -> Tensor:
        if face.ndim != 4 or tuple(face.shape[1:]) != (3, SIDE, SIDE):
            raise ValueError(
                f"The network takes faces of shape [N, 3, {SIDE}, {SIDE}], not {list(face.shape)}. "
                "`crop_for_dlib` cuts them out of aligned pictures."
            )
        return self.features(face)[1]

    def features(self, face: Tensor) -> tuple[Tensor, Tensor]:
        """What the descriptors are read from, `[N, C]` (means of the last maps), and the descriptors; in float32."""
        mean = face.new_tensor(MEAN_COLOUR)[:, None, None]
        x = ((face + 1) * 127.5 - mean) / 256
        x = F.max_pool2d(F.relu(self.stem(x.to(self.fc.weight.dtype))), 3, 2)
        x = self.blocks(x).mean(dim=(2, 3))
        return at_least_float32(x), at_least_float32(self.fc(x))

    def describe(self, pictures: Tensor, eyes: Tensor | None = None) -> Tensor:
        """The descriptors `[N, 128]` of aligned pictures; arguments as in `crop_for_dlib`."""
        return self(crop_for_dlib(pictures, eyes))

    def similarity(self, descriptors: Tensor, others: Tensor) -> Tensor:
        """1 where they are equal, 0.3 at a distance of 0.6, about 0 for strangers; down to -1. `[..., D] -> [...]`."""
        apart = torch.linalg.vector_norm(descriptors - others, dim=-1)
        return (1 - apart * ((1 - SAME_SIMILARITY) / SAME_PERSON)).clamp_min(-1)


def crop_for_dlib(pictures: Tensor, eyes: Tensor | None = None) -> Tensor:
    """The face in `pictures [N, 3, S, S]` as `[N, 3, 150, 150]`, turned and scaled so that its eyes lie where the
    network expects them; differentiable.

    eyes: `[N, 2, 2]` centres (x, y) of the eye at the picture's left and of the other, in its pixels; None takes where
        they are on average in FFHQ-aligned pictures.
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"Pictures have shape {list(pictures.shape)}; give aligned square faces [N, 3, S, S].")
    if eyes is None:
        places = pictures.new_tensor(ALIGNED_EYES).expand(len(pictures), 2, 2)
    else:
        places = eyes.to(pictures) / pictures.shape[2]
    if pictures.shape[2] > LARGEST_CROP:
        pictures = F.interpolate(pictures, size=(LARGEST_CROP,) * 2, mode="bilinear", antialias=True)
    left, right = places.unbind(1)
    (left_x, y), (right_x, _) = CHIP_EYES
    across = ((right - left) / (right_x - left_x))[:, None, None]  # of a step to the right in the chip
    down = torch.stack([-across[..., 1], across[..., 0]], dim=-1)
    steps = torch.arange(SIDE, device=pictures.device, dtype=pictures.dtype) + 0.5
    points = left[:, None, None] + across * (steps - left_x)[None, None, :, None] + down * (steps - y)[:, None, None]
    return F.grid_sample(pictures, points * 2 - 1, mode="bilinear", padding_mode="zeros", align_corners=False)

"""Our face encoder: an aligned face to W+ in one pass, small enough to ship and to run on a CPU.

A stem brings the picture to 32 px, residual stages to 4 px; the code of every layer is read from the whole 4x4 and 8x8
maps and the mean of the 16x16 map, as a difference from the mean latent (the idea of pSp and e4e, Richardson et al.
2021 and Tov et al. 2021, at a hundredth of their size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dlib import DlibConfig, DlibFace, crop_for_dlib
from .ops import LEAKY_SLOPE, at_least_float32, compute_dtype

FIRST_STAGE = 32
"""Resolution of the first residual stage."""
STAGES = 4
"""Residual stages: 32, 16, 8 and 4 px."""


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder."""

    resolution: int
    """Height and width of the picture it takes: a power of two, at least 64."""
    num_ws: int
    w_dim: int
    channels: tuple[int, ...] = (32, 64, 128, 192, 256)
    """Width of the stem, then of the stages at 32, 16, 8 and 4 px."""
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    """Residual blocks of the stages at 32, 16, 8 and 4 px."""
    hidden: int = 384
    """Width of the layer that the codes are read from."""
    one_code: bool = False
    """Whether all layers get the same code, a point in W, in place of one each."""
    face_branch: bool = False
    """Whether a second branch, a network like dlib's for face recognition, looks at the face alone."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(c) for c in self.channels))
        if self.resolution < 2 * FIRST_STAGE or self.resolution & (self.resolution - 1):
            raise ValueError(f"The encoder takes pictures of 64, 128, 256, ... px, not {self.resolution}.")
        object.__setattr__(self, "blocks", tuple(int(b) for b in self.blocks))
        if len(self.channels) != STAGES + 1 or len(self.blocks) != STAGES:
            raise ValueError(
                f"The encoder needs {STAGES + 1} channel widths and {STAGES} block counts, and "
                f"{len(self.channels)} and {len(self.blocks)} were given."
            )


class ResidualBlock(nn.Module):
    """`x [N, C, H, W] -> x + scale * conv(act(conv(act(x))))`; a small learned scale takes the place of a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv0(F.leaky_relu(x, LEAKY_SLOPE))
        y = self.conv1(F.leaky_relu(y, LEAKY_SLOPE))
        return torch.addcmul(x, y, self.scale.to(x.dtype))


class Encoder(nn.Module):
    """`image [N, 3, R, R]` in -1..1 `-> w_plus [N, num_ws, w_dim]` float32, as `mean_latent + latent_std * delta`.

    `mean_latent` and `latent_std` (`[w_dim]`, of the generator it is for) are set before training, so that an untrained
    encoder gives the mean face.
    """

    mean_latent: Tensor
    latent_std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        stem_width, *widths = config.channels
        halvings = int(math.log2(config.resolution // FIRST_STAGE))
        self.stem = nn.ModuleList(
            nn.Conv2d(3 if i == 0 else stem_width, stem_width, 4, stride=2, padding=1) for i in range(halvings)
        )
        self.enter = nn.ModuleList(
            # The stem is at 32 px already; later stages halve on the way in.
            nn.Conv2d(before, width, 3, stride=1 if i == 0 else 2, padding=1)
            for i, (before, width) in enumerate(zip([stem_width, *widths[:-1]], widths, strict=True))
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, config.blocks, strict=True)
        )
        self.read8 = nn.Conv2d(widths[2], 24, 1)
        self.read4 = nn.Conv2d(widths[3], 96, 1)
        features = 24 * 64 + 96 * 16 + widths[1]
        self.norm = nn.LayerNorm(features)
        self.face = DlibFace(DlibConfig()) if config.face_branch else None
        if self.face is not None:
            seen = self.face.config.widths[-1] + self.face.config.embedding
            self.face_norm = nn.LayerNorm(seen)
            features += seen
        self.fc = nn.Linear(features, config.hidden)
        self.out = nn.Linear(config.hidden, config.w_dim * (1 if config.one_code else config.num_ws))
        nn.init.normal_(self.out.weight, std=0.01 / math.sqrt(config.hidden))
        nn.init.zeros_(self.out.bias)
        self.register_buffer("mean_latent", torch.zeros(config.w_dim))
        self.register_buffer("latent_std", torch.ones(config.w_dim))

    def describe(self, image: Tensor) -> Tensor | None:
        """What the second branch says of who is in aligned pictures `[N, 3, S, S]` of any size: `[N, D]`, in float32.

        It began as a network whose descriptors of one person are nearer than `dlib.SAME_PERSON`. None without it.
        """
        return None if self.face is None else self.face.describe(at_least_float32(image))

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask [N, fc.in_features]` is multiplied to what the branches say: dropout, in training."""
        size = self.config.resolution
        if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] != size or image.shape[3] != size:
            raise ValueError(f"This encoder takes pictures of shape [N, 3, {size}, {size}], not {list(image.shape)}.")
        x = image.to(compute_dtype(image))
        if x.device.type == "cpu" or x.dtype != torch.float32:
            x = x.contiguous(memory_format=torch.channels_last)
        for i, conv in enumerate(self.stem):
            x = conv(x if i == 0 else F.leaky_relu(x, LEAKY_SLOPE))
        maps = []
        for enter, stage in zip(self.enter, self.stages, strict=True):
            x = stage(enter(F.leaky_relu(x, LEAKY_SLOPE)))
            maps.append(x)
        mean16 = F.leaky_relu(maps[1], LEAKY_SLOPE).mean(dim=(2, 3))
        features = torch.cat(
            [
                self.read8(F.leaky_relu(maps[2], LEAKY_SLOPE)).flatten(1),
                self.read4(F.leaky_relu(maps[3], LEAKY_SLOPE)).flatten(1),
                mean16,
            ],
            dim=1,
        )
        seen = None if self.face is None else self.face.features(crop_for_dlib(at_least_float32(image)))
        with torch.autocast(x.device.type, enabled=False):
            read = self.norm(features.to(self.fc.weight.dtype))
            if seen is not None:
                read = torch.cat([read, self.face_norm(torch.cat(seen, dim=1).to(read.dtype))], dim=1)
            if mask is not None:
                read = read * mask
            hidden = F.leaky_relu(self.fc(read), LEAKY_SLOPE)
            w = self.mean_latent + self.latent_std * self.out(hidden).unflatten(1, (-1, self.config.w_dim))
            return w.expand(-1, self.config.num_ws, -1)

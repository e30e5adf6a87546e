"""BiSeNet: which part of a face is where, as the public face-parsing network labels it.

Yu et al., "BiSeNet" (arXiv 1808.00897) on ResNet-18, its spatial path replaced by the features at 1/8, which is how the
public weights were trained on CelebAMask-HQ. Modules have the names of that file; widths come from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet, for pictures in 0..1."""
CLASSES = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "clothes",
    "hair",
    "hat",
)
"""What the 19 labels of the public file stand for."""
SIDE = 512
"""Height and width of the pictures that the public file was trained on."""


@dataclass(frozen=True)
class BiSeNetConfig:
    """Architecture of a face-parsing network."""

    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Of ResNet's stages, at 1/4, 1/8, 1/16 and 1/32 of the picture."""
    context: int = 128
    """Width of the context path."""
    fused: int = 256
    """Width of the fusion of both."""
    classes: int = len(CLASSES)


class ConvBnRelu(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Sequential | None = None
        if before != after or stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + short)


class ResNet18(nn.Module):
    """`pictures -> maps at 1/8, 1/16, 1/32`."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._stage(widths[0], widths[0], 1)
        self.layer2 = self._stage(widths[0], widths[1], 2)
        self.layer3 = self._stage(widths[1], widths[2], 2)
        self.layer4 = self._stage(widths[2], widths[3], 2)

    @staticmethod
    def _stage(before: int, after: int, stride: int) -> nn.Sequential:
        return nn.Sequential(BasicBlock(before, after, stride), BasicBlock(after, after, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        at_8 = self.layer2(self.layer1(x))
        at_16 = self.layer3(at_8)
        return at_8, at_16, self.layer4(at_16)


class AttentionRefinement(nn.Module):
    """Features, each channel scaled by a number in 0..1 that the whole picture decides."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(before, after)
        self.conv_atten = nn.Conv2d(after, after, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean(dim=(2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """`pictures -> ResNet's map at 1/8, and the context at 1/8`."""

    def __init__(self, config: BiSeNetConfig) -> None:
        super().__init__()
        width = config.context
        self.resnet = ResNet18(config.widths)
        self.arm16 = AttentionRefinement(config.widths[2], width)
        self.arm32 = AttentionRefinement(config.widths[3], width)
        self.conv_head32 = ConvBnRelu(width, width)
        self.conv_head16 = ConvBnRelu(width, width)
        self.conv_avg = ConvBnRelu(config.widths[3], width, kernel=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        at_8, at_16, at_32 = self.resnet(x)
        whole = self.conv_avg(at_32.mean(dim=(2, 3), keepdim=True))
        context = self.conv_head32(F.interpolate(self.arm32(at_32) + whole, at_16.shape[2:], mode="nearest"))
        context = self.conv_head16(F.interpolate(self.arm16(at_16) + context, at_8.shape[2:], mode="nearest"))
        return at_8, context


class FeatureFusion(nn.Module):
    """Two maps of one size as one."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convblk = ConvBnRelu(before, after, kernel=1)
        self.conv1 = nn.Conv2d(after, after // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(after // 4, after, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([spatial, context], dim=1))
        attention = self.conv2(F.relu(self.conv1(x.mean(dim=(2, 3), keepdim=True))))
        return x + x * torch.sigmoid(attention)


class Output(nn.Module):
    """Features to logits."""

    def __init__(self, before: int, between: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvBnRelu(before, between)
        self.conv_out = nn.Conv2d(between, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """`pictures [N, 3, H, W]` in -1..1 -> logits `[N, classes, H / 8, W / 8]`, the classes being CLASSES.

    The public file's two further outputs, which only its training used, are not built.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BiSeNetConfig) -> None:
        super().__init__()
        self.config = config
        self.cp = ContextPath(config)
        self.ffm = FeatureFusion(config.widths[1] + config.context, config.fused)
        self.conv_out = Output(config.fused, config.fused, config.classes)
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        if pictures.ndim != 4 or pictures.shape[1] != 3 or min(pictures.shape[2:]) < 32:
            raise ValueError(f"Face parsing takes pictures [N, 3, H, W] of 32 px or more, not {list(pictures.shape)}.")
        return self.conv_out(self.ffm(*self.cp((pictures * 0.5 + 0.5 - self.mean) / self.std)))


def bisenet_config(state: dict[str, Tensor]) -> BiSeNetConfig:
    """The architecture, from the shapes in a state dict."""
    widths = [state[f"cp.resnet.layer{stage}.0.conv1.weight"].shape[0] for stage in range(1, 5)]
    return BiSeNetConfig(
        widths=(widths[0], widths[1], widths[2], widths[3]),
        context=state["cp.conv_avg.conv.weight"].shape[0],
        fused=state["ffm.convblk.conv.weight"].shape[0],
        classes=state["conv_out.conv_out.weight"].shape[0],
    )

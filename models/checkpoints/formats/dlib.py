"""dlib's face recognition network: `dlib_face_recognition_resnet_model_v1.dat`, or face-api.js' 8-bit copy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...dlib import DlibConfig
from ..contents import Contents, Weights
from ..dlib_stream import Layer

FAMILY = "dlib"
STEM = "conv32_down"
"""face-api.js' name of the first convolution."""
SHORT = {
    "con_4": "C",
    "affine_": "A",
    "relu_": "R",
    "max_pool_2": "M",
    "avg_pool_2": "P",
    "add_prev_": "+",
    "fc_2": "F",
}
ORDER = re.compile(r"CARM((?:CARCAP?\+R)+)PF")
"""Stem, residual blocks (a pooling in those that halve), mean over the picture, the matrix to the descriptor."""
PLAIN, HALVING, FIRST = (3, 3, 1, 1, 1, 1), (3, 3, 2, 2, 0, 0), (7, 7, 2, 2, 0, 0)
"""Kernel, stride and padding of the convolutions."""


def detect(contents: Contents) -> bool:
    """Whether it is dlib's own file, or face-api.js' manifest of this network."""
    if contents.container == "tfjs":
        return f"{STEM}/conv/filters" in contents.data and "fc" in contents.data
    return contents.container == "dlib"


def read(contents: Contents) -> Weights:
    """The network."""
    own = contents.container == "dlib"
    stem, blocks, fc = _from_layers(contents.data) if own else _from_manifest(contents.data)
    state = {f"stem.{name}": tensor for name, tensor in stem.items()}
    widths, counts = [len(stem["scale"])], [0]
    for number, (halves, first, second) in enumerate(blocks):
        if halves:
            widths.append(len(second["scale"]))
            counts.append(0)
        counts[-1] += 1
        state |= {f"blocks.{number}.conv1.{name}": tensor for name, tensor in first.items()}
        state |= {f"blocks.{number}.conv2.{name}": tensor for name, tensor in second.items()}
    state["fc.weight"] = fc
    return Weights(family=FAMILY, embedding=(DlibConfig(tuple(widths), tuple(counts), len(fc)), state))


Convolution = Mapping[str, Tensor]
Parts = tuple[Convolution, list[tuple[bool, Convolution, Convolution]], Tensor]
"""The stem, of each block whether it halves and its two convolutions, and the last matrix `[128, 256]`."""


def _from_layers(layers: Sequence[Layer]) -> Parts:
    order = "".join(SHORT[layer.kind] for layer in layers)
    match = ORDER.fullmatch(order)
    if match is None:
        raise ValueError(f"its {len(layers)} layers are not those of the face recognition network")
    blocks = []
    for block in re.finditer(r"CARCA(P?)\+R", match[1]):
        place = match.start(1) + block.start()
        first = _convolution(layers[place : place + 2], HALVING if block[1] else PLAIN)
        blocks.append((bool(block[1]), first, _convolution(layers[place + 3 : place + 5], PLAIN)))
    outputs, inputs, _ = layers[-1].numbers
    return _convolution(layers[:2], FIRST), blocks, layers[-1].values.reshape(inputs, outputs).t()


def _convolution(pair: Sequence[Layer], geometry: tuple[int, ...]) -> Convolution:
    """The tensors of a convolution and of the scaling after it, each stored in one row."""
    convolution, scaling = pair
    width = convolution.numbers[0]
    if convolution.numbers[1:] != geometry or width < 1:
        raise ValueError(f"a convolution of {convolution.numbers[1:]}, where {geometry} belongs")
    filters, bias = convolution.values[:-width], convolution.values[-width:]
    scale, shift = scaling.values.reshape(2, -1)
    return {
        "conv.weight": filters.reshape(width, -1, *geometry[:2]),
        "conv.bias": bias,
        "scale": scale,
        "shift": shift,
    }


def _from_manifest(tensors: Mapping[str, Tensor]) -> Parts:
    def convolution(name: str) -> Convolution:
        return {
            "conv.weight": tensors[f"{name}/conv/filters"].permute(3, 2, 0, 1),
            "conv.bias": tensors[f"{name}/conv/bias"],
            "scale": tensors[f"{name}/scale/weights"],
            "shift": tensors[f"{name}/scale/biases"],
        }

    names = [name.partition("/conv1/")[0] for name in tensors if name.endswith("/conv1/conv/filters")]
    blocks = [("_down" in name, convolution(f"{name}/conv1"), convolution(f"{name}/conv2")) for name in names]
    return convolution(STEM), blocks, torch.t(tensors["fc"])

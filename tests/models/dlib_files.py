"""dlib's network with random weights, written as dlib, face-api.js and nobody else would write it."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facestylist.models.dlib import Convolution, DlibConfig, DlibFace

SMALL = DlibConfig((4, 6, 8, 8), (1, 2, 1, 1), 5)
"""Deep enough for a block whose two sides differ by a pixel, which dlib fills with zeros."""
MANIFEST = "face_recognition_model-weights_manifest.json"


def network(config: DlibConfig = SMALL, seed: int = 0) -> DlibFace:
    with torch.random.fork_rng():
        made = DlibFace(config).eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    for name, tensor in made.state_dict().items():
        fan_in = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 1
        values = torch.randn(tensor.shape, generator=random) * (0.8 / fan_in**0.5 if tensor.ndim > 1 else 0.2)
        tensor.copy_(1.0 + values if name.endswith("scale") else values)
    return made


def integer(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def real(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: Tensor, *lengths: int) -> bytes:
    lengths = lengths or (0, 0, 0, 0)
    data = values.flatten().tolist()
    return b"".join(map(integer, (2, *lengths))) + struct.pack(f"<{len(data)}f", *data)


NOTHING = tensor(torch.empty(0))
PLACE = b"".join(map(integer, (1, 1, 4, 1, 1)))
FACTORS = real(1.0) * 4


def dat(net: DlibFace) -> bytes:
    """`dlib_face_recognition_resnet_model_v1.dat` of this network."""
    layers: list[bytes] = []
    after = b"110" + NOTHING * 3

    def plain(name: str, *numbers: int) -> None:
        layers.append(text(name) + b"".join(map(integer, numbers)) + after)

    def convolution(part: Convolution) -> None:
        weight, width = part.conv.weight, len(part.scale)
        kernel, stride, padding = weight.shape[-1], part.conv.stride[0], int(part.conv.padding[0])
        values = torch.cat([weight.flatten(), part.conv.bias])
        numbers = (width, kernel, kernel, stride, stride, padding, padding)
        layers.append(
            text("con_4")
            + tensor(values, len(values), 1, 1, 1)
            + b"".join(map(integer, numbers))
            + PLACE * 2
            + FACTORS
            + after
            + (integer(1) if not layers else b"")
        )
        values = torch.cat([part.scale, part.shift])
        layers.append(text("affine_") + tensor(values, len(values), 1, 1, 1) + PLACE * 2 + integer(0) + after)

    convolution(net.stem)
    plain("relu_")
    plain("max_pool_2", 3, 3, 2, 2, 0, 0)
    for block in net.blocks:
        convolution(block.conv1)  # type: ignore[arg-type]
        plain("relu_")
        convolution(block.conv2)  # type: ignore[arg-type]
        if block.halves:
            plain("avg_pool_2", 2, 2, 2, 2, 0, 0)
        plain("add_prev_")
        plain("relu_")
    plain("avg_pool_2", 0, 0, 1, 1, 0, 0)
    weight = net.fc.weight.t()
    layers.append(
        text("fc_2")
        + integer(weight.shape[1])
        + integer(weight.shape[0])
        + tensor(weight, *weight.shape, 1, 1)
        + PLACE * 2
        + integer(1)
        + FACTORS
        + after
    )
    versions = [2] * (len(layers) - 1) + [3]
    head = integer(1) + text("loss_metric_2") + real(0.04) + real(0.6) + b"".join(map(integer, versions))
    pixels = text("input_rgb_image_sized") + real(122.782) + real(117.001) + real(104.298) + integer(150) * 2
    return head + pixels + b"".join(layers)


def tfjs(net: DlibFace, folder: Path, packed: bool = True, shards: int = 1) -> tuple[Path, dict[str, float]]:
    """(face-api.js' manifest, its weights beside it; half a step of each packed tensor by our name)."""
    blocks = [(f"conv{number}{'_down' if block.halves else ''}", block) for number, block in enumerate(net.blocks)]
    parts = [("conv32_down", "stem", net.stem)]
    for number, (name, block) in enumerate(blocks):
        for which in ("conv1", "conv2"):
            parts.append((f"{name}/{which}", f"blocks.{number}.{which}", getattr(block, which)))
    entries: dict[str, tuple[str, Tensor]] = {}
    for theirs, ours, part in parts:
        entries[f"{theirs}/conv/filters"] = f"{ours}.conv.weight", part.conv.weight.permute(2, 3, 1, 0)
        entries[f"{theirs}/conv/bias"] = f"{ours}.conv.bias", part.conv.bias
        entries[f"{theirs}/scale/weights"] = f"{ours}.scale", part.scale
        entries[f"{theirs}/scale/biases"] = f"{ours}.shift", part.shift
    entries["fc"] = "fc.weight", net.fc.weight.t()
    weights: list[dict[str, Any]] = []
    data, steps = b"", {}
    for name, (ours, values) in entries.items():
        entry: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": "float32"}
        if packed and not name.startswith("conv0/conv1/conv"):  # face-api.js' copy has some as they were, too
            least, scale = float(values.min()), float(values.max() - values.min()) / 255
            entry["quantization"] = {"dtype": "uint8", "scale": scale, "min": least}
            data += bytes(((values.flatten() - least) / scale).round().clamp(0, 255).to(torch.uint8).tolist())
            steps[ours] = scale / 2
        else:
            data += values.contiguous().numpy().tobytes()
        weights.append(entry)
    names = [f"face_recognition_model-shard{number}" for number in range(1, shards + 1)]
    names = names if shards > 1 else ["face_recognition_model.bin"]
    length = -(-len(data) // shards)
    for number, name in enumerate(names):
        (folder / name).write_bytes(data[number * length : (number + 1) * length])
    (folder / MANIFEST).write_text(json.dumps([{"paths": names, "weights": weights}]))
    return folder / MANIFEST, steps

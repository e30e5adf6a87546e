"""StyleGAN2 written as its papers define it, slowly and in float64, to compare the real networks with.

Upsampling inserts zeros, filters are sums over shifted copies, modulation makes one set of weights per sample. Nothing
is shared with the code under test but the names of its parameters.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
TAPS = [1 / 8, 3 / 8, 3 / 8, 1 / 8]


def double_state(module: torch.nn.Module) -> State:
    """Parameters and buffers as float64 leaves."""
    return {name: tensor.detach().double() for name, tensor in module.state_dict().items()}


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Gives biases and noise strengths, which start at zero, values that a mistake would show in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)


def insert_zeros(x: Tensor) -> Tensor:
    """`[N, C, H, W] -> [N, C, 2H, 2W]`, a zero after every pixel."""
    out = torch.zeros(*x.shape[:2], x.shape[2] * 2, x.shape[3] * 2, dtype=x.dtype)
    out[:, :, ::2, ::2] = x
    return out


def correlate(x: Tensor, taps: list[float], before: int, after: int) -> Tensor:
    """Separable filter with zero padding, tap by tap."""
    for dim in (2, 3):
        pad = [0, 0, before, after] if dim == 2 else [before, after, 0, 0]
        padded = F.pad(x, pad)
        length = padded.shape[dim] - len(taps) + 1
        x = sum(tap * padded.narrow(dim, i, length) for i, tap in enumerate(taps))
    return x


def upsample(x: Tensor) -> Tensor:
    return 4 * correlate(insert_zeros(x), TAPS, 2, 1)


def downsample(x: Tensor) -> Tensor:
    return correlate(x, TAPS, 1, 1)[:, :, ::2, ::2]


def activate(x: Tensor) -> Tensor:
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def linear(state: State, name: str, x: Tensor, lr: float = 1.0) -> Tensor:
    weight = state[f"{name}.weight"]
    return x @ weight.t() * lr / math.sqrt(weight.shape[1]) + state[f"{name}.bias"] * lr


def unit(x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(dim=1, keepdim=True) + 1e-8)


def mapping(state: State, z: Tensor, layers: int, lr: float) -> Tensor:
    x = unit(z)
    for i in range(layers):
        x = activate(linear(state, f"mapping.layers.{i}", x, lr))
    return x


def modulated_conv(state: State, name: str, x: Tensor, w: Tensor, up: bool = False, demodulate: bool = True) -> Tensor:
    styles = linear(state, f"{name}.affine", w)
    out = []
    for sample, style in zip(x, styles, strict=True):
        weight = state[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel()) * style[None, :, None, None]
        if demodulate:
            weight = weight / torch.sqrt((weight**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
        if up:
            # Zero insertion, then the convolution in full (the transposed convolution flips its kernel), then the
            # filter; padded so that two rows and columns of the whole are lost on every side.
            inserted = insert_zeros(sample[None])[:, :, :-1, :-1]
            whole = F.conv2d(F.pad(inserted, [2, 2, 2, 2]), weight.flip(2, 3))
            out.append(4 * correlate(whole, TAPS, 1, 1))
        else:
            out.append(F.conv2d(sample[None], weight, padding=weight.shape[-1] // 2))
    return torch.cat(out)


def synthesis(state: State, w_plus: Tensor, noise: bool = True) -> tuple[Tensor, dict[int, Tensor]]:
    x = state["synthesis.blocks.0.const"].expand(len(w_plus), -1, -1, -1)
    image, index, features = None, 0, {}
    for k in range(w_plus.shape[1] // 2):
        for layer in ("conv1",) if k == 0 else ("conv0", "conv1"):
            name = f"synthesis.blocks.{k}.{layer}"
            x = modulated_conv(state, name, x, w_plus[:, index], up=layer == "conv0")
            if noise:
                x = x + state[f"{name}.noise_const"] * state[f"{name}.noise_strength"]
            x = activate(x + state[f"{name}.bias"][:, None, None])
            index += 1
        features[4 * 2**k] = x
        name = f"synthesis.blocks.{k}.to_rgb"
        rgb = modulated_conv(state, name, x, w_plus[:, index], demodulate=False) + state[f"{name}.bias"][:, None, None]
        image = rgb if image is None else upsample(image) + rgb
    assert image is not None
    return image, features


def conv(state: State, name: str, x: Tensor, padding: int) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), padding=padding)


def discriminator(state: State, images: Tensor, group: int) -> Tensor:
    x = activate(conv(state, "from_rgb", images, 0) + state["from_rgb.bias"][:, None, None])
    i = 0
    while f"blocks.{i}.skip.weight" in state:
        name = f"blocks.{i}"
        y = activate(conv(state, f"{name}.conv0", x, 1) + state[f"{name}.conv0.bias"][:, None, None])
        y = conv(state, f"{name}.conv1", correlate(y, TAPS, 2, 2), 0)[:, :, ::2, ::2]
        y = activate(y + state[f"{name}.conv1.bias"][:, None, None])
        x = (y + conv(state, f"{name}.skip", downsample(x), 0)) / math.sqrt(2)
        i += 1
    groups = len(x) // group
    extra = torch.zeros(len(x), 1, 4, 4, dtype=x.dtype)
    for g in range(groups):
        members = x[g::groups]
        extra[g::groups] = torch.sqrt(members.var(dim=0, unbiased=False) + 1e-8).mean()
    x = activate(conv(state, "conv", torch.cat([x, extra], 1), 1) + state["conv.bias"][:, None, None])
    return linear(state, "out", activate(linear(state, "fc", x.flatten(1))))

"""Operators of StyleGAN2 in plain PyTorch: equalised layers, FIR resampling, modulated convolution.

Every operator is exact with respect to the published definition (zero insertion, full convolution, FIR filter, crop),
differentiable twice (R1 and path length need it), and works under autocast. The forms were chosen by timing them on
CPU: a transposed convolution followed by a depthwise FIR costs a third of one convolution with a composed kernel;
where channels are many, scaling activations (before: the style; after: the demodulation) replaces per-sample weights;
and what follows a convolution is written into its result.

Source: Karras et al., *Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020 (sections 2.2 and 4).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SQRT2 = math.sqrt(2.0)
LEAKY_SLOPE = 0.2
DEMODULATION_EPS = 1e-8
PIXELS_PER_WEIGHT = 4
"""Pixels for each output channel and tap of the kernel, from which on a convolution is done sample by sample."""
FIR_TAPS = (1.0, 3.0, 3.0, 1.0)


def fir_kernel(gain: float = 1.0, device: torch.device | str = "cpu") -> Tensor:
    """The separable binomial filter of StyleGAN2 as `[4, 4]` float32, its sum being `gain`."""
    taps = torch.tensor(FIR_TAPS, device=device)
    kernel = torch.outer(taps, taps)
    return kernel * (gain / kernel.sum())


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which convolutions of `x` will run: autocast's where autocast is on for its device, else its own."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def at_least_float32(x: Tensor) -> Tensor:
    """`x` in float32, or as it is in float64 (the gradient checks run there)."""
    return x if x.dtype == torch.float64 else x.float()


def fir_filter(x: Tensor, kernel: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Filters each channel of `x [N, C, H, W]` by `kernel [4, 4]` with zero padding on every side; keeps the dtype.

    Returns `[N, C, (H + 2 * padding - 4) // stride + 1, ...]`. The kernel is symmetric, so there is no flip to mind.
    """
    channels = x.shape[1]
    weight = kernel.to(x.dtype).expand(channels, 1, 4, 4)
    return F.conv2d(x, weight, padding=padding, stride=stride, groups=channels)


def upsample(image: Tensor) -> Tensor:
    """Doubles `image [N, C, H, W]` by zero insertion and the FIR filter with a gain of 4, keeping the dtype.

    Inside the picture that is bilinear interpolation; a border of zeros, cut off again, makes it so at the edges too.
    """
    padded = F.pad(image, (1, 1, 1, 1))
    doubled = F.interpolate(padded, scale_factor=2, mode="bilinear", align_corners=False)
    return doubled[:, :, 2:-2, 2:-2].to(image.dtype)


def downsample(x: Tensor) -> Tensor:
    """Halves `x [N, C, H, W]` (even sizes) by the FIR filter with a gain of 1, keeping the dtype."""
    down: Tensor = _FirDown.apply(x, 1.0)
    return down


class _FirDown(torch.autograd.Function):
    """FIR filter and stride 2. Its transpose is `_FirUp`, which is ten times as fast on CPU as the backward pass that
    PyTorch has for a strided depthwise convolution; being each other's transpose, the two differentiate any number of
    times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        return fir_filter(x, fir_kernel(gain, x.device), padding=1, stride=2).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _FirUp.apply(grad, ctx.gain), None


class _FirUp(torch.autograd.Function):
    """Zero insertion and FIR filter, as `upsample` but with any gain."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float) -> Tensor:
        ctx.gain = gain
        return upsample(x * (gain / 4))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _FirDown.apply(grad, ctx.gain), None


def leaky_relu(x: Tensor, gain: float = SQRT2) -> Tensor:
    """Leaky ReLU with slope 0.2 times `gain`; sqrt(2) keeps the variance of a unit normal near one."""
    return F.leaky_relu(x, LEAKY_SLOPE) * gain


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scales each row of `x [N, C]` to a mean square of one ("pixel norm")."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate: `x [N, in] -> [N, out]`, always computed in float32.

    The stored weight has unit variance divided by `lr_multiplier`; it is scaled by `lr_multiplier / sqrt(in)` at run
    time, and the bias by `lr_multiplier`. These are the values that public checkpoints store.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.lr_multiplier = lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            bias = self.bias if self.lr_multiplier == 1 else self.bias * self.lr_multiplier
            x = F.linear(at_least_float32(x), self.weight * self.weight_gain, bias)
            return leaky_relu(x) if self.activate else x


class EqualConv2d(nn.Module):
    """Convolution with an equalised learning rate, optional FIR + stride 2, bias, activation and clamp.

    `x [N, in, H, W] -> [N, out, H, W]`, or `[N, out, H/2, W/2]` with `down`.

    Args:
        kernel_size: 1 or 3.
        down: filter with [1,3,3,1] and keep every second pixel (for a 1x1 kernel the order is free, so the filter
            itself strides).
        activate: leaky ReLU with gain sqrt(2).
        clamp: limit of the absolute output (float16 checkpoints carry 256), or None.
    """

    fir: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        down: bool = False,
        bias: bool = True,
        activate: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.kernel_size = kernel_size
        self.down = down
        self.activate = activate
        self.clamp = clamp
        self.register_buffer("fir", fir_kernel(), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """`gain` multiplies the output, and the clamp with it."""
        # The leaky ReLU is positively homogeneous: its gain and the caller's move into weight and bias, one pass less.
        total_gain = gain * SQRT2 if self.activate else gain
        x = x.to(compute_dtype(x))
        weight = (self.weight * (self.weight_gain * total_gain)).to(x.dtype)
        bias = None if self.bias is None else (self.bias * total_gain).to(x.dtype)
        if not self.down:
            x = F.conv2d(x, weight, bias, padding=self.kernel_size // 2)
        elif self.kernel_size == 1:
            x = F.conv2d(downsample(x), weight, bias)
        else:
            x = F.conv2d(fir_filter(x, self.fir, padding=2), weight, bias, stride=2)
        if self.activate:
            x = F.leaky_relu_(x, LEAKY_SLOPE)
        return x if self.clamp is None else x.clamp(-self.clamp * gain, self.clamp * gain)


def normalise_styles(styles: Tensor, dtype: torch.dtype) -> Tensor:
    """Bounds `styles [N, C]` by one where activations are float16, so that modulation cannot overflow.

    Demodulation undoes any scale per sample; float32 and bfloat16 have the range and are left exactly alone.
    """
    if dtype != torch.float16:
        return styles
    return styles / styles.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """`1 / sqrt(sum((weight * style)^2) + eps)` per sample and output channel, in float32 whatever autocast says.

    weight `[O, I, k, k]`, styles `[N, I]` -> `[N, O]`.
    """
    with torch.autocast(styles.device.type, enabled=False):
        energy = weight.square().sum(dim=(2, 3))
        return (styles.square() @ energy.t() + DEMODULATION_EPS).rsqrt()


class _BiasNoiseLeakyRelu(torch.autograd.Function):
    """See `bias_noise_leaky_relu`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, noise: Tensor | None) -> Tensor:
        ctx.mark_dirty(x)
        if bias is not None:
            x.add_(bias[:, None, None])
        if noise is not None:
            x.add_(noise)
        F.leaky_relu_(x, LEAKY_SLOPE)
        ctx.save_for_backward(x)
        ctx.noise_shape = None if noise is None else noise.shape
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        (result,) = ctx.saved_tensors
        grad = torch.ops.aten.leaky_relu_backward(grad, result, LEAKY_SLOPE, True)
        by_bias = by_noise = None
        if ctx.needs_input_grad[1]:
            by_bias = grad.permute(0, 2, 3, 1).flatten(0, 2).sum(0)
        if ctx.needs_input_grad[2]:
            by_noise = grad.sum(1, keepdim=True).sum_to_size(ctx.noise_shape)
        return grad, by_bias, by_noise


def bias_noise_leaky_relu(x: Tensor, bias: Tensor | None, noise: Tensor | None) -> Tensor:
    """Leaky ReLU of `x [N, C, r, r] + bias [C] + noise`, written into `x`: its gradient needs the result alone.

    `noise` broadcasts to `x`. A pass that makes a new tensor costs up to a third of the convolution before it.
    """
    result: Tensor = _BiasNoiseLeakyRelu.apply(x, bias, noise)
    return result


class StyledConv(nn.Module):
    """Modulated, demodulated 3x3 convolution with noise, bias and leaky ReLU, at `resolution` x `resolution`.

    `x [N, in, r, r] -> [N, out, r, r]`, or from `[N, in, r/2, r/2]` with `up`.
    """

    fir: Tensor
    noise_const: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        w_dim: int,
        resolution: int,
        *,
        up: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("fir", fir_kernel(gain=4.0), persistent=False)
        self.weight_gain = 1 / math.sqrt(in_channels * 9)
        self.up = up
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """`w [N, w_dim]`; `noise` broadcasts to `[N, 1, r, r]` before its learned strength, None for none."""
        styles = self.affine(w)
        # The gain of the leaky ReLU stands in front of it, in the scale, the bias and the noise.
        bias = (self.bias * SQRT2).to(x.dtype)
        if noise is not None:
            noise = (noise * (self.noise_strength * SQRT2)).to(x.dtype)
        if self._few_weights(x, styles):
            x = bias_noise_leaky_relu(self._with_modulated_weights(x, styles), bias, noise)
        else:
            x = bias_noise_leaky_relu(self._with_modulated_activations(x, styles, bias), None, noise)
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    def _few_weights(self, x: Tensor, styles: Tensor) -> bool:
        """Whether modulating the weights of each sample costs less than two passes over its activations: where pixels
        are many and channels few, on a CPU. In a frozen network it would ask for gradients of the weights."""
        out, _, *kernel = self.weight.shape
        pixels = x.shape[2] * x.shape[3]
        return (
            x.device.type == "cpu"
            and len(x) > 0
            and pixels >= PIXELS_PER_WEIGHT * out * math.prod(kernel)
            and (self.weight.requires_grad or not styles.requires_grad)
        )

    def _with_modulated_activations(self, x: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
        """One convolution for all samples, scales in front of it and behind it, and the bias."""
        styles = normalise_styles(styles, x.dtype)
        weight = self.weight * self.weight_gain
        scale = demodulation(weight, styles) * SQRT2
        x = self._convolve(x * styles.to(x.dtype)[:, :, None, None], weight.to(x.dtype))
        return torch.addcmul(bias[:, None, None], x, scale.to(x.dtype)[:, :, None, None])

    def _with_modulated_weights(self, x: Tensor, styles: Tensor) -> Tensor:
        """A convolution for each sample, with weights of its own."""
        weight = self.weight * (styles * self.weight_gain)[:, None, :, None, None]
        energy = weight.square().sum(dim=(2, 3, 4), keepdim=True)
        weight = (weight * ((energy + DEMODULATION_EPS).rsqrt() * SQRT2)).to(x.dtype)
        drawn = [self._convolve(one, own) for one, own in zip(x[:, None], weight, strict=True)]
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if not self.up:
            return F.conv2d(x, weight, padding=1)
        return fir_filter(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), self.fir, padding=1)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, not demodulated: `x [N, C, r, r] -> [N, 3, r, r]` float32."""

    def __init__(self, in_channels: int, w_dim: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) * self.weight_gain
        weight = (self.weight[:, :, 0, 0] * styles[:, None]).to(x.dtype)  # [N, 3, C]
        x = (x.permute(0, 2, 3, 1).flatten(1, 2) @ weight.transpose(1, 2)).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        x = at_least_float32(x) + self.bias[:, None, None]
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

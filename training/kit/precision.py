"""Which numbers a training computes in: 32 bits, or 16 where the device is built for them."""

from __future__ import annotations

import torch


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16: as told, or for "auto" where the device does so natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()) and torch.cpu._is_avx512_bf16_supported()
    return False


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """What a forward pass runs in: `auto`, `fp32`, `bf16` or `fp16`, whose losses have to be scaled."""
    half = precision == "fp16"
    dtype = torch.float16 if half else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=half or use_bf16(precision, device))

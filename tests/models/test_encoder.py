"""The encoder."""

from __future__ import annotations

import pytest
import torch

from facestylist.models.encoder import Encoder, EncoderConfig


def test_untrained_encoder_gives_nearly_the_mean_face() -> None:
    encoder = Encoder(EncoderConfig(resolution=64, num_ws=10, w_dim=16))
    encoder.mean_latent.fill_(3.0)
    encoder.latent_std.fill_(2.0)
    w_plus = encoder(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert w_plus.shape == (2, 10, 16)
    assert (w_plus - 3).abs().max() < 0.5
    assert w_plus.std() > 0


def test_shipped_size_is_small_and_every_parameter_learns() -> None:
    encoder = Encoder(EncoderConfig(resolution=128, num_ws=12, w_dim=128))
    assert sum(parameter.numel() for parameter in encoder.parameters()) <= 6_000_000
    with torch.autocast("cpu", torch.bfloat16):
        w_plus = encoder(torch.rand(2, 3, 128, 128))
    assert w_plus.dtype == torch.float32
    w_plus.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())


def test_wrong_sizes_are_refused() -> None:
    encoder = Encoder(EncoderConfig(resolution=64, num_ws=10, w_dim=16))
    with pytest.raises(ValueError, match=r"\[N, 3, 64, 64\], not \[1, 3, 32, 32\]"):
        encoder(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="64, 128, 256"):
        EncoderConfig(resolution=32, num_ws=10, w_dim=16)
    with pytest.raises(ValueError, match="5 channel widths"):
        EncoderConfig(resolution=64, num_ws=10, w_dim=16, channels=(1, 2))

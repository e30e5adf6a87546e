"""The public encoders' outputs, reproduced to 1e-4 of their largest value."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from reference_files import assert_close, description, on_meta, outputs, tensors

from facestylist.models import checkpoints
from facestylist.models.irse import ArcFace, arcface_config
from facestylist.models.psp import PspEncoder, psp_config


@pytest.mark.parametrize(
    ("name", "num_ws", "finest", "channels"),
    [
        ("psp_gradual_256", 14, 2, 3),
        ("psp_gradual_1024", 18, 2, 3),
        ("restyle_psp_1024", 18, 0, 6),
        ("e4e_w_encoder", 18, 0, 3),
    ],
)
def test_every_public_encoder_has_our_names_and_shapes(name: str, num_ws: int, finest: int, channels: int) -> None:
    state = on_meta(name)
    config = psp_config(state, 18, False, "none")
    assert (config.num_ws, config.w_dim, config.trunk.in_channels) == (num_ws, 512, channels)
    assert config.levels == ((0, 0, 0, 1, 1, 1, 1) + (2,) * (num_ws - 7) if finest else (0,) * len(config.levels))
    assert config.trunk.units == (3, 4, 14, 3) and config.trunk.widths == (64, 128, 256, 512)
    with torch.device("meta"):
        ours = PspEncoder(config).state_dict()
    ours.pop("mean_latent")
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_the_public_embedding_network_has_our_names_and_shapes() -> None:
    state = on_meta("irse50_arcface_112")
    config = arcface_config(state)
    assert (config.side, config.embedding) == (112, 512)
    with torch.device("meta"):
        ours = ArcFace(config).state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in state.items()}


def test_arcface(tmp_path: Path) -> None:
    state, expected = tensors("irse50_arcface"), outputs("irse50_arcface")
    torch.save(state, tmp_path / "model_ir_se50.pth")
    network = checkpoints.load_identity(tmp_path / "model_ir_se50.pth")
    assert len(network.state_dict()) == 397
    with torch.no_grad():
        assert_close(network(expected["in_u8"] / 127.5 - 1), expected["out"])


@pytest.mark.slow
def test_e4e_encoder(tmp_path: Path) -> None:
    state, expected = tensors("e4e_encoder_1024"), outputs("e4e_encoder_1024")
    options = description("e4e_encoder_1024")["opts"]
    mean = state.pop("__latent_avg__", expected["latent_avg"])
    content = {"state_dict": {f"encoder.{n}": t for n, t in state.items()}, "latent_avg": mean, "opts": options}
    torch.save(content, tmp_path / "e4e.pt")
    info = checkpoints.inspect(tmp_path / "e4e.pt")
    assert (info.family, info.kind, info.num_ws) == ("e4e", "encoder", 18)
    encoder = checkpoints.load_encoder(tmp_path / "e4e.pt")
    assert len(encoder.network.state_dict()) == 621 + 1
    shown = expected["in_u8"] / 127.5 - 1
    with torch.no_grad():
        w_plus = encoder.network(shown)
        assert_close(w_plus, expected["out_plus_avg"])
        assert_close(encoder.network.delta(shown), expected["out"])  # type: ignore[operator]

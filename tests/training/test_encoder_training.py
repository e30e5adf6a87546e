"""Training an encoder: it learns a generator's codes, resumes exactly, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import make_source, make_styles

from facestylist.core.callbacks import Callbacks
from facestylist.latents.encoding import invert_with_encoder
from facestylist.models import checkpoints
from facestylist.training.encoder.settings import EncoderTrainingConfig
from facestylist.training.encoder.task import EncoderTask, degrade_photos, encoder_size, train_encoder


def tiny(**settings: object) -> EncoderTrainingConfig:
    base = {"steps": 6, "batch_size": 4, "width": 0.25, "preview_interval": 0, "snapshot_interval": 3, "degrade": 0.0}
    return EncoderTrainingConfig(**{**base, **settings})  # type: ignore[arg-type]


def test_it_reads_faces_better_than_the_mean(tmp_path: Path) -> None:
    source = make_source(32)
    config = tiny(steps=40, learning_rate=3e-3, picture_start=0.8, truncation_psi=1.0, ema_decay=0.9)
    untrained = EncoderTask(source, config, None).held_out_error()
    result = train_encoder(source, config)
    assert result.error < 0.75 * untrained
    assert result.history[-1]["codes"] < 0.85 * result.history[0]["codes"]
    assert "pixel" not in result.history[10] and {"pixel", "feature"} <= result.history[-1].keys()
    path = tmp_path / "encoder.safetensors"
    checkpoints.save_encoder(result.encoder, path, dict(result.encoder.provenance))
    read = checkpoints.load_encoder(path)
    faces = source.generator.synthesis(torch.zeros(2, source.num_ws, source.w_dim), noise="const").clamp(-1, 1)
    found, again = (invert_with_encoder(faces, encoder, source).w_plus for encoder in (result.encoder, read))
    assert torch.equal(found, again)
    assert read.provenance["trained_for_w_space"] == source.w_space


def test_a_cancelled_run_continues_exactly(tmp_path: Path) -> None:
    source, config, faces = make_source(32), tiny(picture_start=0.5), make_styles(3, 40)
    whole = train_encoder(source, config, faces)

    def stop(step: int, total: int, losses: dict[str, float]) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with torch.inference_mode(), pytest.raises(KeyboardInterrupt):
        train_encoder(source, config, faces, Callbacks(on_progress=stop), tmp_path)
    before = torch.random.get_rng_state()
    resumed = train_encoder(source, config, faces, None, tmp_path, resume=True)
    assert torch.equal(before, torch.random.get_rng_state()), "the global random numbers were moved"
    for a, b in zip(whole.encoder.network.parameters(), resumed.encoder.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_faces_of_ones_own_are_judged_by_their_pictures_alone() -> None:
    source = make_source(32)
    everything = tiny(steps=2, picture_start=0.0, image_share=1.0, preview_interval=1)
    shown = []
    result = train_encoder(source, everything, make_styles(3, 40), Callbacks(on_preview=lambda _, p: shown.append(p)))
    assert "codes" not in result.history[0] and "pixel" in result.history[0]
    assert shown[0].shape == result.preview.shape == (3, 64, 128)


def test_a_camera_is_as_bad_as_asked() -> None:
    faces = make_styles(4, 64)
    moved = [
        (degrade_photos(faces, torch.Generator().manual_seed(0), amount) - faces).abs().mean() for amount in (0.2, 1, 2)
    ]
    assert moved[0] < moved[1] < moved[2]
    assert degrade_photos(faces, torch.Generator().manual_seed(0), 2.0).abs().max() <= 1


def test_sizes_and_refusals() -> None:
    assert [encoder_size(r) for r in (32, 128, 1024)] == [64, 128, 256]
    with pytest.raises(ValueError, match="nothing is compared"):
        EncoderTrainingConfig(code_weight=0.0, pixel_weight=0.0)
    with pytest.raises(ValueError, match="picture_start"):
        EncoderTrainingConfig(code_weight=0.0)
    with pytest.raises(ValueError, match="square RGB"):
        train_encoder(make_source(32), tiny(), torch.zeros(2, 3, 40, 50))

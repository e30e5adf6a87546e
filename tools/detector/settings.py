"""Settings of the face detector's training, in the style of `training/finetune/settings.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting


@dataclass(frozen=True)
class DetectorTrainingConfig:
    """Settings of the detector's training."""

    seed: int = setting(0, "Every random choice follows from it.", min=0, max=2**31 - 1, step=1)
    steps: int = setting(3000, "Training iterations.", min=1, max=1_000_000, step=100)
    batch_size: int = setting(16, "Scenes per iteration.", min=1, max=256, step=1)
    closeups: int = setting(32, "Close-ups of faces per iteration.", min=1, max=1024, step=1)
    learning_rate: float = setting(4e-3, "Peak learning rate; it warms up and falls as a cosine.", min=1e-6, max=1.0)
    weight_decay: float = setting(1e-4, "Decay of the weights.", min=0.0, max=1.0)
    ema_decay: float = setting(0.998, "Decay of the weights' running average.", min=0.0, max=0.99999)
    faces: int = setting(6000, "Rendered faces the scenes are composed of.", min=2, max=1_000_000, step=100)
    held_out_faces: int = setting(400, "Rendered faces kept for measuring.", min=2, max=100_000, step=50)
    face_size: int = setting(128, "Side of the rendered faces.", min=32, max=1024, step=4, unit="pixels")
    scene_size: int = setting(256, "Side of the scenes.", min=64, max=1024, step=32, unit="pixels")
    pool: int = setting(
        768,
        "Scenes kept at hand; each is used several times before a new one takes its place.",
        min=1,
        max=100_000,
        step=64,
    )
    refresh: int = setting(
        5,
        "New scenes per iteration for either network; the rest of the batch comes from the pool.",
        min=1,
        max=256,
        step=1,
    )
    evaluation_scenes: int = setting(200, "Held-out scenes for the final numbers.", min=1, max=100_000, step=50)
    compiled: bool = setting(True, "Compile the renderer (needs a C++ compiler on a CPU).")

    def __post_init__(self) -> None:
        check_fields(self)

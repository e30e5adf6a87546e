"""Settings of the face detector's training."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.settings import check_fields, setting


@dataclass(frozen=True)
class DetectorTrainingConfig:
    """Settings of the detector's training."""

    seed: int = setting(0, "Every random choice follows from it.", (0, 2**31 - 1, 1))
    steps: int = setting(3000, "Training iterations.", (1, 1_000_000, 100))
    batch_size: int = setting(16, "Scenes per iteration.", (1, 256, 1))
    closeups: int = setting(32, "Close-ups of faces per iteration.", (1, 1024, 1))
    learning_rate: float = setting(4e-3, "Peak learning rate; it warms up and falls as a cosine.", (1e-6, 1.0))
    weight_decay: float = setting(1e-4, "Decay of the weights.", (0.0, 1.0))
    ema_decay: float = setting(0.998, "Decay of the weights' running average.", (0.0, 0.99999))
    faces: int = setting(6000, "Rendered faces the scenes are composed of.", (2, 1_000_000, 100))
    held_out_faces: int = setting(400, "Rendered faces kept for measuring.", (2, 100_000, 50))
    face_size: int = setting(128, "Side of the rendered faces.", (32, 1024, 4), unit="pixels")
    scene_size: int = setting(256, "Side of the scenes.", (64, 1024, 32), unit="pixels")
    pool: int = setting(
        768, "Scenes kept at hand; each is used several times before a new one takes its place.", (1, 100_000, 64)
    )
    refresh: int = setting(
        5, "New scenes per iteration for either network; the rest of the batch comes from the pool.", (1, 256, 1)
    )
    evaluation_scenes: int = setting(200, "Held-out scenes for the final numbers.", (1, 100_000, 50))
    compiled: bool = setting(True, "Compile the renderer (needs a C++ compiler on a CPU).")

    def __post_init__(self) -> None:
        check_fields(self)

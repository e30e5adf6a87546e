"""Settings of a base's training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.settings import check_fields, setting
from ..kit.settings import PRECISIONS, adam_rate, any_seed, weight

if TYPE_CHECKING:
    from ...models.discriminator import DiscriminatorConfig
    from ...models.encoder import EncoderConfig
    from ...models.generator import GeneratorConfig

ENCODER_SIZE = 128
SIZES = (64, 128, 256)
CHANNELS = (256, 256, 192, 112, 64, 40, 20)
DISCRIMINATOR_CHANNELS = (192, 192, 160, 112, 64, 32, 16)
ENCODER_CHANNELS, HIDDEN = (32, 64, 128, 192, 256), 640
W_DIM = 512
SHARES = {64: 0.3, 128: 0.3, 256: 0.4}
"""Of the time for the auto-encoder, by resolution."""
POLISH_SHARE = 0.25
"""Of all time, for the discriminator and the polish against it."""


@dataclass(frozen=True)
class BaseTrainingConfig:
    """Teach a generator and an encoder, from nothing, the people in a folder of portraits."""

    minutes: float = setting(
        180.0,
        "Time for the whole training. Each stage measures how many steps fit into its share.",
        (0.01, 100_000.0, 10.0),
        unit="minutes",
    )
    resolution: str = setting(
        "256", "Height and width of the faces it draws.", choices=tuple(str(size) for size in SIZES)
    )
    batch_size: int = setting(16, "Faces per step; 64 on a large GPU.", (4, 1024, 4))
    width: float = setting(
        1.0, "Width of the networks: 2 has four times the size and takes three times as long.", (0.0625, 4.0, 0.25)
    )
    held_out: int = setting(64, "People who are measured on and never learned.", (2, 10_000, 1))
    perceptual_weight: float = weight(
        2.0, "Weight of the perceptual distance, where a network for it is there.", place="shown"
    )
    identity_weight: float = weight(
        1.0,
        "Weight of the squared distance of the faces' descriptors, where an identity network is given. It is what "
        "makes a likeness out of a blur.",
        place="shown",
    )
    adversarial_weight: float = setting(
        0.3, "Weight of the discriminator in the polish: higher is crisper and less like the person.", (0.0, 10.0, 0.05)
    )
    learning_rate: float = adam_rate(2e-3, "Step size of the generator; the encoder takes half of it.", place="shown")
    warp: float = setting(
        1.0,
        "How far portraits are bent, turned, shifted and relit, so that few people stand for many.",
        (0.0, 3.0, 0.1),
    )
    precision: str = setting("auto", "auto: bf16 where the device computes it natively.", choices=PRECISIONS[:3])
    seed: int = any_seed("Same seed, portraits and numbers of steps: same result.")

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def size(self) -> int:
        """The resolution as a number."""
        return int(self.resolution)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The resolutions that the auto-encoder grows through."""
        return tuple(size for size in SIZES if size <= self.size)

    def stage_minutes(self, size: int) -> float:
        """Time for the auto-encoder at a resolution."""
        return self.minutes * (1 - POLISH_SHARE) * SHARES[size] / sum(SHARES[known] for known in self.sizes)

    def _widths(self, channels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(max(8, 4 * round(width * self.width / 4)) for width in channels)

    def generator(self, size: int) -> GeneratorConfig:
        """The generator's architecture at a resolution."""
        from ...models.generator import GeneratorConfig

        w_dim = max(32, round(W_DIM * min(self.width, 1)))
        return GeneratorConfig(
            size,
            self._widths(CHANNELS)[: size.bit_length() - 2],
            z_dim=w_dim // 4,
            w_dim=w_dim,
            mapping_layers=2,
            mapping_lr_multiplier=1.0,
        )

    def discriminator(self) -> DiscriminatorConfig:
        """The discriminator's architecture."""
        from ...models.discriminator import DiscriminatorConfig

        return DiscriminatorConfig(self.size, self._widths(DISCRIMINATOR_CHANNELS)[: self.size.bit_length() - 2])

    def encoder(self, face_branch: bool) -> EncoderConfig:
        """The encoder's architecture: one code a face, for all layers."""
        from ...models.encoder import EncoderConfig

        generator = self.generator(self.size)
        return EncoderConfig(
            ENCODER_SIZE,
            generator.num_ws,
            generator.w_dim,
            self._widths(ENCODER_CHANNELS),
            hidden=max(16, round(HIDDEN * self.width)),
            one_code=True,
            face_branch=face_branch,
        )

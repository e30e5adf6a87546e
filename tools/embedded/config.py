"""Sizes and lengths of everything `make assets` trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...models.discriminator import DiscriminatorConfig
from ...models.encoder import EncoderConfig
from ...models.generator import GeneratorConfig
from ...procedural import Z_DIM


@dataclass(frozen=True)
class EmbeddedConfig:
    """One source of truth for the embedded networks; `quick()` is the same in miniature, for tests."""

    seed: int = 0
    shards: int = 20
    """Shards of 2000 rendered faces."""
    held_out: int = 512
    """Faces nothing is trained on."""
    resolution: int = 128
    start_resolution: int = 64
    """Where the supervised start happens; the generator then grows to `resolution`."""
    w_dim: int = 256
    channels: tuple[int, ...] = (192, 192, 176, 96, 64, 32)
    discriminator_channels: tuple[int, ...] = (160, 160, 128, 96, 48, 24)
    mapping_layers: int = 8
    batch: int = 16
    start_steps: int = 9000
    mapping_steps: int = 12000
    grow_steps: int = 300
    full_steps: int = 2800
    discriminator_steps: int = 2000
    polish_steps: int = 600
    code_steps: int = 2500
    encoder_steps: int = 400
    style_images: int = 150
    style_steps: int = 40
    style_pair_steps: int = 220
    precision: str = "bf16"
    """bf16 (autocast) or fp32."""
    compiled: bool = True
    """Render with compiled kernels where a C++ compiler is there."""

    @classmethod
    def quick(cls) -> EmbeddedConfig:
        """Seconds instead of hours; shows that every stage runs, not what it reaches."""
        return replace(
            cls(),
            shards=1,
            held_out=16,
            resolution=64,
            start_resolution=32,
            w_dim=32,
            channels=(16, 16, 16, 8, 8),
            discriminator_channels=(16, 16, 16, 8, 8),
            mapping_layers=2,
            batch=4,
            start_steps=4,
            mapping_steps=4,
            grow_steps=2,
            full_steps=4,
            discriminator_steps=2,
            polish_steps=2,
            code_steps=2,
            encoder_steps=2,
            style_images=12,
            style_steps=2,
            style_pair_steps=3,
            precision="fp32",
            compiled=False,
        )

    def generator(self, resolution: int | None = None) -> GeneratorConfig:
        """The generator's architecture, at `resolution` or while it is still smaller."""
        resolution = resolution or self.resolution
        return GeneratorConfig(
            resolution=resolution,
            channels=self.channels[: resolution.bit_length() - 2],
            z_dim=Z_DIM,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            mapping_lr_multiplier=1.0,
        )

    def discriminator(self) -> DiscriminatorConfig:
        """The discriminator's architecture."""
        return DiscriminatorConfig(self.resolution, self.discriminator_channels)

    def encoder(self) -> EncoderConfig:
        """The encoder's architecture."""
        return EncoderConfig(self.resolution, self.generator().num_ws, self.w_dim, hidden=320)

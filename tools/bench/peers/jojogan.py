"""JoJoGAN: one style picture, many faces that might be behind it (Chong & Forsyth, ECCV 2022, arXiv 2112.11641).

    L = mean over the discriminator's maps of |D_l(G_t(w)) - D_l(picture)|_1,   w the picture's code, its fine layers
        those of a random face

Numbers are those of the authors' `stylize.ipynb` (github.com/mchong6/JoJoGAN): Adam 2e-3 with betas (0, 0.99), layers
from the eighth on, alpha 1, no average of the weights. There a batch is the picture once, here `batch_size` times, each
with another face; the code is the encoder's (there e4e's).
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from ....core.callbacks import Callbacks
from ....latents.encoding import invert_with_encoder
from ....latents.sampling import mixed_w_plus
from ....models.types import FaceEncoder, FaceGenerator, device_of
from ....training.data.inputs import check_source, prepare_style_images
from ....training.finetune.settings import FinetuneConfig
from ....training.kit.fingerprint import generator_fingerprint, settings_of
from ....training.kit.loop import train
from ....training.kit.randomness import at_step
from ....training.kit.state import State
from ....training.kit.step import Step, Update

FIRST_SWAPPED = 7
LEARNING_RATE = 2e-3


class JojoTask:
    """One fine-tuning to one picture, a `loop.Task`."""

    terms: tuple[str, ...] = ("features",)

    def __init__(self, source: FaceGenerator, picture: Tensor, w_plus: Tensor, config: FinetuneConfig) -> None:
        """`picture [1, 3, R, R]` and its code `[1, num_ws, w_dim]`."""
        assert source.discriminator is not None  # noqa: S101 - check_source has been there
        self.source, self.config, self.code = source, config, w_plus
        self.target = copy.deepcopy(source.generator).requires_grad_(False).train()
        self.target.synthesis.requires_grad_(True)
        for convolution in self.target.synthesis.convolutions():
            convolution.noise_strength.requires_grad_(False)
        self.parameters = [p for p in self.target.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, LEARNING_RATE, betas=(0.0, 0.99))
        with torch.no_grad():
            _, self.wanted = source.discriminator(picture, return_features=True)
        self.state = State(target=self.target.synthesis, optimiser=self.optimiser)

    def step(self, at: Step) -> dict[str, float]:
        """One update of the generator."""
        count = self.config.batch_size
        random = at_step(self.config.seed, at.number)
        others = mixed_w_plus(self.target, count, 0.0, random, self.code.device)
        codes = torch.cat([self.code[:, :FIRST_SWAPPED].expand(count, -1, -1), others[:, FIRST_SWAPPED:]], 1)
        discriminator = self.source.discriminator
        assert discriminator is not None  # noqa: S101 - for mypy
        _, found = discriminator(self.target.synthesis(codes), return_features=True)
        loss = torch.stack([(a - b).abs().mean() for a, b in zip(found, self.wanted, strict=True)]).mean()
        return at.apply({"features": loss}, Update("generator", self.optimiser, self.parameters, loss))

    @torch.no_grad()
    def preview(self) -> Tensor:
        """The picture's face `[3, R, R]` in 0..1."""
        return (self.target.synthesis(self.code)[0].clamp(-1, 1) + 1) / 2


def jojogan(
    source: FaceGenerator,
    pictures: Tensor,
    config: FinetuneConfig,
    encoder: FaceEncoder,
    callbacks: Callbacks | None,
    run_dir: Path,
) -> FaceGenerator:
    """The generator fine-tuned to the first of `pictures [N, 3, S, S]`; resumes what is in `run_dir`."""
    check_source(source)
    code = invert_with_encoder(pictures[:1], encoder, source).w_plus.to(device_of(source))
    with torch.inference_mode(False), torch.enable_grad():
        picture = prepare_style_images(pictures[:1], source)
        task = JojoTask(source, picture, code.detach().clone(), config)
        settings = {**settings_of(config), "source": generator_fingerprint(source), "peer": "jojogan"}
        train(task, config.steps, callbacks, run_dir, True, settings, snapshot_interval=config.snapshot_interval)
        network = copy.deepcopy(task.target).eval().requires_grad_(False)
        return source.replace(generator=network, discriminator=None, style=config.style_name)

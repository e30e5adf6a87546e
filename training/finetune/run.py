"""Stage 1: few-shot adversarial fine-tuning of a face generator with the semantic preservation constraint.

The generator G_t and the discriminator D start as copies of the source's; the mapping network stays frozen, so W is
shared and a face found in the source is drawn by the style (AgileGAN, Song et al. 2021). One iteration minimises

    L_G = softplus(-D(aug(G_t(w)))) + weight * schedule * L_sem(G_t, G_s; w)          see `semantic`
    L_D = softplus(D(aug(G_t(w)))) + softplus(-D(aug(style))) + gamma / 2 * R1        R1 lazily, in fp32

What a step computes is in `finetune_step`, what it changes in `finetune_task`; here is a run from start to card.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.callbacks import Callbacks
from ...core.settings import to_mapping
from ...models.types import FaceGenerator
from ..data.inputs import check_source, prepare_style_images, split_pictures, too_few
from ..guides.protocol import Guide, check_guides, guides_identity
from ..kit.distributed import SINGLE_PROCESS, Processes, check_batch
from ..kit.fingerprint import FREE_TO_CHANGE, fingerprint, generator_fingerprint, settings_of
from ..kit.loop import train
from ..reports.card import make_card, save_card
from ..reports.scoring import Score
from ..reports.tensorboard import event_files
from .settings import FinetuneConfig
from .task import FinetuneTask

log = logging.getLogger(__name__)

SETTINGS_FREE_TO_CHANGE = ("style_name", *FREE_TO_CHANGE, "checkpointing", "tensorboard")
"""What may differ when a run is resumed."""


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What fine-tuning gives."""

    generator: FaceGenerator
    """The averaged generator with the discriminator as it ended, on the source's device."""
    history: list[dict[str, float]]
    """A row of numbers per step: `step`, the losses, the augmentation probability."""
    steps: int = 0
    """Steps done, less than asked for where the run was ended early."""
    finished: bool = True
    """Whether nothing is left to do: all steps are done, or `patience` has run out."""
    chosen_step: int = 0
    """The step whose weights these are."""
    scores: tuple[Score, ...] = ()
    """What was measured on the way."""
    held_out: tuple[int, ...] = ()
    """Numbers of the style pictures that `validation` held back from training."""


def finetune(
    source: FaceGenerator,
    style_images: Tensor,
    config: FinetuneConfig | None = None,
    callbacks: Callbacks | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    guides: Sequence[Guide] = (),
    processes: Processes = SINGLE_PROCESS,
    validation_images: Tensor | None = None,
) -> FinetuneResult:
    """Fine-tunes `source` to the style of `style_images`; the source is left as it is.

    source        a generator with its discriminator.
    style_images  `[N, 3, S, S]` in -1..1, aligned faces, 10-300 of them; resized to the generator's resolution.
    config        settings; the defaults suit 100-300 pictures.
    callbacks     progress, previews (rows: source, now, averaged, nearest style picture), a question whether to stop.
                  Their exceptions propagate after the state has been saved.
    run_dir       folder for state, losses and previews; with `resume` a run there is continued exactly.
    guides        further pulls on the generator, read off its pictures: see `guides.protocol`.
    processes     where several train together, see `distributed`; all are given the same of everything else.
    validation_images  `[M, 3, S, S]` in -1..1, pictures of the style that are not trained on, to measure with; without
                  any, the share `validation` of the style pictures.

    Works under `torch.inference_mode()`. Raises ValueError with a sentence for pictures or a source that cannot be
    used, `loop.TrainingDiverged` when the losses stay NaN or infinite.
    """
    config = config or FinetuneConfig()
    check_source(source)
    check_guides(guides)
    shards = processes.count * config.accumulate
    check_batch(config.batch_size, shards, f"{processes.count} processes x {config.accumulate} parts")
    with torch.inference_mode(False), torch.enable_grad():
        pictures = prepare_style_images(style_images, source)
        validation: Tensor | None = None
        held_out: list[int] = []
        if validation_images is not None and len(validation_images):
            validation = prepare_style_images(validation_images, source)
        elif config.validation:
            kept, held_out = split_pictures(pictures, config.validation)
            pictures, validation = pictures[kept], pictures[held_out]
        if processes.is_main and (warning := too_few(pictures)):
            log.warning("%s", warning)
        task = FinetuneTask(source, pictures, config, guides, validation, processes.count)
        with contextlib.ExitStack() as stack:
            if config.tensorboard and run_dir is not None and processes.is_main:
                callbacks = stack.enter_context(event_files(callbacks or Callbacks(), run_dir))
            history = train(
                task,
                config.steps,
                callbacks,
                run_dir,
                resume,
                settings=run_identity(config, source, style_images, guides, validation_images),
                snapshot_interval=config.snapshot_interval,
                preview_interval=config.preview_interval,
                processes=processes,
            )
        # Ended early between two measurements, the style as it is now competes too. The run's state is kept already
        # and knows nothing of it, so a resumed run goes on as if it had not been.
        task.snapshots.measure_the_end(task.steps_done, processes.once)
        chosen_step, scores = task.snapshots.chosen_step(task.steps_done), task.snapshots.scores.all
        card = make_card(
            config.style_name,
            to_mapping(config),
            history,
            scores,
            pictures=len(pictures),
            held_out=0 if validation is None else len(validation),
            source=source.style,
            resolution=source.resolution,
            steps=task.steps_done,
            chosen_step=chosen_step,
        )
        if run_dir is not None and processes.is_main:
            save_card(run_dir, card, task.preview(), history, FinetuneConfig)
        style = task.result()
        return FinetuneResult(
            style.replace(provenance={**style.provenance, "card": card.to_json()}),
            history,
            task.steps_done,
            finished=task.steps_done >= config.steps or task.finished,
            chosen_step=chosen_step,
            scores=tuple(scores),
            held_out=tuple(held_out),
        )


def run_identity(
    config: FinetuneConfig,
    source: FaceGenerator,
    style_images: Tensor,
    guides: Sequence[Guide] = (),
    validation_images: Tensor | None = None,
) -> dict[str, Any]:
    """What decides the course of a run, see `identity`; the arguments are those of `finetune`."""
    return {
        **settings_of(config, but=SETTINGS_FREE_TO_CHANGE),
        "source": generator_fingerprint(source),
        "style_pictures": fingerprint(style_images),
        "validation_pictures": None if validation_images is None else fingerprint(validation_images),
        **guides_identity(guides),
    }

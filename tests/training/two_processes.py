"""Two processes over gloo, as torchrun starts them, and small trainings that they do together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tiny_networks import make_source, make_styles
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.latents.sampling import sample_latent
from facestylist.models.types import FaceGenerator
from facestylist.training.encoder.settings import EncoderTrainingConfig
from facestylist.training.encoder.task import train_encoder
from facestylist.training.kit.distributed import SINGLE_PROCESS, Processes
from facestylist.training.pairs import supervise
from facestylist.training.pairs.candidates import PicturesWithLatents
from facestylist.training.pairs.making import make_pairs
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.supervision_settings import PairSupervisionConfig
from facestylist.training.pairs.types import StylePairs
from facestylist.training.stylizer.dataset import pair_batches
from facestylist.training.stylizer.settings import StylizerConfig
from facestylist.training.stylizer.task import train_stylizer

STEPS, HALF = 4, 2
History = list[dict[str, float]]
Training = Callable[[Path | None, Callbacks | None, bool, Processes], tuple[dict[str, Tensor], History]]
"""Trains in a run folder (or none), resuming or not; gives all weights, and the loss table."""
NO_SNAPSHOTS: dict[str, Any] = {"steps": STEPS, "preview_interval": STEPS, "snapshot_interval": 1000}


def style_and_pairs() -> tuple[FaceGenerator, FaceGenerator, StylePairs]:
    """A source, another generator of the same W, and pairs of every level and origin."""
    source, other = make_source(), make_source(seed=1)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    style = other.replace(style="test style")
    making = PairsConfig(
        count=4,
        min_contrast=0.0,
        duplicate_bits=-1,
        drop_quality=0.0,
        drop_structure=0.0,
        max_saturated=1.0,
        anchor_variants=1,
        keep_anchor_colours=True,
    )
    anchors = PicturesWithLatents(sample_latent(source, range(100, 104)), make_styles(4))
    return source, style, make_pairs(source, style, making, anchors)


def train_pairs(
    run_dir: Path | None, callbacks: Callbacks | None, resume: bool, processes: Processes
) -> tuple[dict[str, Tensor], History]:
    """Stage 2: three pairs and a fresh face for each process, the four that a group of D's statistics takes."""
    own: dict[str, Any] = {"discriminator_alone": 1, "precision": "fp32"}
    config = PairSupervisionConfig(batch_size=6, free_batch_size=2, **own, **NO_SNAPSHOTS)
    result = supervise.supervise(*style_and_pairs(), config, callbacks, run_dir, resume, processes)
    weights = dict(result.generator.generator.synthesis.state_dict())
    assert result.generator.discriminator is not None
    weights |= {f"d.{name}": value for name, value in result.generator.discriminator.state_dict().items()}
    return weights | {"codes": result.codes}, result.history


def train_fast(
    run_dir: Path | None, callbacks: Callbacks | None, resume: bool, processes: Processes
) -> tuple[dict[str, Tensor], History]:
    """A fast stylizer, its patch discriminator joining in."""
    random = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 64, 64, generator=random) * 2 - 1 for _ in range(3)]
    config = StylizerConfig(batch_size=4, size=48, width=0.25, adversarial_weight=0.01, **NO_SNAPSHOTS)
    batches = pair_batches([(p, -p, 3.0) for p in pictures], "none", 48, 4, 1.0, 0.5, 0)
    result = train_stylizer(config, batches, callbacks=callbacks, run_dir=run_dir, resume=resume, processes=processes)
    return dict(result.stylizer.network.state_dict()), result.history


def train_reader(
    run_dir: Path | None, callbacks: Callbacks | None, resume: bool, processes: Processes
) -> tuple[dict[str, Tensor], History]:
    """An encoder; in its second phase one face of a batch is of one's own, so that the shards differ in kind."""
    config = EncoderTrainingConfig(batch_size=4, width=0.25, picture_start=0.5, **NO_SNAPSHOTS)
    result = train_encoder(make_source(), config, make_styles(3, 40), callbacks, run_dir, resume, processes)
    return dict(result.encoder.network.state_dict()), result.history


def gently(training: Training) -> Training:
    """The training with an Adam whose steps shrink with the gradient where that is small.

    The usual one makes a whole step even of a gradient that is nothing but rounding, in either direction.
    """

    def train(*given: Any) -> tuple[dict[str, Tensor], History]:
        with patch.object(torch.optim, "Adam", partial(torch.optim.Adam, eps=1e-2)):
            return training(*given)

    return train


TRAININGS = {"pairs": gently(train_pairs), "stylizer": gently(train_fast), "encoder": gently(train_reader)}


def begin(name: str, run_dir: Path, processes: Processes = SINGLE_PROCESS) -> History:
    """The first half of a training, ended in good order."""
    done: list[int] = []
    half = Callbacks(
        on_progress=lambda step, *_: done.append(step), should_stop=lambda: bool(done) and done[-1] == HALF
    )
    history = TRAININGS[name](run_dir, half, False, processes)[1]
    assert bool(done) == processes.is_main, "only the first one talks"
    return history


def train_together(folder: Path, processes: Processes) -> dict[str, Any]:
    """What two processes come to: of each training the first half's losses, and its end where one process has begun.

    The second of them is given a folder of its own, as on another machine.
    """
    supervise.R1_INTERVAL = 2
    before = torch.get_rng_state()
    found: dict[str, Any] = {}
    for name in TRAININGS:
        elsewhere = folder if processes.is_main else folder / "elsewhere"
        begun = begin(name, elsewhere / f"{name}-two", processes)
        weights, history = TRAININGS[name](elsewhere / f"{name}-one", None, True, processes)
        found[name] = {"begun": begun, "weights": weights, "history": history}
    assert torch.equal(torch.get_rng_state(), before)
    return found


def run_two(work: str, folder: Path) -> list[Any]:
    """What `work`, `module.function` of (folder, processes), gives in each of two processes over gloo."""
    module, function = work.split(".")
    folders = [str(place) for place in Path(__file__).parents[:2]]
    script = (
        f"import sys; sys.path[:0] = {folders!r}; from pathlib import Path; import torch\n"
        f"from facestylist.training.kit.distributed import launch; from {module} import {function}\n"
        f"processes = launch('cpu'); assert processes.count == 2; folder = Path({str(folder)!r})\n"
        f"torch.save({function}(folder, processes), folder / f'rank{{processes.rank}}.pt')"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0"}
    # What torchrun sets.
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

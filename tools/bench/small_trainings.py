"""The trainings that `interrupts.py` disturbs: every command that trains, small enough to be run again and again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch

from ...cli.main import main as command
from ...models.checkpoints import save_generator
from ...models.discriminator import Discriminator, DiscriminatorConfig
from ...models.generator import Generator, GeneratorConfig
from ...models.types import FaceGenerator
from ...procedural import LOOKS

SIZE = 32
SNAPSHOTS = ["--snapshot-interval", "3", "--preview-interval", "4"]
DETECTOR = """
steps = 7
batch_size = 2
closeups = 4
faces = 6
held_out_faces = 4
face_size = 32
scene_size = 64
pool = 8
refresh = 2
evaluation_scenes = 2
compiled = false
"""
EMBEDDED = """
shards = 1
held_out = 8
batch = 2
resolution = 64
start_resolution = 32
channels = [8, 8, 8, 8, 8]
discriminator_channels = [8, 8, 8, 8, 8]
style_images = 2
style_steps = 2
"""
BASE = """
minutes = 0.01
resolution = "64"
width = 0.0625
batch_size = 4
held_out = 2
precision = "fp32"
"""


@dataclass(frozen=True)
class Training:
    """A command, and how its run is found again."""

    name: str
    arguments: tuple[str, ...]
    resume: Callable[[Path], list[str]]
    """What makes the command go on from a run folder."""
    folder: bool = False
    """Whether its result is a folder of files."""
    rendered: tuple[str, ...] = ()
    """What it renders into its run's folder, which takes longer than the training: most trials find it there."""

    def command(self, run_dir: Path, out: Path, resume: bool) -> list[str]:
        """Its arguments."""
        place = ["--run-dir", str(run_dir)] if not resume else self.resume(run_dir)
        return [self.name, *self.arguments, *place, "--out", str(out if self.folder else out / "out.safetensors")]


def trainings(folder: Path) -> dict[str, Training]:
    """Every training on tiny networks, whose files are made in `folder`."""
    save_generator(tiny_generator(), folder / "source.safetensors", {})
    source = ["--source", str(folder / "source.safetensors"), "--device", "cpu"]
    for sub, seed in (("styles", 1), ("before", 2), ("after", 3)):
        write_pictures(folder / sub, seed)
    (folder / "detector.toml").write_text(DETECTOR, encoding="utf-8")
    (folder / "base.toml").write_text(BASE, encoding="utf-8")
    write_pictures(folder / "faces", 4, 10)
    listed = "".join(f"{index}.png,{int(index > 7)}\n" for index in range(10))
    (folder / "faces" / "faces.csv").write_text("file,held_out\n" + listed, encoding="utf-8")
    (folder / "embedded.toml").write_text(EMBEDDED, encoding="utf-8")
    styles = ["--styles", str(folder / "styles"), "--no-align", "--batch-size", "2", "--precision", "fp32"]
    style, pairs = folder / "style.safetensors", folder / "pairs.safetensors"
    keep_all = [
        "--drop-quality",
        "0",
        "--drop-structure",
        "0",
        "--max-saturated",
        "1",
        "--min-contrast",
        "0",
        "--duplicate-bits",
        "-1",
    ]
    for first in (
        ["finetune", *source, *styles, "--steps", "1", "--run-dir", str(folder / "first"), "--out", str(style)],
        ["pairs", *source, "--target", str(style), "--count", "4", *keep_all, "--out", str(pairs)],
    ):
        here(first)

    def by_name(run_dir: Path) -> list[str]:
        return ["--resume", str(run_dir)]

    def by_switch(run_dir: Path) -> list[str]:
        return ["--run-dir", str(run_dir), "--resume"]

    def as_it_is(run_dir: Path) -> list[str]:
        return ["--run-dir", str(run_dir)]

    fast = ["--size", "48", "--width", "0.25", "--batch-size", "2", "--adversarial-weight", "0.01"]
    made = [
        Training("finetune", (*source, *styles, "--steps", "8", "--score-interval", "4", *SNAPSHOTS), by_name),
        Training(
            "train-pairs",
            (
                *source,
                "--style",
                str(style),
                "--pairs",
                str(pairs),
                "--steps",
                "8",
                "--batch-size",
                "2",
                "--free-batch-size",
                "1",
                "--discriminator-alone",
                "2",
                "--learn-noise",
                "--noise-strength",
                "0.05",
                *SNAPSHOTS,
            ),
            by_name,
        ),
        Training(
            "train-stylizer",
            (
                "--before",
                str(folder / "before"),
                "--after",
                str(folder / "after"),
                *fast,
                "--steps",
                "10",
                "--device",
                "cpu",
                *SNAPSHOTS,
            ),
            by_switch,
        ),
        Training(
            "train-encoder",
            (
                "--generator",
                source[1],
                "--images",
                str(folder / "styles"),
                "--steps",
                "10",
                "--batch-size",
                "2",
                "--width",
                "0.25",
                "--picture-start",
                "0.5",
                "--device",
                "cpu",
                *SNAPSHOTS,
            ),
            by_switch,
        ),
        Training(
            "train-detector",
            ("--config", str(folder / "detector.toml"), "--device", "cpu"),
            by_switch,
            rendered=("*.npz",),
        ),
        Training(
            "train-base",
            ("--photos", str(folder / "faces"), "--config", str(folder / "base.toml"), "--device", "cpu"),
            as_it_is,
            folder=True,
            rendered=("portraits.safetensors", "plan.json"),
        ),
        Training(
            "train-embedded",
            ("--quick", "--config", str(folder / "embedded.toml"), "--device", "cpu"),
            as_it_is,
            folder=True,
            rendered=("data/*", "style-*.pt"),
        ),
    ]
    return {training.name: training for training in made}


def tiny_generator() -> FaceGenerator:
    """Random weights, with a discriminator."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        network = Generator(GeneratorConfig.make(SIZE, 8 * SIZE, 8, z_dim=8, w_dim=8, mapping_layers=2))
        judge = Discriminator(DiscriminatorConfig(SIZE, network.config.channels))
    return FaceGenerator(network.requires_grad_(False).eval(), judge.requires_grad_(False).eval())


def write_pictures(folder: Path, seed: int, count: int = 4) -> None:
    """Smooth coloured pictures."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.RandomState(seed).randint(0, 256, (count, 6, 6, 3)).astype(np.uint8)
    for index, pixels in enumerate(noise):
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{index}.png")


def here(arguments: list[str]) -> None:
    """Runs a command in this process, whose forks then find its modules loaded."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), as_small():
        if command(arguments):
            raise RuntimeError(said.getvalue())


@contextlib.contextmanager
def as_small() -> Iterator[None]:
    """One style, and states that are saved as if steps were slow: the last two trainings have no settings for these."""
    from ...training.kit import loop
    from ..embedded import styles

    few = {name: LOOKS[name] for name in ("photo", "cartoon")}
    with mock.patch.object(loop, "SAVE_SECONDS", 0.2), mock.patch.object(styles, "LOOKS", few):
        yield

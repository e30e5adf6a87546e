"""Teach an encoder to read a generator's faces; under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...pipeline.networks import load_generator, style_file
from ...training.encoder.settings import EncoderTrainingConfig
from ..console import Console
from ..options import add_settings, read_config
from ..photos import read_usable
from ..training import TrainingCommand, add_output, add_resume, add_run_dir, check_output

if TYPE_CHECKING:
    from torch import Tensor

HELP = "teach an encoder to read a generator's faces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--generator", default="embedded", metavar="NAME|FILE", help="whose codes it gives: a source or a style"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="aligned square faces of the kind it is to read")
    add_output(parser, "the encoder", EncoderTrainingConfig)
    add_run_dir(parser)
    add_resume(parser)
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, EncoderTrainingConfig, but=("steps", "seed"))


def run(args: argparse.Namespace, console: Console) -> None:
    check_output(args)
    config = read_config(args, EncoderTrainingConfig)
    job = TrainingCommand(args, console, config, args.out.stem)
    from ...models.checkpoints import save_encoder
    from ...runtime.progress import ProgressReporter
    from ...training.encoder.task import encoder_size, train_encoder

    generator = load_generator("embedded" if args.generator == "embedded" else style_file(args.generator))
    images = None if args.images is None else _faces(args.images, encoder_size(generator.resolution))
    with ProgressReporter(config.steps, "train") as progress:
        result = train_encoder(generator.to(job.device), config, images, progress.callbacks(), **job.run)
    job.finish(save_encoder, result.encoder, result.history, held_out_mse=result.error)


def _faces(folder: Path, size: int) -> Tensor:
    """The square pictures of a folder, `[N, 3, size, size]` in -1..1."""
    import torch

    from ...core.pictures import image_to_tensor, read_photo
    from ...latents.encoding import resize

    def read(path: Path) -> Tensor:
        picture = image_to_tensor(read_photo(path)[:1])
        height, width = picture.shape[2:]
        if height != width:
            raise ValueError(f"is {width}x{height}; --images takes aligned square faces, as `align` writes.")
        return resize(picture, size)

    return torch.cat(list(read_usable(folder, read).values()))

"""Teach an encoder to read a generator's faces; under torchrun, with several processes together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.settings import to_mapping
from ...training.encoder.settings import EncoderTrainingConfig
from ..console import Console
from ..files import load_generator, require, style_file
from ..options import add_settings, read_config
from ..photos import read_usable
from ..runs import begin_run
from ..sharding import training_processes

if TYPE_CHECKING:
    from torch import Tensor

HELP = "teach an encoder to read a generator's faces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--generator", default="embedded", metavar="NAME|FILE", help="whose codes it gives: a source or a style"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="aligned square faces of the kind it is to read")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the encoder, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    parser.add_argument("--steps", type=int, metavar="N", help=f"default: {EncoderTrainingConfig.steps}")
    parser.add_argument("--run-dir", type=Path, metavar="RUN", help="where the run is kept (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument("--half", action="store_true", help="store 16-bit numbers: half the size")
    settings = parser.add_argument_group("settings")
    add_settings(settings, EncoderTrainingConfig, but=("steps", "seed"))


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    config = read_config(args, EncoderTrainingConfig)
    run_dir = args.run_dir or Path("runs") / args.out.stem
    begin_run(console, run_dir, args.resume, "with --resume", args.out)
    from ...models.checkpoints import save_encoder
    from ...runtime.devices import memory_for_training
    from ...runtime.progress import ProgressReporter
    from ...training.encoder.task import encoder_size, train_encoder

    processes = training_processes()
    generator = load_generator("embedded" if args.generator == "embedded" else style_file(args.generator))
    images = None if args.images is None else _faces(args.images, encoder_size(generator.resolution))
    with memory_for_training() as device, ProgressReporter(config.steps, "train") as progress:
        result = train_encoder(
            generator.to(processes.device or device),
            config,
            images,
            progress.callbacks(),
            run_dir,
            args.resume,
            processes,
        )
    if not processes.is_main:
        return
    save_encoder(result.encoder, args.out, dict(result.encoder.provenance), half=args.half)
    console.line(str(args.out))
    console.result(
        {
            "files": [str(args.out)],
            "run": str(run_dir),
            "settings": to_mapping(config),
            "held_out_mse": result.error,
            "last": result.history[-1] if result.history else {},
        }
    )


def _faces(folder: Path, size: int) -> Tensor:
    """The square pictures of a folder, `[N, 3, size, size]` in -1..1."""
    import torch

    from ...core.pictures import image_to_tensor, read_photo
    from ...training.losses.reconstruction import resize

    def read(path: Path) -> Tensor:
        picture = image_to_tensor(read_photo(path)[:1])
        height, width = picture.shape[2:]
        if height != width:
            raise ValueError(f"is {width}x{height}; --images takes aligned square faces, as `align` writes.")
        return resize(picture, size)

    return torch.cat(list(read_usable(folder, read).values()))

"""Draw faces with a generator: from seeds, from z, or from W+."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import check_writable
from ...pipeline.networks import load_generator
from ..console import Console, require
from ..files import read_array, write_array
from ..options import seeds
from ..photos import write_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.types import FaceGenerator

HELP = "draw faces with a generator"
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a StyleGAN2 checkpoint, or embedded")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--seeds", type=seeds, metavar="0-3", help="one face per seed (default: --seed, or 0)")
    source.add_argument("--z", metavar="z.npy", help="[N, z_dim]")
    source.add_argument("--w-plus", metavar="w.npy", help="[N, num_ws, w_dim]; or .safetensors, .npz, .pt latents")
    parser.add_argument("--truncation-psi", type=float, default=1.0, metavar="P", help="default: 1")
    parser.add_argument("--truncation-cutoff", type=int, metavar="N", help="truncate only the first N codes")
    parser.add_argument("--class", type=int, dest="class_index", metavar="K", help="for conditional networks")
    parser.add_argument("--noise", choices=("const", "random", "none"), default="const", help="default: const")
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--out", type=Path, metavar="DIR", help="where the pictures go (default: output/generate)")
    target.add_argument("--raw", type=Path, metavar="out.npy", help="float32 [N, 3, S, S], not clamped, instead")


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    check_writable(args.raw)
    check_writable(args.out or Path("output") / "generate", folder=True)
    generator = load_generator(args.file)
    network = generator.generator
    names, w_plus = _latents(args, generator)
    random = torch.Generator().manual_seed(args.seed or 0)
    with torch.inference_mode():
        w_plus = network.truncate(w_plus, args.truncation_psi, args.truncation_cutoff)
        pictures = torch.cat(
            [network.synthesis(part, noise=args.noise, generator=random).float().cpu() for part in w_plus.split(BATCH)]
        )
    if args.raw:
        paths = [write_array(pictures, args.raw)]
    else:
        folder = args.out or Path("output") / "generate"
        paths = write_pictures(pictures, [folder / f"{name}.png" for name in names])
    console.files(paths, shape=list(pictures.shape))


def _latents(args: argparse.Namespace, generator: FaceGenerator) -> tuple[list[str], Tensor]:
    """A name for each picture, and its W+ before truncation."""
    import torch

    from ...latents.files import load_latents
    from ...latents.sampling import seeded_z

    network = generator.generator
    config, device = network.config, network.mean_latent.device
    if args.w_plus:
        require(args.class_index is None, "--class works with --seeds or --z only; a W+ code includes its class")
        w_plus = load_latents(args.w_plus, generator).w_plus.float()
        return [f"w{index:04}" for index in range(len(w_plus))], w_plus.to(device)
    if args.z:
        z = read_array(args.z, (None, config.z_dim), "latents z for this generator")
        names = [f"z{index:04}" for index in range(len(z))]
    else:
        numbers = args.seeds if args.seeds is not None else [args.seed or 0]
        z = seeded_z(numbers, config.z_dim)
        names = [f"seed{number:04}" for number in numbers]
    condition = None
    if config.c_dim:
        classes = config.c_dim
        require(args.class_index is not None, f"this network is conditional: choose --class 0 to {classes - 1}")
        require(0 <= args.class_index < classes, f"--class is {args.class_index}; this network has 0 to {classes - 1}")
        condition = torch.zeros(len(z), classes, device=device)
        condition[:, args.class_index] = 1
    else:
        require(args.class_index is None, "--class is given, but this network is not conditional")
    with torch.inference_mode():
        return names, network.broadcast(network.mapping(z.to(device), condition))

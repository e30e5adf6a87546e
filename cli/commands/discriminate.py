"""Ask a discriminator about pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...core.files import check_writable
from ...pipeline.networks import load_discriminator
from ..console import Console, require
from ..files import read_images, write_array

HELP = "a discriminator's logits for pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a checkpoint with a discriminator, or embedded")
    parser.add_argument("--images", required=True, metavar="x.npy", help="[N, 3, R, R] in -1..1, or [N, R, R, 3] bytes")
    parser.add_argument("--class", type=int, dest="class_index", metavar="K", help="for conditional networks")
    parser.add_argument("--raw", type=Path, required=True, metavar="out.npy", help="logits [N, 1], float32")


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    check_writable(args.raw)
    network = load_discriminator(args.file)
    config = network.config
    images = read_images(args.images, config.resolution)
    device = next(network.parameters()).device
    condition = None
    if config.c_dim:
        given = args.class_index is not None and 0 <= args.class_index < config.c_dim
        require(given, f"this network is conditional: choose --class 0 to {config.c_dim - 1}")
        condition = torch.zeros(len(images), config.c_dim, device=device)
        condition[:, args.class_index] = 1
    else:
        require(args.class_index is None, "--class is given, but this network is not conditional")
    # All at once, because the minibatch statistics belong to the batch.
    with torch.inference_mode():
        logits = network(images.to(device), condition)
    console.files([write_array(logits, args.raw)], logits=logits.flatten().tolist())

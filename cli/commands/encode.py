"""Turn pictures into W+ codes with an encoder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..console import Console
from ..files import load_encoder, read_array, write_array

HELP = "an encoder's W+ codes for pictures"
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("encoder", metavar="ENCODER", help="an encoder's checkpoint, or embedded")
    parser.add_argument("--images", required=True, metavar="x.npy", help="[N, 3, S, S] in -1..1, aligned faces")
    parser.add_argument("--raw", type=Path, required=True, metavar="w.npy", help="[N, num_ws, w_dim], float32")


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    encoder = load_encoder(args.encoder)
    size = encoder.resolution
    images = read_array(args.images, (None, 3, size, size), "pictures for this encoder")
    device = next(encoder.network.parameters()).device
    with torch.inference_mode():
        w_plus = torch.cat([encoder.network(part.to(device)).float().cpu() for part in images.split(BATCH)])
    console.line(str(write_array(w_plus, args.raw)))
    console.result({"files": [str(args.raw)], "shape": list(w_plus.shape)})

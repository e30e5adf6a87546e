"""Turn pictures into W+ codes with an encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import check_writable
from ...pipeline.networks import find_file, load_encoder, load_generator
from ..console import Console, require
from ..files import read_images, write_array

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.types import FaceEncoder

HELP = "an encoder's W+ codes for pictures"
BATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("encoder", metavar="ENCODER", help="an encoder's checkpoint, or embedded")
    parser.add_argument(
        "--images", required=True, metavar="x.npy", help="aligned faces: [N, 3, S, S] in -1..1, or [N, S, S, 3] bytes"
    )
    parser.add_argument("--raw", type=Path, required=True, metavar="w.npy", help="[N, num_ws, w_dim], float32")
    parser.add_argument(
        "--generator",
        metavar="FILE",
        help="what ReStyle looks at, and whose mean latent is added where ENCODER has none (default for ReStyle: the "
        "one in ENCODER)",
    )


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...latents.encoding import is_iterative, needs_generator_mean

    check_writable(args.raw)
    encoder = load_encoder(args.encoder)
    size = encoder.resolution
    images = read_images(args.images, size, None)
    channels = images.shape[1]
    # Both pictures that ReStyle compares may be given at once; then it needs no generator.
    accepted = (3, 6) if is_iterative(encoder) else (3,)
    require(channels in accepted, f"{args.images} holds {channels} channels; this encoder takes {accepted[-1]}")
    named = args.generator
    if named is None and is_iterative(encoder) and channels == 3:
        named = _own_generator(args.encoder)
    if named is not None and channels == 3:
        w_plus = _with_generator(images, encoder, named)
    else:
        if needs_generator_mean(encoder):
            console.note("ENCODER holds no mean latent: codes are differences from the generator's (--generator).")
        device = next(encoder.network.parameters()).device
        with torch.inference_mode():
            w_plus = torch.cat([encoder.network(part.to(device)).float().cpu() for part in images.split(BATCH)])
    console.files([write_array(w_plus, args.raw)], shape=list(w_plus.shape))


def _own_generator(name: str) -> str:
    """The encoder's own file, where it holds the generator too."""
    from ...models.checkpoints import inspect

    file = find_file(name)
    require(inspect(file).has_generator, "this ReStyle encoder comes without a generator; name one with --generator")
    return file


def _with_generator(images: Tensor, encoder: FaceEncoder, name: str) -> Tensor:
    """Codes of an encoder that looks at the generator's pictures, as often as it is used to."""
    from ...latents.encoding import invert_with_encoder

    return invert_with_encoder(images, encoder, load_generator(name), batch_size=BATCH).w_plus.cpu()

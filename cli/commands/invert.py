"""Find the latents of aligned face pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..files import about, load_encoder, load_generator, need, write_array
from ..options import fraction

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.types import FaceEncoder, FaceGenerator, FaceLatent

HELP = "find the latents of aligned faces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="aligned square faces, as `align` writes them")
    parser.add_argument("--generator", required=True, metavar="FILE", help="a StyleGAN2 checkpoint, or embedded")
    parser.add_argument("--encoder", metavar="FILE", help="where to start; with --generator embedded: the embedded one")
    parser.add_argument(
        "--steps", type=int, metavar="N", help="optimisation steps (default: 0 with an encoder, 200 without)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="w.npy", help="W+ [N, num_ws, w_dim], float32")
    parser.add_argument("--reconstructions", type=Path, metavar="DIR", help="also write what the latents look like")
    parser.add_argument("--delta-penalty", type=fraction, metavar="P", help="keeps the layers' codes together")


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...models.sampling import synthesise
    from ..files import unique_stems, write_pictures

    encoder_name = args.encoder or ("embedded" if args.generator == "embedded" else None)
    steps = args.steps if args.steps is not None else (0 if encoder_name else 200)
    need(steps >= 0, "--steps is below 0")
    need(steps > 0 or encoder_name is not None, "with --steps 0 an --encoder is needed")
    generator = load_generator(args.generator)
    encoder = load_encoder(encoder_name) if encoder_name else None
    pictures = torch.cat([_read_square(path, generator.resolution) for path in args.images])
    settings = {"seed": args.seed or 0}
    if args.delta_penalty is not None:
        settings["delta_penalty"] = args.delta_penalty
    latent = find_latents(pictures, generator, encoder, steps, settings)
    write_array(latent.w_plus, args.out)
    if args.reconstructions:
        names = [args.reconstructions / f"{stem}.png" for stem in unique_stems(args.images)]
        write_pictures(synthesise(generator, latent), names)
    errors = [] if latent.reconstruction_error is None else latent.reconstruction_error.tolist()
    for path, error in zip(args.images, errors, strict=False):
        console.line(f"{path}: mean squared error {error:.5f}")
    console.line(str(args.out))
    records = [{"image": str(path), "error": error} for path, error in zip(args.images, errors, strict=False)]
    console.result({"files": [str(args.out)], "shape": list(latent.w_plus.shape), "images": records})


def find_latents(
    pictures: Tensor, generator: FaceGenerator, encoder: FaceEncoder | None, steps: int, settings: dict[str, Any]
) -> FaceLatent:
    """The encoder's latents where there is one, then `steps` of optimisation where there are any."""
    from ...runtime.progress import ProgressReporter
    from ...training.config import InversionConfig
    from ...training.inversion import invert_by_optimisation, invert_with_encoder

    latent = invert_with_encoder(pictures, encoder, generator) if encoder else None
    if latent is not None and steps == 0:
        return latent
    config = InversionConfig(steps=steps, **settings)
    with ProgressReporter(steps, "invert") as progress:
        return invert_by_optimisation(pictures, generator, latent, config, progress.callbacks())


def _read_square(path: str, size: int) -> Tensor:
    """One picture `[1, 3, size, size]` in -1..1."""
    from ...runtime.images import image_to_tensor, read_picture
    from ...training.inversion import resize

    with about(path):
        picture = image_to_tensor(read_picture(path)[0][:1])
        height, width = picture.shape[-2:]
        if height != width:
            raise ValueError(
                f"The picture is {width}x{height}; aligned faces are square. Cut them out with `facestylist align`."
            )
    return resize(picture, size)

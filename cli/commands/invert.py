"""Find the latents of aligned face pictures."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import check_writable
from ...pipeline.networks import load_encoder, load_generator, own_encoder
from ...training.inversion.settings import LATENT_SPACES, NOISE_MODES, InversionConfig, PivotalConfig
from ..console import Console, require
from ..files import write_array
from ..options import fraction, positive
from ..photos import Photos, write_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.types import FaceLatent
    from ...training.inversion.pivotal import PivotalResult

HELP = "find the latents of aligned faces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="aligned square faces, as `align` writes them, and folders of them"
    )
    parser.add_argument("--generator", required=True, metavar="FILE", help="a StyleGAN2 checkpoint, or embedded")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--encoder", metavar="FILE", help="where to start; with --generator embedded: its own")
    start.add_argument(
        "--start", metavar="FILE", help="latents to start from: .npy, .pt or .safetensors, one for each IMAGE"
    )
    parser.add_argument(
        "--encoder-steps", type=positive, metavar="N", help="how often the encoder looks (default: 1, for ReStyle 5)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="optimisation steps (default: 0 with an encoder, 200 without)"
    )
    parser.add_argument("--space", choices=LATENT_SPACES, help="a code per layer, or one for all (default: w_plus)")
    parser.add_argument("--noise", choices=NOISE_MODES, help="the generator's own, or fit too (default: fixed)")
    parser.add_argument("--delta-penalty", type=fraction, metavar="P", help="keeps the layers' codes together")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="w.npy",
        help="W+ [N, num_ws, w_dim], float32; a .safetensors also keeps noise, errors and whose they are",
    )
    parser.add_argument("--reconstructions", type=Path, metavar="DIR", help="also write what the latents look like")
    add_pivotal(parser)


def add_pivotal(parser: argparse.ArgumentParser) -> None:
    """`--pivotal` and what belongs to it."""
    group = parser.add_argument_group("pivotal tuning")
    group.add_argument(
        "--pivotal", type=Path, metavar="OUT.safetensors", help="tune a copy of the generator to these faces; save it"
    )
    group.add_argument(
        "--pivotal-steps",
        type=positive,
        default=PivotalConfig.steps,
        metavar="N",
        help=f"default: {PivotalConfig.steps}",
    )
    group.add_argument(
        "--locality",
        type=float,
        default=PivotalConfig.locality_weight,
        metavar="W",
        help=f"how firmly other faces stay as they were; 0: not at all (default: {PivotalConfig.locality_weight})",
    )


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...latents.encoding import mean_squared_error
    from ...latents.files import load_latents, save_latents
    from ...latents.sampling import synthesise
    from ...pipeline.stylise import compare, find_latents, tune

    require(
        args.pivotal is None or args.pivotal.suffix == ".safetensors",
        f"--pivotal is {args.pivotal}; its name has to end in .safetensors",
    )
    encoder_name = args.encoder
    if encoder_name is None and args.start is None:
        encoder_name = own_encoder(args.generator)
    begun = encoder_name is not None or args.start is not None
    steps = args.steps if args.steps is not None else (0 if encoder_name else 200)
    require(steps >= 0, "--steps is below 0")
    require(steps > 0 or begun, "with --steps 0 an --encoder is needed")
    require(args.locality >= 0, "--locality is below 0")
    check_writable(args.out, args.pivotal)
    check_writable(args.reconstructions, folder=True)
    generator = load_generator(args.generator)
    encoder = load_encoder(encoder_name) if encoder_name else None
    photos = Photos(args.images, console, sharded=False)
    settings: dict[str, Any] = {"seed": args.seed or 0}
    for name in ("delta_penalty", "space", "noise"):
        if getattr(args, name) is not None:
            settings[name] = getattr(args, name)
    start = load_latents(args.start, generator) if args.start else None
    require(
        start is None or len(start) == len(photos.todo),
        f"{args.start} holds {len(start or ())} latents for {len(photos.todo)} pictures",
    )
    done = list(photos.each("read", partial(_read_square, size=generator.resolution)))
    if not done:
        photos.check()
    pictures = torch.cat([picture for _, _, picture in done])
    if start is not None and photos.missing:
        names = {stem for _, stem, _ in done}
        start = start.select([row for row, (_, stem) in enumerate(photos.todo) if stem in names])

    def write(latent: FaceLatent) -> None:
        if args.out.suffix == ".safetensors":
            save_latents(latent, args.out)
        else:
            write_array(latent.w_plus, args.out)

    def keep(latent: FaceLatent) -> None:
        write(latent)
        console.note(f"\nThe best so far is in {args.out}.")

    search = InversionConfig(steps=steps, **settings) if steps else None
    latent = find_latents(pictures, generator, encoder, search, args.encoder_steps, start, keep)
    prediction = synthesise(generator, latent).cpu()
    error = mean_squared_error(prediction, pictures)
    way_out = "Give more --steps, tune with --pivotal, or draw with `stylise --fast`."
    latent, warning = compare(latent.replace(reconstruction_error=error), encoder, pictures, prediction, way_out)
    write(latent)
    files = [str(args.out)]
    records: list[dict[str, Any]] = [
        {"image": path, "error": value} for (path, _, _), value in zip(done, error.tolist(), strict=True)
    ]
    if args.pivotal is not None:
        from ...models.checkpoints import save_generator

        def keep_tuned(result: PivotalResult) -> None:
            save_generator(result.generator, args.pivotal, dict(result.generator.provenance))
            console.note(f"\nThe best so far is in {args.pivotal}.")

        pivotal = PivotalConfig(steps=args.pivotal_steps, locality_weight=args.locality, seed=args.seed or 0)
        learned, left = tune(pictures, generator, latent, pivotal, encoder, keep_tuned)
        save_generator(learned, args.pivotal, dict(learned.provenance))
        files.append(str(args.pivotal))
        for record, value in zip(records, left.tolist(), strict=True):
            record["error_tuned"] = value
        prediction = synthesise(learned, latent).cpu()
        latent, warning = compare(latent, encoder, pictures, prediction, way_out)
    if latent.identity_distance is not None:
        for record, value in zip(records, latent.identity_distance.tolist(), strict=True):
            record["identity_distance"] = value
    if args.reconstructions:
        write_pictures(prediction, [args.reconstructions / f"{stem}.png" for _, stem, _ in done])
    for record in records:
        tuned = f", after tuning {record['error_tuned']:.5f}" if "error_tuned" in record else ""
        console.line(f"{record['image']}: mean squared error {record['error']:.5f}{tuned}")
    if warning:
        console.note(warning)
    console.files(files, shape=list(latent.w_plus.shape), images=records, **photos.as_json())
    photos.check()


def _read_square(path: str, size: int) -> Tensor:
    """One picture `[1, 3, size, size]` in -1..1."""
    from ...core.pictures import image_to_tensor, read_photo
    from ...latents.encoding import check_pictures, resize

    picture = image_to_tensor(read_photo(path)[:1])
    height, width = picture.shape[-2:]
    if height != width:
        raise ValueError(
            f"The picture is {width}x{height}; aligned faces are square. Cut them out with `facestylist align`."
        )
    check_pictures(picture)
    return resize(picture, size)

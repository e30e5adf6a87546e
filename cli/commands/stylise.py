"""Photos in, stylised photos out: align, invert, stylise, paste back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..console import Console
from ..files import about, face_finder, load_encoder, load_generator, need, style_file, unique_stems, write_pictures
from ..options import fraction, positive
from .align import add_detection
from .invert import find_latents, tune

HELP = "turn photos into stylised photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument("--style", required=True, metavar="NAME|FILE", help="an embedded style's name, or a checkpoint")
    parser.add_argument("--strength", type=fraction, default=1.0, metavar="S", help="0 to 1 (default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument(
        "--source", default="embedded", metavar="FILE", help="what the style was fine-tuned from (default: embedded)"
    )
    parser.add_argument("--encoder", metavar="FILE", help="the source's encoder (default: embedded for embedded)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimisation steps after the encoder (default: 0)")
    parser.add_argument(
        "--pivotal", type=positive, metavar="N",
        help="first tune source and style to the faces of each photo, N steps (200 are usual)",
    )  # fmt: skip
    parser.add_argument("--region", choices=("head", "face", "crop"), default="head", help="default: head")
    parser.add_argument("--feather", type=fraction, default=0.1, metavar="F", help="soft edge, 0 to 0.5 (default: 0.1)")
    parser.add_argument("--colour-match", type=fraction, default=0.0, metavar="C", help="0 to 1 (default: 0)")
    parser.add_argument("--crops", action="store_true", help="also write the crops and the stylised faces")
    add_detection(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...faces.align import align_faces
    from ...faces.paste import paste_faces
    from ...models.blending import with_strength
    from ...models.sampling import synthesise
    from ...runtime.images import image_to_tensor, read_picture
    from ...runtime.progress import ProgressReporter
    from ...training.pivotal import align_style

    encoder_name = args.encoder or ("embedded" if args.source == "embedded" else None)
    steps = args.steps if args.steps is not None else (0 if encoder_name else 200)
    need(steps >= 0, "--steps is below 0")
    need(steps > 0 or encoder_name is not None, "with --steps 0 an --encoder is needed")
    style = load_generator(style_file(args.style))
    source = load_generator(args.source)
    encoder = load_encoder(encoder_name) if encoder_name else None
    drawer = with_strength(source, style, args.strength)
    find = face_finder(args.detector, args.min_confidence, args.download_if_missing)
    label = style.style or Path(args.style).stem
    records: list[dict[str, Any]] = []
    with ProgressReporter(len(args.photos), "stylise") as progress, torch.inference_mode():
        for index, (photo, stem) in enumerate(zip(args.photos, unique_stems(args.photos), strict=True)):
            with about(photo):
                pictures = image_to_tensor(read_picture(photo)[0])
                faces = align_faces(pictures, find, args.size, args.on_no_face)
            files = []
            errors: list[float] = []
            result = pictures
            if len(faces):
                latent = find_latents(faces.crops, source, encoder, steps, {"seed": args.seed or 0})
                if args.pivotal:
                    tuned, left = tune(faces.crops, source, latent, args.pivotal, seed=args.seed or 0)
                    latent = latent.replace(reconstruction_error=torch.tensor(left))
                    drawer = with_strength(tuned, align_style(style, source, tuned), args.strength)
                stylised = synthesise(drawer, latent).cpu()
                result, _ = paste_faces(
                    pictures, faces, stylised, args.feather, args.colour_match, region=args.region
                )
                errors = [] if latent.reconstruction_error is None else latent.reconstruction_error.tolist()
                if args.crops:
                    for kind, batch in (("crop", faces.crops), (label, stylised)):
                        files += write_pictures(
                            batch, [args.out / f"{stem}_{kind}_{number:02}.png" for number in range(len(batch))]
                        )
            frames = [""] if len(result) == 1 else [f"_{frame:04}" for frame in range(len(result))]
            files = write_pictures(result, [args.out / f"{stem}_{label}{frame}.png" for frame in frames]) + files
            for path in files:
                console.line(str(path))
            records.append(
                {"photo": str(photo), "faces": len(faces), "files": [str(f) for f in files], "errors": errors}
            )
            progress.update(index + 1)
    console.result({"style": label, "photos": records})

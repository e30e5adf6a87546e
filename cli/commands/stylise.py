"""Photos in, stylised photos out: align, invert, stylise, paste back."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import check_writable
from ...latents.settings import ApplyConfig, VariationConfig
from ...pipeline.networks import (
    face_finder,
    load_encoder,
    load_generator,
    load_stylizer,
    own_encoder,
    source_of,
    style_file,
)
from ...training.inversion.settings import InversionConfig, PivotalConfig, ReferenceConfig
from ..console import Console, require
from ..files import error_context
from ..options import add_detection, fraction, positive
from ..photos import LARGE, Photos, write_frames, write_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.types import FaceCrops
    from ...models.types import FaceEncoder, FaceGenerator, FaceLatent

HELP = "turn photos into stylised photos"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="pictures, and folders of them")
    parser.add_argument("--style", metavar="NAME|FILE", help="an embedded style's name, or a checkpoint")
    parser.add_argument("--strength", type=fraction, default=1.0, metavar="S", help="0 to 1 (default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the pictures go")
    parser.add_argument(
        "--source", metavar="FILE", help="what the style was fine-tuned from (default: the shipped one)"
    )
    parser.add_argument("--encoder", metavar="FILE", help="the source's encoder (default: the shipped one)")
    parser.add_argument("--steps", type=int, metavar="N", help="optimisation steps after the encoder (default: 0)")
    parser.add_argument(
        "--pivotal",
        type=positive,
        metavar="N",
        help="first tune source and style to the faces of each photo, N steps (200 are usual)",
    )
    parser.add_argument("--region", choices=("head", "face", "crop"), default="head", help="default: head")
    parser.add_argument("--feather", type=fraction, default=0.1, metavar="F", help="soft edge, 0 to 0.5 (default: 0.1)")
    parser.add_argument("--colour-match", type=fraction, default=0.0, metavar="C", help="0 to 1 (default: 0)")
    parser.add_argument("--crops", action="store_true", help="also write the crops and the stylised faces")
    fast = parser.add_argument_group("in one pass, whole pictures of any size, without a generator")
    fast.add_argument("--fast", action="store_true", help="draw with the shipped student of --style")
    fast.add_argument("--stylizer", metavar="NAME|FILE", help="draw with this fast stylizer, in place of --style")
    fast.add_argument(
        "--stroke-size", type=float, default=0.0, metavar="N", help="how large strokes are (default: by the picture)"
    )
    fast.add_argument("--faces-only", action="store_true", help="draw only the faces, and paste them back")
    add_modes(parser)
    add_detection(parser)


def add_modes(parser: argparse.ArgumentParser) -> None:
    """Other appearances of the style: by chance, or a reference's."""
    group = parser.add_argument_group("other appearances of the style (nothing is trained)")
    group.add_argument(
        "--variations", type=positive, metavar="N", help="N pictures of each photo, each in an appearance by chance"
    )
    group.add_argument(
        "--reference",
        action="append",
        metavar="IMAGE",
        help="draw in the look of this picture, which is in the style; given again: in the look between them",
    )
    group.add_argument(
        "--amount",
        type=fraction,
        metavar="A",
        help=f"how far (beta), 0 to 1 (default: {VariationConfig.amount:g}, of a reference {ApplyConfig.amount:g})",
    )
    group.add_argument(
        "--structure",
        type=fraction,
        default=ApplyConfig.structure,
        metavar="G",
        help="how much of the reference's eyes, nose and mouth (gamma), 0 to 1 (default: 0)",
    )
    group.add_argument("--preserve-colour", action="store_true", help="keep the face's colours")
    group.add_argument(
        "--layer-cut",
        type=positive,
        metavar="M",
        help="first code that changes (default: 7 from 128 px up, 5 at 64 px)",
    )
    group.add_argument(
        "--reference-steps",
        type=int,
        metavar="N",
        help="search iterations for the reference (default: 100 after an encoder, else 300)",
    )
    group.add_argument(
        "--style-encoder", metavar="FILE", help="an encoder for the style's pictures (default: the source's encoder)"
    )


def run(args: argparse.Namespace, console: Console) -> None:
    import torch

    from ...core.pictures import read_photo

    require((args.style is None) != (args.stylizer is None), "give one of --style and --stylizer")
    check_writable(args.out, folder=True)
    if args.fast and args.stylizer is None:
        name = args.style.rpartition(":")[2].removeprefix("student-")
        args.stylizer = f"{source_of(args.style)}:student-{name}"
    label, make = _with_generator(args, console) if args.stylizer is None else _with_stylizer(args)
    find = None
    if args.stylizer is None or args.faces_only:
        find = face_finder(args.detector, args.min_confidence, args.download_if_missing, keep_unsure=True)
    photos = Photos(args.photos, console)

    def read(photo: str) -> tuple[Tensor, FaceCrops | None]:
        image = read_photo(photo)
        if find is None:
            return image, None
        from ...pipeline.stylise import find_faces

        return image, find_faces(image, find, args.size, on_no_face=args.on_no_face, names=[photo] * len(image))

    def write(stem: str, made: _Made) -> list[Path]:
        crops: list[Path] = []
        for kind, batch in made.crops.items():
            crops += write_pictures(batch, [args.out / f"{stem}_{kind}_{n:02}.png" for n in range(len(batch))])
        named = made.images.items()
        return [path for name, done in named for path in write_frames(done, args.out, f"{stem}_{name}")] + crops

    records: list[dict[str, Any]] = []
    written: deque[tuple[dict[str, Any], dict[str, Any], Future[list[Path]]]] = deque()

    def tell_written(waiting: int) -> None:
        """Of all photos but so many of the last."""
        while len(written) > waiting:
            record, facts, paths = written.popleft()
            files = [str(path) for path in paths.result()]
            for file in files:
                console.line(file)
            records.append({**record, "files": files, **facts})

    # A photo's files are written while the next one is drawn.
    with torch.inference_mode(), ThreadPoolExecutor(1) as writer:
        try:
            for photo, stem, (image, faces) in photos.each("stylise", read):
                made = make(photo, image, faces)
                count = {} if faces is None else {"faces": len(faces)}
                job = writer.submit(copy_context().run, torch.inference_mode()(write), stem, made)
                written.append(({"photo": photo, **count}, made.facts, job))
                waiting = int(image[..., 0].numel() < LARGE)
                del image, faces, made
                tell_written(waiting)
        finally:
            tell_written(waiting=0)
    console.result({"style": label, "photos": records, **photos.as_json()})
    photos.check()


@dataclass
class _Made:
    """What became of a photo."""

    images: dict[str, Tensor]
    """IMAGE of the whole photo, by what its file's name ends in."""
    crops: dict[str, Tensor] = field(default_factory=dict)
    """Faces to be written too, `[N, 3, S, S]`, by kind."""
    facts: dict[str, Any] = field(default_factory=dict)


Make = Callable[[str, "Tensor", Any], _Made]
"""Of a photo, its IMAGE and its faces, which are None where the whole is drawn."""


def _with_stylizer(args: argparse.Namespace) -> tuple[str, Make]:
    """The style's name, and what draws whole photos, or their faces, in one pass."""
    from ...core.pictures import alpha_of, photos_of, tensor_to_bytes, tensor_to_image, with_alpha
    from ...models.stylizer import draw

    stylizer = load_stylizer(args.stylizer)
    label = stylizer.style or "stylised"

    def make(photo: str, image: Tensor, faces: FaceCrops | None) -> _Made:
        if faces is None:
            drawn, alpha = draw(stylizer.network, photos_of(image), args.strength, args.stroke_size), alpha_of(image)
            done = tensor_to_bytes(drawn) if alpha is None else with_alpha(tensor_to_image(drawn), alpha)
            return _Made({label: done})
        from ...pipeline.stylise import paste

        drawn = draw(stylizer.network, faces.crops, args.strength, args.stroke_size)
        return _Made({label: paste(faces, drawn, args.feather, args.colour_match, args.region)[0]})

    return label, make


def _with_generator(args: argparse.Namespace, console: Console) -> tuple[str, Make]:
    """The style's name, and what finds the faces' latents and draws them with its generator."""
    from ...latents.encoding import unlike
    from ...models.blending import with_strength
    from ...pipeline.stylise import Stylist, paste, stylise

    args.source = args.source or source_of(args.style)
    encoder_name = args.encoder or own_encoder(args.source)
    steps = args.steps if args.steps is not None else (0 if encoder_name else 200)
    require(steps >= 0, "--steps is below 0")
    require(steps > 0 or encoder_name is not None, "with --steps 0 an --encoder is needed")
    require(args.variations is None or args.reference is None, "--variations and --reference exclude each other")
    asked = args.variations or args.reference
    for name in ("amount", "layer_cut", "preserve_colour", "structure", "reference_steps", "style_encoder"):
        flag = f"--{name.replace('_', '-')}"
        require(bool(asked) or getattr(args, name) in (None, False, 0), f"{flag} needs --variations or --reference")
    require(args.reference_steps is None or args.reference_steps >= 0, "--reference-steps is below 0")
    seed = args.seed or 0
    style, source, strength = load_generator(style_file(args.style)), load_generator(args.source), args.strength
    drawer = style
    if not args.pivotal:
        # The same for all photos, where nothing is tuned to their faces.
        drawer, strength = with_strength(source, style, strength), 1.0
    by = Stylist(
        drawer,
        source,
        load_encoder(encoder_name) if encoder_name else None,
        strength,
        InversionConfig(steps=steps, seed=seed) if steps else None,
        PivotalConfig(steps=args.pivotal, seed=seed) if args.pivotal else None,
    )
    label = style.style or Path(args.style).stem
    look = read_references(args, style, source, by.encoder) if args.reference else None

    def make(photo: str, image: Tensor, faces: FaceCrops) -> _Made:
        if not len(faces):
            untouched = paste(faces, faces.crops, args.feather, args.colour_match, args.region)[0]
            return _Made({label: untouched}, facts={"errors": [], "identity_distances": None})
        drawn, latent = stylise(faces, by, lambda drawer, codes: appearances(args, drawer, codes, look))
        warning = unlike(latent.identity_distance, "Give --steps 100, add --pivotal 200, or use --fast.")
        if warning:
            console.note(f"{photo}: {warning}")
        errors, distances = latent.reconstruction_error, latent.identity_distance
        named = {f"{label}{suffix}": pictures for suffix, pictures in drawn.items()}
        return _Made(
            {name: paste(faces, new, args.feather, args.colour_match, args.region)[0] for name, new in named.items()},
            {"crop": faces.crops, **named} if args.crops else {},
            {
                "errors": [] if errors is None else errors.tolist(),
                "identity_distances": None if distances is None else distances.tolist(),
            },
        )

    return label, make


def read_references(
    args: argparse.Namespace, style: FaceGenerator, source: FaceGenerator, encoder: FaceEncoder | None
) -> FaceLatent:
    """The look of the pictures after `--reference`: of the one, or between them."""
    import torch

    from ...core.pictures import image_to_tensor, read_photo
    from ...faces.align import reference_crops
    from ...runtime.progress import ProgressReporter
    from ...training.inversion.reference import encode_reference

    # Drawn faces: the embedded detector knows them, and is less sure of them than of photographs.
    find = face_finder("embedded", min(args.min_confidence, 0.3), False)
    crops = []
    for path in args.reference:
        with error_context(path), torch.inference_mode():
            crops.append(reference_crops(image_to_tensor(read_photo(path)[:1]), find, style.resolution))
    start = load_encoder(args.style_encoder) if args.style_encoder else encoder
    steps = args.reference_steps if args.reference_steps is not None else (100 if start else ReferenceConfig.steps)
    config = ReferenceConfig(steps=steps, seed=args.seed or 0)
    with ProgressReporter(max(steps, 1), "read reference") as progress:
        return encode_reference(torch.cat(crops), style, config, source, start, callbacks=progress.callbacks())


def appearances(
    args: argparse.Namespace, drawer: FaceGenerator, latent: FaceLatent, look: FaceLatent | None
) -> dict[str, FaceLatent]:
    """The latents of all faces in each appearance that was asked for, by what its files' names end in."""
    from ...latents.appearance import random_appearances
    from ...training.inversion.reference import apply_reference

    cut = args.layer_cut or 0
    if look is not None:
        amount = ApplyConfig.amount if args.amount is None else args.amount
        config = ApplyConfig(amount, args.structure, args.preserve_colour, cut)
        return {"": apply_reference(drawer, latent, look, config)}
    if args.variations:
        first = args.seed or 0
        amount = VariationConfig.amount if args.amount is None else args.amount
        return {
            f"_seed{seed:04}": random_appearances(
                drawer, latent, [seed], amount, layer_cut=cut, preserve_colour=args.preserve_colour
            )
            for seed in range(first, first + args.variations)
        }
    return {"": latent}

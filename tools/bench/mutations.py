"""Files of every kind that the pack reads, changed at random places, and read: the answer may be what is in them or a
sentence of ours, soon and in bounded memory, and nothing else.

    python -m facestylist.tools.bench.mutations --minutes 3 --seed 1 --keep found [PARSER ...]

Every parser runs in a process of its own with limits. What falls is printed once per place, and kept with --keep.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .mutated_files import OURS, Parser, complaint, parsers, place_of

SECONDS = 5.0
"""Of processor time that one file may take."""
ADDRESSES = 6 << 30
"""Bytes of address space that a parser's process may have beyond what it began with."""


class TooSlow(BaseException):
    """Not an Exception, so that no reader takes it for a damaged file."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooSlow(f"more than {seconds:g} s")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def judge(parser: Parser, path: Path) -> str | None:
    """What is wrong with how a file is read; None where all is well."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _limited(SECONDS):
            parser.read(path)
    except OURS as error:
        return complaint(error)
    except (Exception, TooSlow) as error:
        return place_of(error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return f"{grown >> 20} MB taken" if grown > parser.growth + 8 * path.stat().st_size else None


def changed(parser: Parser, rng: random.Random) -> bytes:
    """One of a parser's files, changed once or twice."""
    data = rng.choice(parser.seeds)
    for _ in range(rng.choice((1, 1, 2))):
        # What was changed before may no longer be an archive.
        with suppress(zipfile.BadZipFile, ValueError, LookupError, NotImplementedError, EOFError):
            data = rng.choice(parser.changes)(data, rng)
    return data


def _work(name: str, parser: Parser, seed: int, seconds: float, folder: Path, keep: Path) -> None:
    """Reads changed files until the time is over; the file at hand lies in `folder`, what fell in `keep`."""
    resource.setrlimit(resource.RLIMIT_AS, (_addresses() + ADDRESSES, resource.RLIM_INFINITY))
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rng = random.Random(f"{seed} {name}")  # noqa: S311 - no secret depends on it
    end, count, found = time.monotonic() + seconds, 0, set()
    path = folder / "file"
    for data in parser.seeds:
        path.write_bytes(data)
        with suppress(*OURS):
            parser.read(path)
    while time.monotonic() < end:
        data = changed(parser, rng)
        path.write_bytes(data)
        count += 1
        wrong = judge(parser, path)
        if wrong is not None:
            kind = re.sub(r"\d{2,}|'.*'|\".*\"", "#", wrong)
            if kind not in found:
                found.add(kind)
                (keep / f"{name.replace(' ', '-')}-{len(found):03}").write_bytes(data)
                sys.stdout.write(f"{name}: {wrong}\n")
                sys.stdout.flush()
    sys.stdout.write(f"{name}: {count} files read\n")
    sys.stdout.flush()
    sys.exit(1 if found else 0)


def _addresses() -> int:
    """Bytes of address space that this process has."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return 16 << 30


def main() -> int:
    """Runs the parsers one after the other; 1 where something fell."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parsers", nargs="*", metavar="PARSER", help="default: all")
    arguments.add_argument("--minutes", type=float, default=1.0, help="for each parser (default: 1)")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--keep", type=Path, metavar="DIR", help="where files that fell are kept")
    args = arguments.parse_args()
    known = parsers()
    unknown = set(args.parsers) - set(known)
    if unknown:
        arguments.error(f"there is no parser {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    context, fell = multiprocessing.get_context("fork"), False
    for name in args.parsers or known:
        with tempfile.TemporaryDirectory() as folder:
            keep = args.keep or Path(folder) / "found"
            keep.mkdir(parents=True, exist_ok=True)
            work = context.Process(
                target=_work, args=(name, known[name], args.seed, args.minutes * 60, Path(folder), keep)
            )
            work.start()
            work.join(args.minutes * 60 + 60)
            if work.is_alive() or work.exitcode not in (0, 1):
                how = "never came to an end" if work.is_alive() else f"ended the process ({work.exitcode})"
                sys.stdout.write(f"{name}: {how}\n")
                work.kill()
                for path in Path(folder).glob("file*"):
                    (keep / f"{name.replace(' ', '-')}-last").write_bytes(path.read_bytes())
            fell = fell or work.exitcode != 0
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())

"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ..core.settings import Config, fields_of, from_mapping
from ..detection.settings import DETECTORS, MIN_CONFIDENCE
from ..pipeline.processes import device_of_rank
from ..runtime.devices import DEVICES, use_device
from ..runtime.folders import Folders, use_folders
from .console import UsageError
from .files import read_settings

SEED_RANGE = 2**32
Number = TypeVar("Number", int, float)


def add_common(parser: argparse.ArgumentParser) -> None:
    """What every command takes."""
    group = parser.add_argument_group("common options")
    group.add_argument("--device", type=device, default="auto", help=f"{', '.join(DEVICES)}, or cuda:1 (default: auto)")
    group.add_argument("--models-dir", type=Path, metavar="DIR", help="folder with stylegan/, face_encoders/, ...")
    group.add_argument("--seed", type=seed, metavar="N", help="seed of everything random in this command")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    group.add_argument("--traceback", action="store_true", help="show where an error came from")


def add_detection(parser: argparse.ArgumentParser) -> None:
    """How faces are found and cut out."""
    parser.add_argument("--size", type=positive, default=256, metavar="N", help="side of the crops (default: 256)")
    parser.add_argument(
        "--detector",
        choices=DETECTORS,
        default="auto",
        help="auto takes YuNet where its weights are in the models folder (default: auto)",
    )
    parser.add_argument(
        "--download-if-missing",
        action="store_true",
        help="fetch YuNet's weights (0.4 MB) into the models folder where auto or yunet finds none",
    )
    parser.add_argument("--on-no-face", choices=("error", "skip"), default="error", help="default: error")
    parser.add_argument(
        "--min-confidence",
        type=fraction,
        default=MIN_CONFIDENCE,
        metavar="C",
        help=f"0 to 1 (default: {MIN_CONFIDENCE})",
    )


@contextmanager
def in_force(args: argparse.Namespace) -> Iterator[None]:
    """The device and the folders that a command was given, while it runs."""
    defaults = Folders()
    output = getattr(args, "output_dir", None) or defaults.output
    folders = Folders(
        input=getattr(args, "input_dir", None) or defaults.input,
        output=output,
        temp=output / "temp",
        models=args.models_dir or defaults.models,
    )
    with use_device(device_of_rank(args.device)), use_folders(folders):
        yield


def device(text: str) -> str:
    """A device's name; whether this machine has it, `pick_device` says."""
    if text.split(":")[0] not in DEVICES:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(DEVICES)}, or cuda:1 and so on")
    return text


def seed(text: str) -> int:
    """A seed as `numpy.random.RandomState` takes it."""
    return _number(int, text, 0, SEED_RANGE - 1, f"a seed: a whole number from 0 to {SEED_RANGE - 1}")


def seeds(text: str) -> list[int]:
    """Seeds as in `0-3,7`."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start = seed(first.strip())
        stop = seed(last.strip()) if dash else start
        if stop < start or stop - start >= 1_000_000:
            raise argparse.ArgumentTypeError(f"{part!r} is not a range of seeds such as 0-3")
        found += range(start, stop + 1)
    return found


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _number(int, text, 1, math.inf, "a whole number above 0")


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(float, text, 0, 1, "a number from 0 to 1")


def _number(kind: type[Number], text: str, low: float, high: float, wanted: str) -> Number:
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def add_settings(group: Any, config_class: type, but: Collection[str] = ()) -> None:
    """The settings of a training as flags, except those in `but`. Defaults stay unset, so that a TOML file can give
    them; `read_config` puts both together."""
    for spec in fields_of(config_class):
        if spec.name in but:
            continue
        flag = "--" + spec.name.replace("_", "-")
        text = f"{spec.tooltip} (default: {spec.default})".replace("%", "%%")
        if spec.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            choices = list(spec.choices) or None
            metavar = None if choices else spec.type.__name__.upper()
            group.add_argument(flag, type=spec.type, choices=choices, metavar=metavar, help=text)


def read_config(args: argparse.Namespace, config_class: type[Config], **defaults: Any) -> Config:
    """Settings from the flags, else from the TOML file `--config`, else from `defaults`, else the class's own."""
    values = defaults | (read_settings(args.config) if args.config else {})
    for spec in fields_of(config_class):
        given = getattr(args, spec.name, None)
        if given is not None:
            values[spec.name] = given
    try:
        return from_mapping(config_class, values)
    except ValueError as error:
        if args.config:
            raise
        # With no file, what does not fit came from the flags.
        raise UsageError(str(error)) from error

"""The command line: `python -m facestylist COMMAND`, or `facestylist COMMAND` where it is installed.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from types import ModuleType

from ..training.kit.interrupts import as_keyboard_interrupt
from .commands import COMMANDS
from .console import Console, UsageError
from .options import add_common, in_force

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


def build_parser(names: Sequence[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser of these commands; the modules of others are not imported."""
    parser = argparse.ArgumentParser(
        prog="facestylist",
        description="Portraits into stylised portraits, with the same code that the ComfyUI nodes run.",
        epilog="`facestylist COMMAND --help` tells more. `embedded`, `embedded:cartoon`, ... name the shipped networks "
        "wherever a FILE is asked for.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        command = load_command(name)
        if command is None:
            sub = commands.add_parser(name, help="(only in a clone of the repository)")
            sub.add_argument("rest", nargs=argparse.REMAINDER)
            add_common(sub)
            sub.set_defaults(run=_only_in_a_clone)
            continue
        sub = commands.add_parser(name, help=command.HELP, description=command.__doc__)
        command.add_arguments(sub)
        add_common(sub)
        sub.set_defaults(run=command.run)
    return parser


def load_command(name: str) -> ModuleType | None:
    """The module of a command, None where this installation comes without it."""
    module = COMMANDS[name]
    try:
        return import_module(f"..{module}", __package__)
    except ModuleNotFoundError as error:
        if module.startswith("tools.") and error.name and error.name.partition(".")[2].startswith("tools"):
            return None
        raise


def _only_in_a_clone(args: argparse.Namespace, console: Console) -> None:
    raise ValueError(
        f"`{args.command}` is a maintainer's command that this installation does not include. Clone the repository "
        "and run it there."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status; only argparse's own exits (help, wrong usage) raise SystemExit."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser(argv[:1]) if argv and argv[0] in COMMANDS else build_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    console = Console(args.json)
    with as_keyboard_interrupt() as interrupts:
        status = _status(args, console)
        if status == FAILED and interrupts.raised:
            # What was interrupted had made another error of it.
            status = INTERRUPTED
        interrupts.ignored = True
        if status == INTERRUPTED:
            sys.stderr.write("\n".join(["\nInterrupted.", *filter(None, [console.kept()])]) + "\n")
    return status


def _status(args: argparse.Namespace, console: Console) -> int:
    """Runs the command; its exit status."""
    try:
        with in_force(args):
            args.run(args, console)
    except UsageError as error:
        sys.stderr.write(f"facestylist {args.command}: {error}\n")
        return WRONG_USAGE
    except KeyboardInterrupt as error:
        if console.kept is str and error.args:
            console.kept = partial(str, error)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, such as `head`, has gone; Python would complain once more when it closes stdout.
        sys.stdout = None
        return FAILED
    except Exception as error:
        if args.traceback:
            traceback.print_exc()
        else:
            sys.stderr.write(f"{_sentence(error)}\n")
        return FAILED
    return DONE


def _sentence(error: Exception) -> str:
    """An error as a person reads it. Errors that nobody phrased keep their type, so that they can be reported."""
    if isinstance(error, (ValueError, RuntimeError, OSError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error} (run it again with --traceback to see where)"

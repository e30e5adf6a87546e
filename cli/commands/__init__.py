"""The commands, one file each: `HELP` in a line, `add_arguments(parser)`, and `run(args, console)`.

The modules are cheap to import; what is heavy, they import when they run.
"""

from __future__ import annotations

from types import ModuleType

from . import (
    align,
    bench,
    convert,
    demo,
    discriminate,
    encode,
    finetune,
    generate,
    inspect,
    invert,
    pairs,
    render,
    run,
    stylise,
    train_base,
    train_detector,
    train_embedded,
    train_encoder,
    train_pairs,
    train_stylizer,
    ui,
)

COMMANDS: dict[str, ModuleType] = {
    "demo": demo,
    "run": run,
    "stylise": stylise,
    "align": align,
    "invert": invert,
    "finetune": finetune,
    "pairs": pairs,
    "train-pairs": train_pairs,
    "generate": generate,
    "discriminate": discriminate,
    "encode": encode,
    "inspect": inspect,
    "convert": convert,
    "render": render,
    "bench": bench,
    "ui": ui,
    "train-stylizer": train_stylizer,
    "train-encoder": train_encoder,
    "train-base": train_base,
    "train-embedded": train_embedded,
    "train-detector": train_detector,
}

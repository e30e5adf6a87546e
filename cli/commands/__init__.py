"""The commands, one file each: `HELP` in a line, `add_arguments(parser)`, and `run(args, console)`.

The modules are cheap to import; what is heavy, they import when they run.
"""

from __future__ import annotations

COMMANDS = {
    "demo": "cli.commands.demo",
    "run": "cli.commands.run",
    "stylise": "cli.commands.stylise",
    "align": "cli.commands.align",
    "invert": "cli.commands.invert",
    "finetune": "cli.commands.finetune",
    "pairs": "cli.commands.pairs",
    "train-pairs": "cli.commands.train_pairs",
    "generate": "cli.commands.generate",
    "discriminate": "cli.commands.discriminate",
    "encode": "cli.commands.encode",
    "inspect": "cli.commands.inspect",
    "convert": "cli.commands.convert",
    "render": "cli.commands.render",
    "bench": "tools.commands.bench",
    "ui": "cli.commands.ui",
    "train-stylizer": "cli.commands.train_stylizer",
    "train-encoder": "cli.commands.train_encoder",
    "train-base": "cli.commands.train_base",
    "train-embedded": "tools.commands.train_embedded",
    "train-detector": "tools.commands.train_detector",
}
"""Where each command is. Those of `tools` come with a clone of the repository only."""

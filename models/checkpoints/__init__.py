"""Checkpoint files: what they are (`inspect`), their networks (`load_*`), and this project's own format (`save_*`).

Nothing in a file is ever executed. Wherever a path is accepted, so are the names of the shipped networks: `embedded`,
`embedded:cartoon`, ...
"""

from .contents import CheckpointInfo
from .errors import CheckpointError
from .load import ORIGIN, inspect, load_discriminator, load_encoder, load_generator, load_identity, load_stylizer
from .save import save_encoder, save_generator, save_identity, save_stylizer

__all__ = [
    "ORIGIN",
    "CheckpointError",
    "CheckpointInfo",
    "inspect",
    "load_discriminator",
    "load_encoder",
    "load_generator",
    "load_identity",
    "load_stylizer",
    "save_encoder",
    "save_generator",
    "save_identity",
    "save_stylizer",
]

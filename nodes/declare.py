"""Short forms for a node's inputs, so that a declaration reads as a list of names, ranges and tooltips."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.settings import Config, fields_of, from_mapping, parse_toml

if TYPE_CHECKING:
    from ..core.settings import FieldSpec

Input = tuple[Any, dict[str, Any]]

MAX_SEED = 2**32 - 1
"""Seeds mean what they mean in the reference StyleGAN2 implementations, whose range this is."""


OTHER_SETTINGS = "Other settings by name, one per line: r1_gamma = 10. This node's help lists all of them."


class Node:
    """What all nodes have in common for ComfyUI; `node_id` of their `run` is the node's UNIQUE_ID."""

    FUNCTION = "run"
    REQUIRED: ClassVar[Mapping[str, Input]] = {}
    OPTIONAL: ClassVar[Mapping[str, Input]] = {}
    run: ClassVar[Any]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        hidden = {"node_id": "UNIQUE_ID"} if "node_id" in inspect.signature(cls.run).parameters else {}
        groups = {"required": cls.REQUIRED, "optional": cls.OPTIONAL, "hidden": hidden}
        return {name: copy.deepcopy(dict(inputs)) for name, inputs in groups.items() if inputs}


class SavingNode(Node):
    """A node that writes a file and says where it is."""

    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("path",)
    OUTPUT_NODE = True

    @staticmethod
    def saved(path: Path, node_id: str | None) -> tuple[str]:
        """Its output, which it also shows."""
        from ..runtime.progress import ProgressReporter

        ProgressReporter(1, node_id=node_id).text(f"Saved {path}")
        return (str(path),)


class NetworkLoader(Node):
    """A node that loads a network from a list of names."""

    KIND: ClassVar[str]
    """One of `pipeline.networks.FOLDERS`."""
    NAME_TOOLTIP: ClassVar[str]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        from ..pipeline.networks import FOLDERS
        from ..runtime.folders import list_models

        return {"required": {"name": choice(list_models(FOLDERS[cls.KIND]), cls.NAME_TOOLTIP)}}

    @classmethod
    def IS_CHANGED(cls, name: str) -> str:
        from ..pipeline.networks import FOLDERS
        from ..runtime.folders import find_model

        return content_hash([Path(find_model(FOLDERS[cls.KIND], name))])

    def run(self, name: str) -> tuple[Any]:
        from ..pipeline.networks import read_network

        return (read_network(self.KIND, name),)


class FileReader(Node):
    """A node that reads a file named by its text `file`."""

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None) -> bool | str:
        return input_file(file)

    @classmethod
    def IS_CHANGED(cls, file: str, generator: None = None) -> str:
        from ..runtime.folders import find_input

        return content_hash([find_input(file)])


class WithSettings(Node):
    """A node with a text `settings`, which is checked before anything runs."""

    CONFIG: ClassVar[type]

    @classmethod
    def VALIDATE_INPUTS(cls, settings: str | None = None) -> bool | str:
        """None is a text that comes over a wire."""
        try:
            read_settings(cls.CONFIG, {}, settings)
        except ValueError as error:
            return str(error)
        return True


def socket(kind: str, tooltip: str) -> Input:
    """An input that takes a wire of type `kind`."""
    return kind, {"tooltip": tooltip}


def integer(
    default: int, tooltip: str, *, low: int = 0, high: int = 1 << 16, step: int = 1, advanced: bool = False
) -> Input:
    return "INT", _options(tooltip, advanced, default=default, min=low, max=high, step=step)


def number(
    default: float, tooltip: str, *, low: float = 0.0, high: float = 1.0, step: float = 0.01, advanced: bool = False
) -> Input:
    return "FLOAT", _options(tooltip, advanced, default=default, min=low, max=high, step=step)


def choice(options: Sequence[str], tooltip: str, *, default: str | None = None, advanced: bool = False) -> Input:
    """A drop-down list; its first option is the default unless `default` says otherwise."""
    chosen = {} if default is None else {"default": default}
    return list(options), _options(tooltip, advanced, **chosen)


def switch(default: bool, tooltip: str, *, advanced: bool = False) -> Input:
    return "BOOLEAN", _options(tooltip, advanced, default=default)


def text(default: str, tooltip: str, *, advanced: bool = False) -> Input:
    return "STRING", _options(tooltip, advanced, default=default, multiline=False)


def seed(tooltip: str) -> Input:
    """A seed with the front end's "control after generate" beside it."""
    options = {"default": 0, "min": 0, "max": MAX_SEED, "step": 1, "control_after_generate": True}
    return "INT", _options(tooltip, False, **options)


def settings_of(config_class: type) -> dict[str, Input]:
    """The widgets of a training's settings, those for everybody first, and a text `settings` for all the others."""
    specs = fields_of(config_class)
    widgets = {spec.name: from_spec(spec) for place in ("shown", "advanced") for spec in specs if spec.place == place}
    options = {"default": "", "multiline": True, "tooltip": OTHER_SETTINGS, "advanced": True}
    return widgets | {"settings": ("STRING", options)}


def read_settings(config_class: type[Config], widgets: Mapping[str, Any], settings: str | None) -> Config:
    """The configuration that widgets and the text `settings` ask for; what is in both, the text decides.

    Raises:
        ValueError: the text is not TOML, or a setting is unknown or out of its range; the sentence says which.
    """
    try:
        lines = parse_toml(settings or "")
    except ValueError as error:
        raise ValueError(f"`settings` is {error}. Write a line for each, such as `seed = 3`.") from error
    return from_mapping(config_class, {**widgets, **lines})


def from_spec(spec: FieldSpec) -> Input:
    """The widget of one setting, as the dataclass declares it."""
    if spec.choices:
        return choice(spec.choices, spec.tooltip, default=spec.default, advanced=spec.place == "advanced")
    kind = {int: "INT", float: "FLOAT", bool: "BOOLEAN", str: "STRING"}[spec.type]
    limits = {"min": spec.min, "max": spec.max, "step": spec.step}
    options = {name: value for name, value in limits.items() if value is not None}
    if kind == "INT" and options.get("min", 0) % options.get("step", 1):
        # The front end snaps a typed number to min + n * step, and 400 steps would become 401.
        options["step"] = 1
    if spec.name == "seed":
        # Changing it after each run, as the front end would by itself, would train anew every time.
        options |= {"max": MAX_SEED, "control_after_generate": False}
    return kind, _options(spec.tooltip, spec.place == "advanced", default=spec.default, **options)


def _options(tooltip: str, advanced: bool, **options: Any) -> dict[str, Any]:
    options["tooltip"] = tooltip
    if advanced:
        options["advanced"] = True
    return options


def input_file(name: str | None) -> bool | str:
    """For VALIDATE_INPUTS: whether the file is there, or what to do; a name that comes over a wire is None here."""
    from ..runtime.folders import find_input

    if name is None:
        return True
    try:
        path = find_input(name)
    except ValueError as error:
        return str(error)
    return path.is_file() or f"There is no file {path}. Give a name inside the input folder, or add [output] to it."


def content_hash(paths: Iterable[Path]) -> str:
    """SHA-256 of names and contents: what `IS_CHANGED` returns for nodes that read files.

    A missing file counts by its name alone, so that a node fails with its own sentence when it runs, not here.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode())
        if path.is_file():
            status = path.stat()
            digest.update(_file_hash(path, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _file_hash(path: Path, size: int, modified: int) -> bytes:
    """A file's SHA-256; reading a large one again is spared while its size and time stay as they are."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()

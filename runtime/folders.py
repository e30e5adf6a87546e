"""Where files are: ComfyUI's folders (with the user's extra_model_paths) inside it, a few plain ones elsewhere."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import assets as embedded
from .devices import in_comfyui

logger = logging.getLogger(__name__)

SAMPLE, SAMPLE_GROUP, SAMPLE_CLIP = "facestylist_sample.png", "facestylist_group.png", "facestylist_sample.mp4"
"""What the bundled workflows call the sample pictures, of one person and of several, and the sample clip."""
SAMPLES = {
    SAMPLE: embedded.ASSETS / "sample.png",
    SAMPLE_GROUP: embedded.ASSETS / "group.png",
    SAMPLE_CLIP: embedded.ASSETS / "sample.mp4",
}

MODEL_EXTENSIONS: dict[str, tuple[str, ...]] = {
    "stylegan": (".safetensors", ".pt", ".pth", ".pkl"),
    "face_encoders": (".safetensors", ".pt", ".pth"),
    "face_detection": (".safetensors", ".pt", ".pth", ".onnx"),
    "face_guides": (".safetensors", ".pt", ".pth", ".dat", ".bin"),
    "face_stylizers": (".safetensors",),
}
"""Our model folders, and the files each of them lists."""


@dataclass(frozen=True)
class Folders:
    """The folders of a process without ComfyUI, by default those of the working directory."""

    input: Path = field(default_factory=lambda: Path.cwd() / "input")
    """Where LoadImage and the style folders look."""
    output: Path = field(default_factory=lambda: Path.cwd() / "output")
    """Where SaveImage and the trainings write."""
    temp: Path = field(default_factory=lambda: Path.cwd() / "output" / "temp")
    """Where PreviewImage writes."""
    models: Path = field(default_factory=lambda: Path.cwd() / "models")
    """Holds `stylegan/`, `face_encoders/`, `face_detection/`, `face_guides/` and `face_stylizers/`."""


_folders: ContextVar[Folders | None] = ContextVar("facestylist_folders", default=None)


@contextmanager
def use_folders(folders: Folders) -> Iterator[None]:
    """The folders of a process without ComfyUI, until the block ends: the command line's `--input-dir` and so on."""
    token = _folders.set(folders)
    try:
        yield
    finally:
        _folders.reset(token)


def current_folders() -> Folders:
    """The folders in force: ComfyUI's, or those of `use_folders`, or the defaults."""
    chosen = _folders.get()
    if chosen is not None:
        return chosen
    if in_comfyui():
        import folder_paths

        return Folders(
            Path(folder_paths.get_input_directory()),
            Path(folder_paths.get_output_directory()),
            Path(folder_paths.get_temp_directory()),
            Path(folder_paths.models_dir),
        )
    return Folders()


def input_dir() -> Path:
    """Where pictures and style folders are looked for."""
    return current_folders().input


def output_dir() -> Path:
    """Where results are written."""
    return current_folders().output


def training_run_dir(name: str, identity: Mapping[str, Any]) -> Path:
    """One folder for each `run_identity` of a training, so that the same run finds what it left there."""
    short = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w-]+", "_", name)
    return output_dir() / "facestylist_runs" / f"{name}-{short}"


def temp_dir() -> Path:
    """Where previews are written."""
    return current_folders().temp


def cache_dir() -> Path:
    """Where things are kept that can be made again: `FACESTYLIST_CACHE`, else `facestylist` in the user's cache folder.

    It may be deleted at any time.
    """
    own = os.environ.get("FACESTYLIST_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facestylist"


def register_model_folders() -> None:
    """Tells ComfyUI our model folders, keeping any path that extra_model_paths.yaml gave them already."""
    import folder_paths

    for kind, extensions in MODEL_EXTENSIONS.items():
        known, _ = folder_paths.folder_names_and_paths.get(kind, ([], set()))
        own = str(Path(folder_paths.models_dir) / kind)
        paths = list(known) if own in known else [*known, own]
        folder_paths.folder_names_and_paths[kind] = (paths, set(extensions))


def copy_samples_once() -> None:
    """Puts each sample into ComfyUI's input folder once: one that was deleted stays deleted.

    The bundled workflows load them with ComfyUI's own nodes, whose lists hold what lies in that folder; the front end
    marks any other name, even of a file that can be read, as missing media.
    """
    import folder_paths

    folder = Path(folder_paths.get_input_directory())
    for name, asset in SAMPLES.items():
        try:
            if not asset.is_file():
                continue
            what = f"{folder / name} {asset.stat().st_size}"
            offered = cache_dir() / "samples" / hashlib.sha256(what.encode()).hexdigest()[:16]
            if offered.exists():
                continue
            if not (folder / name).exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(asset, folder / name)
            offered.parent.mkdir(parents=True, exist_ok=True)
            offered.touch()
        except OSError as error:
            logger.warning("The sample %s of the bundled workflows could not be copied to %s: %s", name, folder, error)


def model_dirs(kind: str) -> list[Path]:
    """The folders of `stylegan`, `face_encoders` and the like, the first one being where new files go."""
    if in_comfyui() and _folders.get() is None:
        import folder_paths

        return [Path(path) for path in folder_paths.get_folder_paths(kind)]
    return [current_folders().models / kind]


def list_model_files(kind: str) -> list[str]:
    """Names, relative to their folder, of the user's files of a kind, sorted; without the embedded ones."""
    if in_comfyui() and _folders.get() is None:
        import folder_paths

        return list(folder_paths.get_filename_list(kind))
    names = set()
    for folder in model_dirs(kind):
        for path in folder.rglob("*"):
            if path.suffix.lower() in MODEL_EXTENSIONS[kind] and path.is_file():
                names.add(path.relative_to(folder).as_posix())
    return sorted(names)


def list_embedded_styles() -> list[str]:
    """The styles that ship with the pack, in alphabetical order."""
    return [name.partition(":")[2] for name in embedded.list_embedded() if ":" in name]


def list_models(kind: str) -> list[str]:
    """What a node's drop-down list offers: the shipped networks, the user's files, then the rendered cast."""
    if kind == "face_stylizers":
        cast = embedded.list_embedded("stylizer", "rendered")
        return [*embedded.list_embedded("stylizer"), *list_model_files(kind), *cast]
    if kind == "stylegan":
        styles = [f"embedded:{style}" for style in list_embedded_styles()]
        return ["embedded", *styles, *list_model_files(kind), *embedded.list_embedded(of="rendered")]
    return ["embedded", *list_model_files(kind), "rendered"]


def find_model(kind: str, name: str) -> str:
    """The path of a model by its name in the drop-down list, or by a path; embedded names stay as they are.

    Raises:
        ValueError: there is no such file.
    """
    if embedded.is_embedded(name):
        return name
    for folder in model_dirs(kind):
        path = folder / portable(name, lambda found, folder=folder: (folder / found).is_file())  # type: ignore[misc]
        if path.is_file():
            return str(path)
    if Path(name).is_file():
        return name
    places = " or ".join(str(folder) for folder in model_dirs(kind))
    raise ValueError(f"There is no model {name!r}. Put the file into {places}, or choose embedded.")


def new_model_path(kind: str, name: str) -> Path:
    """Where a new model file of this name is written: inside the kind's first folder, ending in `.safetensors`.

    Raises:
        ValueError: the name would leave that folder.
    """
    return _inside(model_dirs(kind)[0], name if name.endswith(".safetensors") else f"{name}.safetensors")


def find_input(name: str) -> Path:
    """A file or folder named in a workflow: ComfyUI's annotated form (`a.png [output]`) or an absolute path.

    The sample picture of the pack is found by its name without being copied anywhere. The result may not exist.

    Raises:
        ValueError: a relative name leaves its folder.
    """
    folders = current_folders()
    base = folders.input
    for ending, folder in (("[input]", folders.input), ("[output]", folders.output), ("[temp]", folders.temp)):
        if name.endswith(ending):
            name, base = name.removesuffix(ending).rstrip(), folder
    if Path(name).is_absolute():
        return Path(name)
    path = _inside(base, portable(name, lambda found: (base / found).exists()))
    return SAMPLES[name] if name in SAMPLES and not path.exists() else path


def portable(name: str, exists: Callable[[str], bool]) -> str:
    """The name under which a file is here that a workflow from Windows names: `sub\\my.pt`, `C:\\faces\\sub\\my.pt`.

    Its own name, where that exists; else with slashes; of a path with a drive or a share as much of its end as there
    is. The name as it was given, where none of these exists.
    """
    if "\\" not in name and not re.match(r"[A-Za-z]:/", name) or exists(name):
        return name
    parts = [part for part in re.split(r"[\\/]+", name) if part]
    rooted = re.match(r"[A-Za-z]:[\\/]|\\\\", name)
    for first in range(1, len(parts)) if rooted else range(1):
        found = "/".join(parts[first:])
        if ".." not in parts and exists(found):
            return found
    return name


def _inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused when it lies outside: names come from workflows that strangers share."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} lies outside {folder}. Use a name inside that folder.")
    return path

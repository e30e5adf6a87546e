"""The networks that ship with the pack, by name.

`embedded` was trained from photographs; `embedded:<style>` is a style of it, `embedded:student-<style>` a fast
stylizer. `rendered`, `rendered:<style>` and so on are the rendered cast, whose true twins are known.
"""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
FILES = {"generator": "generator.safetensors", "encoder": "encoder.safetensors", "detector": "detector.safetensors"}
SETS = ("embedded", "rendered")
STYLE_PREFIX = "style-"
STUDENT_PREFIX = "student-"


def is_embedded(name: str) -> bool:
    """Whether `name` is the name of a shipped network rather than a path."""
    return name.partition(":")[0] in SETS and not name.endswith(":")


def folder_of(name: str, kind: str = "generator") -> Path:
    """Where the networks of a set are: `embedded`, or `rendered`; there is one detector for both."""
    return ASSETS / "rendered" if name == "rendered" and kind != "detector" else ASSETS


def list_embedded(kind: str = "generator", of: str = "embedded") -> list[str]:
    """Names of a set's networks of a kind ("generator", "encoder", "detector" or "stylizer") whose files are there.

    For generators the base comes first, then its styles in alphabetical order.
    """
    folder = folder_of(of, kind)
    if kind == "stylizer":
        return [f"{of}:{path.stem}" for path in sorted(folder.glob(f"{STUDENT_PREFIX}*.safetensors"))]
    names = [of] if (folder / FILES[kind]).is_file() else []
    if kind == "generator":
        styles = sorted(path.stem.removeprefix(STYLE_PREFIX) for path in folder.glob(f"{STYLE_PREFIX}*.safetensors"))
        names += [f"{of}:{style}" for style in styles]
    return names


def resolve(name: str, kind: str = "generator") -> Path:
    """The file of a shipped network.

    Raises:
        FileNotFoundError: it is not there; the message says which names are, and what to do.
    """
    of, _, style = name.partition(":")
    folder = folder_of(of, kind)
    if style.startswith(STUDENT_PREFIX) or kind == "stylizer":
        path = folder / f"{STUDENT_PREFIX}{style.removeprefix(STUDENT_PREFIX)}.safetensors"
        if path.parent == folder and path.is_file():
            return path
        known = ", ".join(list_embedded("stylizer", of)) or "none"
        raise FileNotFoundError(f"There is no embedded fast stylizer called {name!r}. Known are: {known}.")
    path = folder / (f"{STYLE_PREFIX}{style}.safetensors" if style and kind == "generator" else FILES[kind])
    # A style's name comes from a person or a workflow: it must not lead out of the folder.
    if path.parent == folder and path.is_file() and not (style and kind != "generator"):
        return path
    known = ", ".join(list_embedded(kind, of))
    if known:
        raise FileNotFoundError(f"There is no embedded {kind} called {name!r}. Known are: {known}.")
    raise FileNotFoundError(f"The embedded {kind} is not in {folder}. Install the pack again.")

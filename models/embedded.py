"""The networks that ship with the pack, by name: `embedded`, `embedded:<style>` for a style of the generator, and
`embedded:student-<style>` for a fast stylizer."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
FILES = {"generator": "generator.safetensors", "encoder": "encoder.safetensors", "detector": "detector.safetensors"}
STYLE_PREFIX = "style-"
STUDENT_PREFIX = "student-"


def is_embedded(name: str) -> bool:
    """Whether `name` is the name of a shipped network rather than a path."""
    return name == "embedded" or name.startswith("embedded:")


def list_embedded(kind: str = "generator") -> list[str]:
    """Names of the shipped networks of a kind ("generator", "encoder", "detector" or "stylizer") whose files are there.

    For generators the base comes first, then its styles in alphabetical order.
    """
    if kind == "stylizer":
        return [f"embedded:{path.stem}" for path in sorted(ASSETS.glob(f"{STUDENT_PREFIX}*.safetensors"))]
    names = ["embedded"] if (ASSETS / FILES[kind]).is_file() else []
    if kind == "generator":
        styles = sorted(path.stem.removeprefix(STYLE_PREFIX) for path in ASSETS.glob(f"{STYLE_PREFIX}*.safetensors"))
        names += [f"embedded:{style}" for style in styles]
    return names


def resolve(name: str, kind: str = "generator") -> Path:
    """The file of a shipped network.

    Raises:
        FileNotFoundError: it is not there; the message says which names are, and what to do.
    """
    _, _, style = name.partition(":")
    if style.startswith(STUDENT_PREFIX) or kind == "stylizer":
        path = ASSETS / f"{STUDENT_PREFIX}{style.removeprefix(STUDENT_PREFIX)}.safetensors"
        if path.parent == ASSETS and path.is_file():
            return path
        known = ", ".join(list_embedded("stylizer")) or "none"
        raise FileNotFoundError(f"There is no embedded fast stylizer called {name!r}. Known are: {known}.")
    path = ASSETS / (f"{STYLE_PREFIX}{style}.safetensors" if style and kind == "generator" else FILES[kind])
    # A style's name comes from a person or a workflow: it must not lead out of the folder.
    if path.parent == ASSETS and path.is_file() and not (style and kind != "generator"):
        return path
    known = ", ".join(list_embedded(kind))
    if known:
        raise FileNotFoundError(f"There is no embedded {kind} called {name!r}. Known are: {known}.")
    raise FileNotFoundError(
        f"The embedded {kind} is not in {ASSETS}. Install the pack again, or make it with `make assets`."
    )

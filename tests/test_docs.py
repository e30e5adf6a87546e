"""What the documents say that a machine can check: links, command lines, what they have to list."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from facestylist.cli.commands import COMMANDS
from facestylist.cli.main import build_parser
from facestylist.core.assets import SETS, list_embedded
from facestylist.nodes import NODE_DISPLAY_NAME_MAPPINGS

PROGRAMS = ("facestylist ", "python -m facestylist ")


def documents(root: Path) -> list[Path]:
    pages = (path for folder in ("docs", "assets") for path in sorted((root / folder).rglob("*.md")))
    return [root / "README.md", root / "CONTRIBUTING.md", *pages]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere(root: Path) -> None:
    broken = []
    for path in documents(root):
        for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]+))?\)", path.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            page = path.parent / target if target else path
            if not page.exists() or (anchor and anchor not in anchors(page)):
                broken.append(f"{path.relative_to(root)}: {target}#{anchor}")
    assert not broken


def test_pages_that_the_code_names_are_there(root: Path) -> None:
    """Messages and docstrings send people to `docs/PAGE.md#heading`."""
    sources = [
        path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in ("tests", ".venv", ".work")
    ]
    named = {
        found
        for path in sources
        for found in re.findall(r"\b(docs/[\w-]+\.md)(?:#([\w-]+))?", path.read_text(encoding="utf-8"))
    }
    assert ("docs/training.md", "guides") in named
    broken = [(page, at) for page, at in named if not (root / page).exists() or (at and at not in anchors(root / page))]
    assert not broken


def test_the_networks_that_are_named_ship(root: Path) -> None:
    shipped = {name for of in SETS for kind in ("generator", "stylizer") for name in list_embedded(kind, of)}
    text = "\n".join(path.read_text("utf-8") for path in [*documents(root), *(root / "web" / "docs").glob("*.md")])
    named = {found.group() for found in re.finditer(rf"\b({'|'.join(SETS)}):[a-z-]+", text)}
    assert len(named) > 8 and not named - shipped


def test_command_lines_parse(root: Path) -> None:
    parser = build_parser()
    seen = 0
    for path in documents(root):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            program = next((p for p in PROGRAMS if line.startswith(f"    {p}")), None)
            if program is None or "COMMAND" in line:
                continue
            arguments = shlex.split(line.strip().removeprefix(program), comments=True)
            try:
                parser.parse_args(arguments)
            except SystemExit:
                pytest.fail(f"{path.name}: `{line.strip()}` is wrong usage")
            seen += 1
    assert seen > 8


def test_every_command_and_node_is_described(root: Path) -> None:
    commands, nodes = ((root / name).read_text(encoding="utf-8") for name in ("docs/cli.md", "docs/nodes.md"))
    assert not [name for name in COMMANDS if f"`{name}" not in commands]
    assert not [name for name in NODE_DISPLAY_NAME_MAPPINGS.values() if f"[{name}]" not in nodes]

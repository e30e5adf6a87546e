"""What the documents say that a machine can check: links, command lines, defaults."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from facestylist.cli.commands import COMMANDS
from facestylist.cli.main import build_parser
from facestylist.core.settings import fields_of
from facestylist.nodes import NODE_DISPLAY_NAME_MAPPINGS
from facestylist.training.finetune.settings import FinetuneConfig

PROGRAMS = ("facestylist ", "python -m facestylist ")


def documents(root: Path) -> list[Path]:
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def test_links_lead_somewhere(root: Path) -> None:
    broken = []
    for path in documents(root):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.relative_to(root)}: {target}")
    assert not broken


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


def test_the_defaults_of_the_method_are_those_of_the_code(root: Path) -> None:
    text = (root / "docs" / "method.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| setting | default |")
    rows = [line for line in table.split("\n\n")[0].splitlines() if line.startswith("| `")]
    checked = 0
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for names, values in zip(cells[::2], cells[1::2], strict=True):
            for name, value in zip(re.findall(r"`(\w+)`", names), values.split(", "), strict=True):
                default = getattr(FinetuneConfig, name)
                told = -1 if value == "automatic" else type(default)(value)
                assert told == default, f"{name} is {default} and not {value}"
                checked += 1
    assert checked > 8


def test_the_table_of_settings_is_the_one_of_the_code(root: Path) -> None:
    text = (root / "docs/training.md").read_text(encoding="utf-8")
    for spec in fields_of(FinetuneConfig):
        assert f"| `{spec.name}` | {spec.default} | {spec.tooltip} |" in text, spec.name

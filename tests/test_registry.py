"""What the Comfy registry and GitHub read: complete, and in step with the pack."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import facestylist


def test_the_changelog_has_this_version(root: Path) -> None:
    headings = re.findall(r"^## (\d+\.\d+\.\d+)", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert headings[0] == facestylist.__version__


def test_the_archive_keeps_what_the_pack_needs(root: Path) -> None:
    lines = (root / ".comfyignore").read_text(encoding="utf-8").splitlines()
    left_out = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    needed = ["__init__.py", "assets", "cli", "docs", "faces", "LICENSE", "locales", "models", "nodes", "procedural"]
    needed += ["pyproject.toml", "README.md", "requirements.txt", "runtime", "training", "web", "workflows"]
    for name in needed:
        assert (root / name).exists()
        assert not any(fnmatch(name, pattern) for pattern in left_out), name


def test_the_tests_run_on_three_systems(root: Path) -> None:
    text = (root / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert all(f"{system}-latest" in text for system in ("ubuntu", "windows", "macos"))
    publish = (root / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert "REGISTRY_ACCESS_TOKEN" in publish and "PublisherId" in publish

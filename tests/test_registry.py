"""What the Comfy registry and GitHub read: complete, and in step with the pack."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from comfy_server import comfyui_python
from PIL import Image

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


def test_the_tests_run_on_three_systems_with_the_oldest_and_newest_python_and_torch(root: Path) -> None:
    text = (root / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    assert all(f"{system}-latest" in text for system in ("ubuntu", "windows", "macos"))
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    oldest, newest = re.findall(r'- python: "([\d.]+)"\n *torch: "([\d.]+)"', text)
    assert f'requires-python = ">={oldest[0]}"' in project
    assert f"\ntorch=={newest[1]}\n" in (root / "constraints.txt").read_text(encoding="utf-8")
    publish = (root / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert "REGISTRY_ACCESS_TOKEN" in publish and "PublisherId" in publish


def test_icon_and_banner_are_as_the_registry_wants_them(root: Path) -> None:
    with (
        Image.open(root / "docs" / "pictures" / "icon.png") as icon,
        Image.open(root / "docs" / "pictures" / "banner.jpg") as banner,
    ):
        assert icon.size == (400, 400) and icon.mode == "RGBA"
        assert banner.width * 9 == banner.height * 21
    table = (root / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.comfy]")[2]
    for name in ("Icon", "Banner"):
        (value,) = re.findall(rf'^{name} = "(.*)"$', table, re.M)
        assert not value or value.startswith("https://"), "the registry takes an address, or nothing"


def test_the_requirements_leave_torch_and_numpy_alone(root: Path) -> None:
    """In a ComfyUI's environment where there is one, else in the one that runs the tests."""
    python = comfyui_python() or Path(sys.executable)
    command = [str(python), "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check"]
    command += ["--retries", "0", "--timeout", "10", "--report", "-", "-r", str(root / "requirements.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and re.search("NewConnectionError|ConnectionError|No matching distribution", done.stderr):
        pytest.skip("something of requirements.txt is not installed, and the package index cannot be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    new = {item["metadata"]["name"].lower().replace("_", "-") for item in json.loads(done.stdout)["install"]}
    assert not new & {"torch", "torchvision", "torchaudio", "numpy"}, f"it would install {sorted(new)}"

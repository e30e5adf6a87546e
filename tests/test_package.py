"""One tree, two ways in: loaded by path as ComfyUI does, and imported by name."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOAD_BY_PATH = """
    import importlib.util, sys
    # ComfyUI names the module after its absolute path, with dots replaced.
    name = sys.argv[1].replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, sys.argv[1] + "/__init__.py")
    pack = importlib.util.module_from_spec(spec)
    sys.modules[name] = pack
    spec.loader.exec_module(pack)
"""

# Initial weights, drawn inside fork_rng, which puts the global generator back.
ALLOWED = {"manual_seed(": ("tools/embedded/run.py", "tools/bench/judges.py")}


def python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loaded_by_path_as_comfyui_does(root: Path) -> None:
    code = textwrap.dedent(LOAD_BY_PATH) + textwrap.dedent(
        """
        assert getattr(pack, "NODE_CLASS_MAPPINGS", None) is not None
        assert set(pack.NODE_CLASS_MAPPINGS) == set(pack.NODE_DISPLAY_NAME_MAPPINGS)
        assert "torch" not in sys.modules, "listing the nodes must not load what only running them needs"
        for node_class in pack.NODE_CLASS_MAPPINGS.values():
            node_class.INPUT_TYPES()
        assert "facestylist" not in sys.modules, "something imports the pack by name"
        print(len(pack.NODE_CLASS_MAPPINGS))
        """
    )
    assert int(python(code, str(root))) >= 13


def test_imported_by_name_cheaply() -> None:
    code = """
        import sys, facestylist
        heavy = {"torch", "numpy", "PIL", "kornia"} & set(sys.modules)
        assert not heavy, heavy
        assert not any(name.startswith("facestylist.nodes") for name in sys.modules)
        assert facestylist.NODE_CLASS_MAPPINGS is facestylist.NODE_CLASS_MAPPINGS
        assert not hasattr(facestylist, "SOMETHING_ELSE")
        print(facestylist.__version__)
    """
    assert re.fullmatch(r"\d+\.\d+\.\d+", python(code))


def test_the_package_list_is_the_tree(root: Path) -> None:
    listed = set(project(root)["tool"]["setuptools"]["packages"])
    files = [path.relative_to(root) for path in root.glob("**/__init__.py")]
    present = {
        ".".join(["facestylist", *path.parts[:-1]])
        for path in files
        if path.parts[0] not in ("tests", "tools", "build") and not path.parts[0].startswith(".")
    }
    assert listed == present


def test_without_the_tools_their_commands_say_where_they_are(root: Path) -> None:
    assert "tools/" in (root / ".comfyignore").read_text().split()
    code = """
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.startswith("facestylist.tools"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.meta_path.insert(0, Absent())
        from facestylist.cli.main import main
        assert main(["bench", "speed", "--quick"]) == 1 and main(["train-detector"]) == 1
        main(["--help"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0 and "(only in a clone of the repository)" in done.stdout, done.stderr
    assert done.stderr.count("Clone the repository") == 2


def test_requirements_are_the_projects_dependencies(root: Path) -> None:
    lines = [line.partition("#")[0].strip() for line in (root / "requirements.txt").read_text().splitlines()]
    assert [line for line in lines if line] == project(root)["project"]["dependencies"]


def test_constraints_pin_everything_that_the_tests_install(root: Path) -> None:
    """What `.[test]` asks for, and what that asks for, here: a release of none of it changes a result."""
    lines = [line.split("#")[0] for line in (root / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line.strip()]
    here = {canonicalize_name(pin.name) for pin in pins if pin.marker is None or pin.marker.evaluate()}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    described = project(root)["project"]
    asked = [*described["dependencies"], *described["optional-dependencies"]["test"]]
    missing, known = set(), set()
    while asked:
        wanted = Requirement(asked.pop())
        name = canonicalize_name(wanted.name)
        if name in known or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        known.add(name)
        missing |= {name} - here
        with suppress(PackageNotFoundError):
            asked += [line for line in requires(name) or [] if "extra ==" not in line]
    assert len(known) > 30 and not missing, f"not pinned in constraints.txt: {', '.join(sorted(missing))}"


def test_one_version(root: Path) -> None:
    import facestylist

    assert project(root)["project"]["version"] == facestylist.__version__


@pytest.mark.parametrize("word", ["print(", "manual_seed(", "random.seed(", "weights_only=False"])
def test_what_the_pack_never_does(root: Path, word: str) -> None:
    """No print (a redirected server log loses it), no seeding of global generators, no execution of pickles."""
    pattern = re.compile(r"(?<![\w.])(?:torch\.|np\.|numpy\.)?" + re.escape(word))
    found = [
        f"{path.relative_to(root)}:{number}"
        for package in project(root)["tool"]["setuptools"]["packages"]
        for path in root.joinpath(*package.split(".")[1:]).glob("*.py")
        if path.relative_to(root).as_posix() not in ALLOWED.get(word, ())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def test_tolerances_have_their_reason(root: Path) -> None:
    """They are counted by tests/tolerances.py or derived in the test, never a power of ten that happened to do.

    What must not be close may be told so by one.
    """
    bare = re.compile(r"\b(?:atol|rtol|abs|rel)=[\d.]+e-\d")
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.glob("tests/**/*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if bare.search(line) and " not " not in line
    ]
    assert not found


def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))

"""Changed files of every kind are read or refused in a sentence: a few of each; many: `tools/bench/mutations.py`."""

from __future__ import annotations

import random
import resource
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("no POSIX limits", allow_module_level=True)

from facestylist.tools.bench import mutations  # noqa: E402 - it needs POSIX
from facestylist.tools.bench.mutate import change_bytes, change_pickle, change_text  # noqa: E402
from facestylist.tools.bench.mutated_files import Parser, parsers  # noqa: E402

FILES = 12


@pytest.fixture(scope="module")
def known() -> dict[str, Parser]:
    return parsers()


def test_every_parser_takes_changed_files_well(known: dict[str, Parser], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name, parser in known.items():
        rng = random.Random(f"tests {name}")  # noqa: S311 - no secret depends on it
        for _ in range(FILES):
            path.write_bytes(mutations.changed(parser, rng))
            assert mutations.judge(parser, path) is None, name


def test_the_judge_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    kept = []

    def fails(error: Exception) -> Parser:
        def read(_: Path) -> None:
            raise error

        return Parser([b"x"], read, (change_bytes,))

    assert mutations.judge(fails(ValueError("The file is empty. Take another.")), path) is None
    for error in (ValueError("oops"), ValueError("Line one.\nTwo."), ValueError("\x1b[31m."), KeyError("format")):
        assert mutations.judge(fails(error), path)
    with pytest.raises(UnicodeDecodeError) as raised:
        b"\xff".decode()
    assert "UnicodeDecodeError" in str(mutations.judge(fails(raised.value), path))

    # The system keeps a process's peak alone, which earlier tests may have set higher than this one can.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spare = (peak << 10) + (64 << 20)
    hungry = Parser([b"x"], lambda _: kept.append(bytearray(spare)), (change_bytes,), growth=1 << 20)
    monkeypatch.setattr(mutations, "SECONDS", 60.0)
    assert "MB taken" in str(mutations.judge(hungry, path))

    monkeypatch.setattr(mutations, "SECONDS", 0.05)

    def endless(_: Path) -> None:
        while True:
            pass

    assert "TooSlow" in str(mutations.judge(Parser([b"x"], endless, (change_bytes,)), path))


def test_changes_change() -> None:
    rng = random.Random(1)  # noqa: S311 - no secret depends on it
    cases = ((change_bytes, b"0123456789" * 9), (change_text, b'{"a": 1}'), (change_pickle, b"\x80\x02K\x01K\x02\x86."))
    for change, data in cases:
        made = [change(data, rng) for _ in range(30)]
        assert sum(one != data for one in made) > 15 and len(set(made)) > 10

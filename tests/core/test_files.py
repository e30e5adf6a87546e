"""Files are there whole or not at all, readable like any other, and a pipe or a device is written as it comes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from facestylist.core.files import write_atomically


def test_the_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    assert write_atomically(path, b"first") == path and path.read_bytes() == b"first"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask

    def half(file: Any) -> None:
        file.write(b"sec")
        raise RuntimeError("the power is gone")

    with pytest.raises(RuntimeError, match="power"):
        write_atomically(path, half)
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"through")
    assert os.read(reader, 100) == b"through" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)

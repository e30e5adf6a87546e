"""What depends on rounding, once more as on a processor without AVX-512, where this one has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

OLDER = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512", reason="this processor has no AVX-512 to do without"
)
def test_numbers_hold_without_avx512(root: Path) -> None:
    code = "import torch; print(torch.backends.cpu.get_cpu_capability(), torch.ops.mkldnn._is_mkldnn_bf16_supported())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | OLDER
    assert python("-c", code, environment=environment, root=root) == "AVX2 False\n"
    python("-m", "pytest", "-m", "numeric", environment=environment, root=root)


def python(*arguments: str, environment: dict[str, str], root: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout

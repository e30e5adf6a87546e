"""What loading a network must not import: torch's compiler takes longer than reading the file."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from facestylist.models.checkpoints import load_encoder, load_generator, load_stylizer
load_generator("embedded"), load_encoder("embedded"), load_stylizer("embedded:student-cartoon")
sys.exit(any(name in sys.modules for name in ("torch._dynamo", "sympy")))
"""


def test_networks_load_without_the_compiler() -> None:
    assert subprocess.run([sys.executable, "-c", CODE], check=False).returncode == 0

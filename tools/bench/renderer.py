"""Measures how many faces a second the renderer draws, as a markdown table.

    python -m facestylist.tools.bench.renderer [--size 128] [--faces 16] [--looks photo,cartoon] [--eager-only]

One thread. Compiling takes a minute or more per look the first time. Next to the wall clock stands what one processor
core would reach were it not shared, from the time the process spent on it.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

import torch

from ...procedural import LOOKS, Renderer, sample_parameters
from ...procedural.parameters import FaceParameters
from ...procedural.renderer import CHUNK

logger = logging.getLogger(__name__)


def pictures_per_second(
    renderer: Renderer, faces: FaceParameters, size: int, look: str, fast: bool
) -> tuple[float, float]:
    """(by the wall clock, by processor time), after one round that compiles and warms up."""
    count = len(faces["yaw"])
    renderer.render(faces, size, look, fast=fast)
    wall, processor = time.perf_counter(), time.process_time()
    renderer.render(faces, size, look, fast=fast)
    return count / (time.perf_counter() - wall), count / (time.process_time() - processor)


def measure(looks: list[str], size: int, count: int, eager_only: bool) -> list[str]:
    """Lines of the table."""
    faces = sample_parameters(count, torch.Generator().manual_seed(0))
    modes = [("eager", Renderer(), False)]
    if not eager_only:
        compiled = Renderer(compiled=True)
        modes += [("compiled", compiled, False), ("compiled, fast", compiled, True)]
    head = "".join(f" {name} | {name}, core |" for name, _, _ in modes)
    lines = [f"| look at {size} px, pictures/s |{head}", "|---|" + "---:|---:|" * len(modes)]
    for look in looks:
        cells = []
        for name, renderer, fast in modes:
            if fast and not LOOKS[look].fused:
                cells.append(" - | - |")
                continue
            wall, core = pictures_per_second(renderer, faces, size, look, fast)
            logger.info("%s %s: %.1f pictures/s", look, name, wall)
            cells.append(f" {wall:.1f} | {core:.1f} |")
        lines.append(f"| {look} |{''.join(cells)}")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    parser.add_argument("--faces", type=int, default=2 * CHUNK, help=f"pictures per round, a multiple of {CHUNK}")
    parser.add_argument("--looks", default=",".join(LOOKS), help="comma-separated")
    parser.add_argument("--eager-only", action="store_true", help="without torch.compile")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    lines = measure(options.looks.split(","), options.size, options.faces, options.eager_only)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

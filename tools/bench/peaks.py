"""The best rates at which this machine convolves and multiplies: what the rows of `bench speed` are a fraction of.

Convolutions are 3x3 with channels last, at the shapes where our networks spend their time. A shape's rate is its
operations by the median of some rounds by the wall clock, after a pass that warms up; the best shape is the peak. It is
measured again after the rows, and the better of both holds: what others do on the machine slows either.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F

CONVOLUTIONS = ((512, 32), (512, 64), (256, 128), (128, 256), (64, 512))
"""Channels and side."""
MATRICES = (1024, 2048)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Peak:
    """The best rate of a kind of work."""

    kind: str
    """convolution or matrix."""
    precision: str
    threads: int
    flops_per_second: float
    shape: str
    again: float | None = None
    """Of the same shape, after the rows."""

    @property
    def best(self) -> float:
        """The better of both measurements."""
        return max(self.flops_per_second, self.again or 0.0)


def measure_peaks(precisions: list[str], rounds: int, quick: bool = False) -> list[Peak]:
    """Every kind and precision, with one thread and with as many as torch uses now."""
    every, peaks = torch.get_num_threads(), []
    for threads in sorted({1, every}):
        with _threads(threads):
            for kind in ("convolution", "matrix"):
                for precision in precisions:
                    rates = {shape: _rate(kind, precision, shape, rounds) for shape in _shapes(kind, quick)}
                    best = max(rates, key=lambda shape: rates[shape])
                    peaks.append(Peak(kind, precision, threads, rates[best], best))
    return peaks


def measure_again(peak: Peak, rounds: int) -> Peak:
    """The peak with another measurement of its shape."""
    with _threads(peak.threads):
        rate = _rate(peak.kind, peak.precision, peak.shape, rounds)
    return Peak(peak.kind, peak.precision, peak.threads, peak.flops_per_second, peak.shape, rate)


def _shapes(kind: str, quick: bool) -> list[str]:
    if kind == "matrix":
        return [f"{n} x {n} x {n}" for n in MATRICES[: 1 if quick else None]]
    return [f"{b} x {c} x {side} x {side}" for b in ((1,) if quick else (1, 4)) for c, side in CONVOLUTIONS]


def _rate(kind: str, precision: str, shape: str, rounds: int) -> float:
    sides, dtype = [int(side) for side in shape.split(" x ")], DTYPES[precision]
    random = torch.Generator().manual_seed(0)
    run: Callable[[], object]
    if kind == "matrix":
        a, b = (torch.randn(sides[0], sides[0], generator=random).to(dtype) for _ in range(2))
        flops, run = 2 * sides[0] ** 3, lambda: a @ b
    else:
        batch, channels, side, _ = sides
        x, weight = (
            torch.randn(shape, generator=random).to(dtype).contiguous(memory_format=torch.channels_last)
            for shape in ((batch, channels, side, side), (channels, channels, 3, 3))
        )
        flops, run = 18 * batch * channels**2 * side**2, lambda: F.conv2d(x, weight, padding=1)
    seconds = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - begun)
    return flops / statistics.median(seconds[1:])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_table(peaks: list[Peak]) -> list[str]:
    """Lines of the table."""
    lines = ["| best rate | threads | GFLOP/s | again, after the rows | shape |", "|---|---:|---:|---:|---|"]
    for peak in peaks:
        again = "" if peak.again is None else f"{peak.again / 1e9:.0f}"
        lines.append(
            f"| {peak.kind} {peak.precision} | {peak.threads} | {peak.flops_per_second / 1e9:.0f} | {again} | "
            f"{peak.shape} |"
        )
    return lines

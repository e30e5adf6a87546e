"""How fast the pack is: each row's seconds, its share of the machine's best rate, and its memory.

    facestylist bench speed [--quick] [--rounds 5] [--only TEXT] [--json] [--fill docs/benchmarks.md]

A row runs once to warm up, then `rounds` times or for `PATIENCE` seconds, whichever ends first, and its seconds are the
median; a row whose first pass already takes longer than that is not repeated. Its share is its operations (`flops`) by
the wall clock, in parts of the best convolution of that precision with as many threads (`peaks`). Memory is the peak
above what the process held before, with networks and inputs in place; of a row that is a process of its own, all of
that process. Everything runs on the processor. Memory is read as Linux gives it; elsewhere there is none.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .peaks import Peak, measure_again, measure_peaks, peak_table

PATIENCE = 1.5
QUICK_FLOPS = 5e11
"""What a row may take in a hurry: five faces of 512 px, three of 1024."""
SHARE = 0.8
"""Of the free memory that a row may take."""
PROCESS = Path("/proc/self")
MEGABYTE = 1e6

Run = Callable[[], object]
"""What is timed."""


@dataclass(frozen=True)
class Measured:
    """What was found of a row."""

    seconds: float | None
    """Of the processor, all threads together."""
    wall_seconds: float
    peak: float | None
    """Bytes."""
    rounds: int
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A row to come."""

    name: str
    measure: Callable[[int], Measured]
    """Given how many rounds."""
    flops: float | None = None
    precision: str = "fp32"
    memory: float = 0.0
    """Bytes it may take, about."""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    seconds: float | None = None
    """Of the processor, all threads together; the median, as all of these."""
    wall_seconds: float | None = None
    flops: float | None = None
    fraction_of_peak: float | None = None
    peak_mb: float | None = None
    threads: int = 0
    rounds: int = 0
    note: str = ""


def timed(prepare: Callable[[], Run]) -> Callable[[int], Measured]:
    """A measurement in this process: of what `prepare` gives, not of `prepare` itself."""

    def measure(rounds: int) -> Measured:
        run = prepare()
        first = _one_pass(run)
        if first.wall_seconds < PATIENCE:
            # It has loaded libraries and compiled kernels.
            first = _one_pass(run)
        # Its memory was new to the process, which costs time, too: what is timed comes after it.
        peak, begun, passes = first.peak, time.perf_counter(), [_clocked(run)]
        while len(passes) < rounds and time.perf_counter() - begun < PATIENCE:
            passes.append(_clocked(run))
        return _median(passes, peak)

    return measure


def timed_process(command: Sequence[str]) -> Callable[[int], Measured]:
    """A measurement of a program from its start to its end; RuntimeError where it fails."""

    def measure(rounds: int) -> Measured:
        passes = [_process_once(command) for _ in range(min(rounds, 3))]
        peaks = [each.peak for each in passes if each.peak is not None]
        return _median(passes, max(peaks, default=None))

    return measure


def _median(passes: Sequence[Measured], peak: float | None) -> Measured:
    seconds = [each.seconds for each in passes if each.seconds is not None]
    wall = statistics.median(each.wall_seconds for each in passes)
    return Measured(statistics.median(seconds) if seconds else None, wall, peak, len(passes))


def _clocked(run: Run) -> Measured:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return Measured(time.process_time() - processor, time.perf_counter() - wall, None, 1)


def _one_pass(run: Run) -> Measured:
    """With its peak memory."""
    before = start_of_peak()
    found = _clocked(run)
    after = memory("VmHWM")
    return dataclasses.replace(found, peak=None if before is None or after is None else max(0.0, after - before))


def start_of_peak() -> float | None:
    """Lets the process's peak memory begin anew: bytes it holds now, None where the system does not say."""
    gc.collect()
    try:
        # What was freed and is still held would be used again unnoticed.
        ctypes.CDLL(None).malloc_trim(0)
        (PROCESS / "clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError, TypeError):
        return None
    return memory("VmRSS")


def memory(field: str, process: Path = PROCESS) -> float | None:
    """Bytes of a field of /proc/PID/status; None where there is none."""
    try:
        lines = (process / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith(f"{field}:")), None)


def _process_once(command: Sequence[str]) -> Measured:
    begun, peak, seconds = time.perf_counter(), None, None
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603
        try:
            if hasattr(os, "wait4"):
                # The system's own record of a child's peak begins with its parent's, so that it is asked while it runs.
                place, ended = Path("/proc") / str(child.pid), 0
                while not ended:
                    peak = memory("VmHWM", place) or peak
                    time.sleep(0.005)
                    ended, status, usage = os.wait4(child.pid, os.WNOHANG)
                child.returncode = os.waitstatus_to_exitcode(status)
                seconds = usage.ru_utime + usage.ru_stime
            else:
                child.wait()
        except BaseException:
            child.kill()
            raise
        wall = time.perf_counter() - begun
        if child.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"exit status {child.returncode}: {said[-1] if said else ''}")
    return Measured(seconds, wall, peak, 1)


def spare_memory() -> float:
    """Bytes that are free, or half of all there are, or 8 GB where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    except (AttributeError, ValueError, OSError):
        return 8e9


def measure_speed(
    cases: Iterable[Case], precisions: Sequence[str], rounds: int, quick: bool, say: Callable[[str], None]
) -> tuple[list[Peak], list[Row]]:
    """The peaks, and a row for each case.

    Rows that are left out (other `precisions`, more memory than is free, too slow for `quick`) and rows that fail are
    there without numbers, and say why.
    """
    say("the machine's best rates")
    peaks = measure_peaks(list(precisions), min(rounds, 3), quick)
    found: list[tuple[Case, Measured | None, str]] = []
    for case in cases:
        measured, note = _attempt(case, precisions, rounds, quick)
        say(f"{case.name}: {f'{measured.wall_seconds:.3f} s' if measured else note}")
        found.append((case, measured, note))
    peaks = [measure_again(peak, min(rounds, 3)) for peak in peaks]
    return peaks, [_row(case, measured, note, peaks) for case, measured, note in found]


def _attempt(case: Case, precisions: Sequence[str], rounds: int, quick: bool) -> tuple[Measured | None, str]:
    if case.precision not in precisions:
        return None, f"no fast {case.precision} here"
    if case.memory > SHARE * spare_memory():
        return None, f"not run: needs about {case.memory / 1e9:.0f} GB"
    if quick and (case.flops or 0.0) > QUICK_FLOPS:
        return None, "not run by --quick"
    try:
        measured = case.measure(rounds)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        return None, f"failed: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return measured, measured.note or case.note


def _row(case: Case, measured: Measured | None, note: str, peaks: Sequence[Peak]) -> Row:
    threads = torch.get_num_threads()
    if measured is None:
        return Row(case.name, flops=case.flops, threads=threads, note=note)
    rate = _rate_of(case, peaks)
    fraction = case.flops / measured.wall_seconds / rate if case.flops and rate else None
    return Row(
        case.name,
        measured.seconds,
        measured.wall_seconds,
        case.flops,
        fraction,
        None if measured.peak is None else measured.peak / MEGABYTE,
        threads,
        measured.rounds,
        note,
    )


def _rate_of(case: Case, peaks: Sequence[Peak]) -> float | None:
    """The best convolution of this precision with as many threads as now."""
    kind = ("convolution", case.precision, torch.get_num_threads())
    return next((peak.best for peak in peaks if (peak.kind, peak.precision, peak.threads) == kind), None)


def as_record(peaks: Sequence[Peak], rows: Sequence[Row]) -> dict[str, Any]:
    """What `--json` prints."""
    return {"peaks": [dataclasses.asdict(peak) for peak in peaks], "rows": [dataclasses.asdict(row) for row in rows]}


def speed_table(peaks: Sequence[Peak], rows: Sequence[Row]) -> list[str]:
    """Lines of both tables."""
    lines = [*peak_table(list(peaks)), ""]
    lines += [
        "| what | processor s | wall s | GFLOP | of the peak | peak MB | note |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        flops = None if row.flops is None else row.flops / 1e9
        numbers = (
            _digits(row.seconds, 3),
            _digits(row.wall_seconds, 3),
            _digits(flops, 1),
            "" if row.fraction_of_peak is None else f"{row.fraction_of_peak:.0%}",
            _digits(row.peak_mb, 0),
        )
        lines.append(f"| {row.name} | {' | '.join(numbers)} | {row.note} |")
    return lines


def _digits(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"

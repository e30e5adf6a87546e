"""`facestylist bench speed`: operations are those that PyTorch counts; rows say what they cost, or why they do not."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path

import pytest
import torch

from facestylist.cli.main import main
from facestylist.models import ops
from facestylist.models.checkpoints import save_generator
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator
from facestylist.tools.bench import flops, loading, peaks, speed, speed_networks

LINUX = pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="memory is read as Linux has it")
FACES = 2


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "CONVOLUTIONS", ((8, 16), (16, 8)))
    monkeypatch.setattr(peaks, "MATRICES", (32,))
    # Where weights are modulated the demodulation is no matrix product, and PyTorch does not count it.
    monkeypatch.setattr(ops, "PIXELS_PER_WEIGHT", math.inf)


def small(make: type[torch.nn.Module], config: object) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make(config).train()  # type: ignore[call-arg]


def generator_config(architecture: str, c_dim: int = 0) -> GeneratorConfig:
    return GeneratorConfig(32, (24, 24, 16, 8), 12, 20, 2, c_dim=c_dim, architecture=architecture)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_generator_has_the_operations_that_pytorch_counts(architecture: str, c_dim: int) -> None:
    config = generator_config(architecture, c_dim)
    network = small(Generator, config)
    given = (torch.randn(FACES, 12), *([torch.randn(FACES, 3)] if c_dim else []))
    with torch.no_grad():
        assert flops.counted_flops(lambda: network(*given)) == FACES * flops.generator_flops(config)


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_discriminator_has_the_operations_that_pytorch_counts(c_dim: int) -> None:
    config = DiscriminatorConfig.make(32, 256, 24, c_dim=c_dim)
    network = small(Discriminator, config)
    given = (torch.randn(FACES, 3, 32, 32), *([torch.randn(FACES, 3)] if c_dim else []))
    with torch.no_grad():
        counted = flops.counted_flops(lambda: network(*given))
    # The condition is mapped once for each face.
    assert counted == FACES * flops.discriminator_flops(config)


def test_a_training_pass_is_three_passes_but_for_the_gradient_of_what_is_given() -> None:
    config = generator_config("skip")
    network = small(Generator, config)
    z = torch.randn(FACES, 12)

    def run() -> None:
        torch.autograd.grad(network(z).sum(), list(network.parameters()), allow_unused=True)

    of_z = 2 * config.z_dim * config.w_dim
    assert flops.counted_flops(run) == FACES * (flops.TRAINED * flops.generator_flops(config) - of_z)


def test_the_rows_of_generators() -> None:
    names = [case.name for case in speed_networks.generator_cases()]
    for size in (64, 128, 256, 512, 1024):
        for precision in ("fp32", "bf16"):
            for batch in (1, 4, 8):
                assert f"generator {size} {precision} batch {batch}" in names
    assert "generator 128 shipped fp32 batch 1" in names
    ours, trained = (list(speed_networks.generator_cases((64,), backward)) for backward in (False, True))
    assert [case.name + " forward and backward" for case in ours] == [case.name for case in trained]
    assert all(3 * a.flops == b.flops for a, b in zip(ours, trained, strict=True))


def test_the_command_in_a_hurry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "speed", "--quick", "--only", "shipped fp32 batch 1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert row["name"] == "generator 128 shipped fp32 batch 1"
    assert row["flops"] > 1e9 and row["seconds"] > 0 and row["wall_seconds"] > 0 and row["threads"] >= 1
    (best,) = (
        max(peak["flops_per_second"], peak["again"])
        for peak in found["peaks"]
        if (peak["kind"], peak["precision"], peak["threads"]) == ("convolution", "fp32", row["threads"])
    )
    assert row["fraction_of_peak"] == pytest.approx(row["flops"] / row["wall_seconds"] / best)
    assert main(["bench", "speed", "--quick", "--only", "no such row"]) == 2


def test_rows_without_numbers_say_why() -> None:
    def fails(rounds: int) -> speed.Measured:
        raise RuntimeError("too bad\nand more")

    cases = [
        speed.Case("half", fails, precision="bf16"),
        speed.Case("huge", fails, memory=1e18),
        speed.Case("long", fails, 1e24),
        speed.Case("broken", fails),
        speed.Case("fine", lambda rounds: speed.Measured(1.0, 0.5, 2e6, rounds), 1e6),
    ]
    found, rows = speed.measure_speed(cases, ["fp32"], 2, True, lambda text: None)
    assert [row.note for row in rows[:2]] == ["no fast bf16 here", "not run: needs about 1000000000 GB"]
    assert [row.note for row in rows[2:]] == ["not run by --quick", "failed: too bad", ""]
    assert all(row.seconds is None for row in rows[:4])
    assert (rows[4].seconds, rows[4].wall_seconds, rows[4].peak_mb, rows[4].rounds) == (1.0, 0.5, 2.0, 2)
    line = speed.speed_table(found, rows)[-1]
    assert line.startswith("| fine | 1.000 | 0.500 | 0.0 | ") and line.endswith(" | 2 |  |")


@LINUX
def test_memory_is_what_a_row_takes_above_what_was_there() -> None:
    def prepare() -> speed.Run:
        torch.zeros(40_000_000).sum()  # gone before the row
        return lambda: torch.zeros(20_000_000).sum()

    found = speed.timed(prepare)(3)
    assert found.rounds == 3 and found.peak is not None
    assert 80e6 * 0.95 < found.peak < 120e6


def test_a_long_row_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "PATIENCE", 0.01)
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        time.sleep(0.02)

    assert speed.timed(lambda: run)(5).rounds == 1 and len(calls) == 2


@LINUX
def test_a_process_is_measured_from_start_to_end() -> None:
    code = "import time; held = bytearray(50_000_000); time.sleep(0.2); sum(range(100_000))"
    found = speed.timed_process([sys.executable, "-c", code])(1)
    assert found.wall_seconds >= 0.2 and found.seconds is not None and found.seconds > 0
    # Not the peak of this process, which is many times that.
    assert found.peak is not None and 50e6 < found.peak < 150e6
    with pytest.raises(RuntimeError, match="exit status 3: bad"):
        speed.timed_process([sys.executable, "-c", "import sys; print('bad', file=sys.stderr); sys.exit(3)"])(1)


def test_what_loading_takes(tmp_path: Path) -> None:
    generator = small(Generator, generator_config("skip"))
    assert isinstance(generator, Generator)
    save_generator(FaceGenerator(generator, None), tmp_path / "g.safetensors")
    found = loading.load_once(tmp_path / "g.safetensors")
    assert found["seconds"] is not None and found["wall_seconds"] is not None and found["seconds"] >= 0
    assert 0 < found["wall_seconds"] < 60

"""`make assets` in miniature: it goes through to loadable files, resumes exactly, and learns."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.models.checkpoints import inspect, load_encoder, load_generator
from facestylist.models.generator import Generator
from facestylist.models.ops import upsample
from facestylist.procedural import LOOKS, Z_DIM, render
from facestylist.tools.bench import rendered_card
from facestylist.tools.embedded import generator as generator_module
from facestylist.tools.embedded import styles
from facestylist.tools.embedded.config import EmbeddedConfig
from facestylist.tools.embedded.dataset import HELD_OUT_SEED, FaceData, load_shards
from facestylist.tools.embedded.generator import MappingTask, PairedTask, ParameterMapping, grow
from facestylist.tools.embedded.polish import PolishTask, _interleave, _separate
from facestylist.tools.embedded.run import train_embedded
from facestylist.training.data.augment import SharedAugmentation
from facestylist.training.kit.step import Step
from facestylist.training.losses.distances import measure

CONFIG = replace(EmbeddedConfig.quick(), style_images=4)
STYLE = "cartoon"
STEPS = {
    "start": CONFIG.start_steps,
    "mapping": CONFIG.mapping_steps,
    "grow": CONFIG.grow_steps,
    "full": CONFIG.full_steps,
    "polish": CONFIG.discriminator_steps + CONFIG.polish_steps,
    "codes": CONFIG.code_steps,
    "encoder": CONFIG.encoder_steps,
}


@dataclass(frozen=True)
class Finished:
    """One undisturbed run."""

    work: Path
    assets: Path
    results: dict[str, Any]
    steps: int

    def weights(self) -> dict[str, Tensor]:
        return weights_in(self.assets)


def weights_in(folder: Path) -> dict[str, Tensor]:
    """Every tensor of every file, by file and name."""
    return {f"{path.name}:{k}": v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


@pytest.fixture(scope="module", autouse=True)
def one_style_and_one_thread() -> Iterator[None]:
    """All looks cost a test more than they tell; a fixed thread count is what determinism is promised for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(styles, "LOOKS", {name: LOOKS[name] for name in ("photo", STYLE)})
        # A quarter of the samples per pixel: nothing here looks at edges.
        patch.setattr(styles, "render", partial(render, supersample=1))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("embedded")
    before = torch.get_rng_state()
    steps: list[int] = []
    callbacks = Callbacks(on_progress=lambda step, total, losses: steps.append(step))
    results = train_embedded(CONFIG, callbacks, folder / "work", folder / "assets")
    assert torch.equal(torch.get_rng_state(), before), "the global random state was changed"
    return Finished(folder / "work", folder / "assets", results, len(steps))


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Callable[..., Path]:
    """A work folder with the rendered faces of the finished run, and with what else is named."""

    def copy(*names: str) -> Path:
        work = tmp_path / "work"
        shutil.copytree(finished.work / "data", work / "data")
        for name in names:
            shutil.copy(finished.work / name, work / name)
        return work

    return copy


@pytest.fixture(scope="module")
def faces(finished: Finished) -> FaceData:
    return load_shards(finished.work / "data", 32, [1], render_size=CONFIG.resolution)


def test_a_run_ends_with_files_that_load(finished: Finished) -> None:
    names = {path.name for path in finished.assets.iterdir()}
    assert names == {"generator.safetensors", "encoder.safetensors", f"style-{STYLE}.safetensors"}
    source = load_generator(finished.assets / "generator.safetensors")
    assert source.discriminator is not None and source.resolution == CONFIG.resolution and source.style == "photo"
    assert "no photographs" in source.provenance["licence"]

    style = load_generator(finished.assets / f"style-{STYLE}.safetensors")
    assert style.discriminator is None and style.style == STYLE
    assert style.w_space == source.w_space, "a face found in the source could not be drawn in the style"

    encoder = load_encoder(finished.assets / "encoder.safetensors")
    assert (encoder.num_ws, encoder.w_dim) == (source.num_ws, source.w_dim)
    truth = load_shards(finished.work / "data", 64, [HELD_OUT_SEED], render_size=64).images[:2].float() / 127.5 - 1
    with torch.no_grad():
        drawn = style.generator.synthesis(encoder.network(truth))
    assert drawn.shape == (2, 3, 64, 64) and bool(drawn.isfinite().all())


def test_every_stage_says_how_long_it_took_and_what_it_reached(finished: Finished) -> None:
    stages = dict(finished.results)
    assert stages.pop("render")["faces"] == 8 * CONFIG.batch
    assert {name: row["steps"] for name, row in stages.items()} == STEPS
    for name, row in stages.items():
        assert row["minutes"] >= 0
        assert ("psnr" in row) == (name != "mapping") and ("w_error" in row) == (name == "mapping")


def test_what_is_done_is_not_done_again(finished: Finished) -> None:
    style = finished.assets / f"style-{STYLE}.safetensors"
    before, written = finished.weights(), style.stat().st_mtime_ns
    steps: list[int] = []
    train_embedded(CONFIG, Callbacks(on_progress=lambda step, *_: steps.append(step)), finished.work, finished.assets)
    assert steps == [] and style.stat().st_mtime_ns == written
    after = finished.weights()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_run_stopped_again_and_again_ends_as_one_that_was_not(
    finished: Finished, copied: Callable[..., Path], tmp_path: Path
) -> None:
    """Alternately asked to stop and killed by an exception from a callback, in the middle of stages and between."""
    work, assets = copied(), tmp_path / "assets"
    steps, sessions = 0, 0

    class Killed(Exception):
        pass

    while True:
        sessions += 1
        budget = 3 + sessions % 2
        done: list[int] = []

        def progress(step: int, total: int, losses: dict[str, float], done: list[int] = done) -> None:
            done.append(step)

        def stop(done: list[int] = done, budget: int = budget, sessions: int = sessions) -> bool:
            if len(done) >= budget and sessions % 3 == 0:
                raise Killed
            return len(done) >= budget

        try:
            train_embedded(CONFIG, Callbacks(on_progress=progress, should_stop=stop), work, assets)
            steps += len(done)
            break
        except (KeyboardInterrupt, Killed):
            steps += len(done)
            assert len(done) == budget
        assert sessions < 20
    assert sessions > 4 and steps == finished.steps, "no step was lost or done twice"
    expected, found = finished.weights(), weights_in(assets)
    assert expected.keys() == found.keys()
    differing = [name for name, tensor in expected.items() if not torch.equal(found[name], tensor)]
    assert not differing


def test_a_stage_starts_the_same_whether_the_one_before_ran_now_or_before(
    finished: Finished, copied: Callable[..., Path], tmp_path: Path
) -> None:
    """What a stage draws initially must not depend on what this process drew before it."""
    work = copied("start.pt", "mapping.pt", "grow.pt", "full.pt")

    def stop_at_the_encoder() -> bool:
        return (work / "polish.pt").exists()

    with torch.random.fork_rng(devices=[]), pytest.raises(KeyboardInterrupt):
        torch.rand(7)
        train_embedded(CONFIG, Callbacks(should_stop=stop_at_the_encoder), work, tmp_path / "assets")
    ours, theirs = (torch.load(folder / "polish.pt", weights_only=True) for folder in (work, finished.work))
    for network in ("generator", "discriminator"):
        assert all(torch.equal(ours[network][name], tensor) for name, tensor in theirs[network].items())


def test_a_style_is_made_anew_when_what_made_it_changes(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_generator(finished.assets / "generator.safetensors")
    path = finished.assets / f"style-{STYLE}.safetensors"
    made_by = styles.recipe(source, STYLE, CONFIG)
    assert inspect(path).metadata["recipe"] == made_by and styles.is_current(path, made_by)
    assert not styles.is_current(finished.assets / "style-none.safetensors", made_by)
    assert styles.recipe(source, STYLE, replace(CONFIG, style_images=5)) != made_by
    other = source.replace(generator=Generator(source.generator.config))
    assert styles.recipe(other, STYLE, CONFIG) != made_by
    monkeypatch.setattr(styles, "STYLE_SETTINGS", {STYLE: {"keep_shape": 0.5}})
    assert styles.style_settings(STYLE, CONFIG).keep_shape == 0.5
    assert styles.recipe(source, STYLE, CONFIG) != made_by


def supervised(faces: FaceData, seed: int, steps: int) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after some steps of the supervised start, and the pixel loss of each."""
    config = replace(CONFIG, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, mapping = Generator(config.generator(32)), ParameterMapping(config.w_dim)
    task = PairedTask(generator, mapping, faces, config, lr=8e-3)
    losses = [task.step(Step(step, steps))["pixel"] for step in range(1, steps + 1)]
    return {k: v.clone() for k, v in task.average.state_dict().items()}, losses


@pytest.mark.usefixtures("global_rng_untouched")
def test_fifty_supervised_steps_are_the_same_by_seed_and_learn(faces: FaceData) -> None:
    weights, losses = supervised(faces, seed=0, steps=50)
    again, _ = supervised(faces, seed=0, steps=50)
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())
    other, _ = supervised(faces, seed=1, steps=1)
    assert not torch.equal(other["synthesis.blocks.0.const"], weights["synthesis.blocks.0.const"])
    first, last = sum(losses[:8]) / 8, sum(losses[-8:]) / 8
    assert last < 0.75 * first, f"the pixel loss went from {first:.3f} to {last:.3f} only"


def test_growing_keeps_the_picture(faces: FaceData) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        small = Generator(CONFIG.generator(32)).eval()
        for convolution in small.synthesis.convolutions():
            torch.nn.init.constant_(convolution.noise_strength, 0.3)
        large = grow(small, CONFIG).eval()
    assert (small.num_ws, large.num_ws) == (8, 10)
    w_plus = torch.randn(2, 10, CONFIG.w_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for noise in ("const", "none"):
            expected = upsample(small.synthesis(w_plus[:, :8], noise=noise))
            assert torch.equal(large.synthesis(w_plus, noise=noise), expected)
    z = torch.randn(3, Z_DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(large.mapping(z), small.mapping(z))


def test_only_the_new_block_is_trained_after_growing(faces: FaceData) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        generator, mapping = Generator(CONFIG.generator(32)), ParameterMapping(CONFIG.w_dim)
    before = {name: p.detach().clone() for name, p in generator.synthesis.named_parameters()}
    w_before = [p.detach().clone() for p in mapping.parameters()]
    task = PairedTask(generator, mapping, faces, CONFIG, 8e-3, train_mapping=False, last_block_only=True)
    for step in (1, 2):
        task.step(Step(step, 4))
    last = f"blocks.{len(generator.synthesis.blocks) - 1}."
    for name, parameter in generator.synthesis.named_parameters():
        assert torch.equal(parameter, before[name]) != name.startswith(last), name
    assert all(torch.equal(a, b) for a, b in zip(mapping.parameters(), w_before, strict=True))


def test_the_shipped_mapping_learns_the_one_that_sees_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_module, "MAPPING_LR", 0.03)  # the true rate is for thousands of steps
    config = replace(CONFIG, w_dim=16, mapping_steps=60)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mapping, target = Generator(config.generator(32)).mapping, ParameterMapping(16).requires_grad_(False)
    task = MappingTask(mapping, target, config, batch=256)
    errors = [task.step(Step(step, 60))["w_error"] for step in range(1, 61)]
    assert errors[-1] < 0.8 * errors[0]


def test_batches_of_true_and_made_pictures_share_no_statistics_group() -> None:
    real, fake = torch.zeros(8, 1), torch.ones(8, 1)
    both = _interleave(real + torch.arange(8.0)[:, None] / 10, fake, group=4)
    # The discriminator's groups of four are the columns of [4, N / 4].
    groups = (both >= 1).reshape(4, -1).float().mean(0)
    assert set(groups.tolist()) == {0.0, 1.0}
    again = _separate(both, 4)
    assert torch.equal(again[0], real + torch.arange(8.0)[:, None] / 10) and torch.equal(again[1], fake)


def test_true_and_made_pictures_are_augmented_alike() -> None:
    shared = SharedAugmentation(3, 32, torch.Generator().manual_seed(0))
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shared(pictures), shared(pictures.clone()))
    assert not torch.equal(shared(pictures)[0], pictures[0])


def test_polish_leaves_w_alone(finished: Finished, faces: FaceData) -> None:
    mapping = torch.load(finished.work / "mapping.pt", weights_only=True)
    polished = torch.load(finished.work / "polish.pt", weights_only=True)["generator"]
    full = torch.load(finished.work / "full.pt", weights_only=True)
    assert all(torch.equal(polished[f"mapping.{name}"], tensor) for name, tensor in mapping.items())
    assert any(not torch.equal(polished[f"synthesis.{name}"], tensor) for name, tensor in full.items())
    assert PolishTask.terms[0] == "discriminator"


def test_measures_know_perfection_and_blur() -> None:
    truth = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    perfect = measure(truth, truth)
    assert perfect["l1"] == 0 and perfect["psnr"] == pytest.approx(100) and perfect["gradient_energy"] == 1
    blurred = torch.nn.functional.avg_pool2d(truth, 3, 1, 1)
    soft = measure(blurred, truth)
    assert soft["gradient_energy"] < 0.3 and soft["psnr"] < 20 and soft["l1"] > 0.1
    # L1 is on the 0..1 scale: everything off by the whole range is an error of 1.
    assert measure(-truth.sign(), truth.sign())["l1"] == 1


def test_the_training_card_is_filled_from_what_the_training_wrote(finished: Finished, tmp_path: Path) -> None:
    card = finished.assets / "README.md"
    card.write_text("before\n<!-- numbers: begin -->\nold\n<!-- numbers: end -->\nafter\n")
    arguments = ["--results", str(finished.work / "results.json"), "--assets", str(finished.assets)]
    rendered_card.main([*arguments, "--docs", str(tmp_path), "--faces", "4"])
    rendered_card.main([*arguments, "--docs", str(tmp_path), "--faces", "4"])
    text = card.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert f"| {finished.results['encoder']['psnr']:.2f} |" in rows["encoder, pictures"]
    assert f"| {finished.results['mapping']['w_error']:.3f} |" in rows["mapping"]
    megabytes = (finished.assets / "generator.safetensors").stat().st_size / 1e6
    assert f"| {megabytes:.2f} |" in rows["`generator.safetensors`"]
    assert (tmp_path / "pictures" / "rendered.jpg").stat().st_size > 10_000

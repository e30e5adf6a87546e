"""Stage 1 on tiny random networks: what must hold of it, whatever the pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_networks import Darkness, make_source, make_styles
from tolerances import assert_close, rounding
from torch import Tensor

from facestylist.core.callbacks import Callbacks
from facestylist.core.settings import from_mapping
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.types import FaceGenerator
from facestylist.training.data.inputs import FEW, too_few
from facestylist.training.finetune.run import finetune
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.finetune.task import FinetuneTask
from facestylist.training.kit.freezing import frozen_discriminator_blocks, shallow_synthesis
from facestylist.training.kit.kept import CannotResume
from facestylist.training.kit.loop import TrainingDiverged
from facestylist.training.kit.optimiser import lazy_adam
from facestylist.training.kit.precision import use_bf16
from facestylist.training.kit.step import Step, Update

Weights = Callable[[FaceGenerator], dict[str, Tensor]]
QUICK = {
    "steps": 8,
    "batch_size": 4,
    "preview_interval": 0,
    "snapshot_interval": 3,
    "freeze_d_blocks": 1,
    "r1_interval": 2,
    "path_length_weight": 1.0,
    "path_length_interval": 3,
    "precision": "fp32",
    "learning_rate": 2e-3,
    "match_texture": 1.0,
    "score_interval": 0,
}


def quick(**changes: object) -> FinetuneConfig:
    return from_mapping(FinetuneConfig, QUICK | changes)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_few_different_pictures_are_told() -> None:
    several = make_styles(FEW, 32)
    assert too_few(several) == ""
    assert too_few(several[:-1]).startswith("Only 9 different style pictures: what is shown")
    same = several[:1].repeat(20, 1, 1, 1) + torch.linspace(0, 0.01, 20)[:, None, None, None]
    assert too_few(same).startswith("Only 1 different style picture (20 were given, the others show the same): what")


class Interrupt(Exception):
    """Stands for ComfyUI's InterruptProcessingException."""


def test_result_is_a_style_of_the_same_w_space_and_the_source_is_untouched(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, global_rng_untouched: None
) -> None:
    before = weights_of(source)
    result = finetune(source, styles, quick(style_name="red"))
    after = weights_of(result.generator)
    assert equal(weights_of(source), before)
    assert result.generator.style == "red"
    assert result.generator.w_space == source.w_space
    for name, value in after.items():
        if name.startswith("g.mapping") or name.endswith(("noise_const", "noise_strength", "mean_latent")):
            assert torch.equal(value, before[name]), f"{name} must not move"
    assert not torch.equal(after["g.synthesis.blocks.0.const"], before["g.synthesis.blocks.0.const"])
    provenance = result.generator.provenance
    assert provenance["file"] == "random" and provenance["base_w_space"] == source.w_space
    assert json.loads(provenance["settings"])["steps"] == 8
    assert [row["step"] for row in result.history] == [float(i) for i in range(1, 9)]
    assert {"generator", "discriminator", "feature", "self", "r1"} <= set(result.history[1])
    assert "r1" not in result.history[0] and "path_length" in result.history[2]
    assert not any(p.requires_grad for p in result.generator.generator.parameters())


def test_freezed_keeps_the_layers_nearest_the_picture(
    source: FaceGenerator, styles: Tensor, weights_of: Weights
) -> None:
    before, after = weights_of(source), weights_of(finetune(source, styles, quick(freeze_d_blocks=2)).generator)
    moved = {name for name in before if name.startswith("d.") and not torch.equal(before[name], after[name])}
    assert moved and not any(name.startswith(("d.from_rgb", "d.blocks.0", "d.blocks.1")) for name in moved)
    assert any(name.startswith("d.blocks.2") for name in moved)


def test_freezed_by_itself_keeps_what_is_finer_than_128_pixels(source: FaceGenerator) -> None:
    assert source.discriminator is not None
    assert frozen_discriminator_blocks(source.discriminator, -1) == []
    with torch.random.fork_rng(devices=[]):
        fine = Discriminator(DiscriminatorConfig.make(512, channel_base=512, channel_max=4))
    assert frozen_discriminator_blocks(fine, -1) == [fine.from_rgb, fine.blocks[0], fine.blocks[1]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_seed_same_weights_and_another_seed_others(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, precision: str
) -> None:
    config = {"precision": precision, "steps": 4}
    first, second = (weights_of(finetune(source, styles, quick(**config)).generator) for _ in range(2))
    assert equal(first, second)
    assert not equal(first, weights_of(finetune(source, styles, quick(**config, seed=1)).generator))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_first_step_sees_no_semantic_distance(source: FaceGenerator, styles: Tensor, precision: str) -> None:
    task = FinetuneTask(source, styles, quick(precision=precision))
    first, second = task.step(Step(1, 4)), task.step(Step(2, 4))
    assert first["feature"] == 0.0 and first["self"] == 0.0
    assert second["feature"] > 0.0 and second["self"] > 0.0


def test_one_pass_gradients_equal_the_textbook_ones(source: FaceGenerator, styles: Tensor) -> None:
    """The shared fake batch and its single pass through D give what two separate losses would."""
    terms_off = {"semantic_weight": 0.0, "match_texture": 0.0, "r1_gamma": 0.0, "path_length_weight": 0.0}
    config = quick(augment="off", freeze_d_blocks=0, **terms_off)
    task, twin, before = (FinetuneTask(source, styles, config) for _ in range(3))
    task.step(Step(1, 4))
    w_plus = twin.batches.latents(config.batch_size, twin.batches.random, mix=True)
    reals = twin.batches.next_styles(config.batch_size)
    fakes = twin.target.synthesis(w_plus)
    g_loss = torch.nn.functional.softplus(-twin.discriminator(fakes)).mean()
    d_loss = torch.nn.functional.softplus(twin.discriminator(fakes.detach())).mean()
    d_loss = d_loss + torch.nn.functional.softplus(-twin.discriminator(reals)).mean()
    for parameters, loss, optimiser in (
        (twin.generator_parameters, g_loss, twin.generator_optimiser),
        (twin.discriminator_parameters, d_loss, twin.discriminator_optimiser),
    ):
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            # Fused Adam on the CPU walks both by position in memory, so they have to be laid out alike.
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        optimiser.step()
    for ours, textbook, start in (
        (task.generator_parameters, twin.generator_parameters, before.generator_parameters),
        (task.discriminator_parameters, twin.discriminator_parameters, before.discriminator_parameters),
    ):
        apart = max((a - b).abs().max().item() for a, b in zip(ours, textbook, strict=True))
        assert apart < 0.01 * max((a - b).abs().max().item() for a, b in zip(ours, start, strict=True))


def test_semantic_constraint_holds_the_features(source: FaceGenerator, styles: Tensor) -> None:
    config = {"steps": 40, "path_length_weight": 0.0, "seed": 2}
    free = finetune(source, styles, quick(semantic_weight=1e-6, **config)).history
    held = finetune(source, styles, quick(semantic_weight=10.0, **config)).history
    for term in ("feature", "self"):
        ends = [sum(row[term] for row in history[-10:]) for history in (free, held)]
        assert ends[1] < 0.6 * ends[0], term


def test_style_is_approached(source: FaceGenerator, styles: Tensor) -> None:
    result = finetune(source, styles, quick(steps=80, learning_rate=4e-3, path_length_weight=0.0, semantic_weight=0.0))
    z = torch.randn(16, 16, generator=torch.Generator().manual_seed(9))
    colours = [g.generator(z).clamp(-1, 1).mean((0, 2, 3)) for g in (source, result.generator)]
    wanted = styles.mean((0, 2, 3))
    assert (colours[1] - wanted).norm() < 0.5 * (colours[0] - wanted).norm()


@pytest.mark.parametrize("interrupted_at", [2, 5])
def test_interrupt_propagates_saves_and_resumes_bit_for_bit(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, tmp_path: Path, interrupted_at: int
) -> None:
    def on_progress(step: int, total: int, losses: dict[str, float]) -> None:
        if step == interrupted_at:
            raise Interrupt

    whole = finetune(source, styles, quick())
    with pytest.raises(Interrupt):
        finetune(source, styles, quick(), Callbacks(on_progress=on_progress), tmp_path)
    resumed = finetune(source, styles, quick(), run_dir=tmp_path, resume=True)
    assert equal(weights_of(whole.generator), weights_of(resumed.generator))
    assert whole.history == resumed.history


def test_resuming_with_other_pictures_or_settings_is_refused(
    source: FaceGenerator, styles: Tensor, tmp_path: Path
) -> None:
    finetune(source, styles, quick(steps=2), run_dir=tmp_path)
    with pytest.raises(CannotResume, match="style_pictures"):
        finetune(source, styles.flip(0), quick(steps=2), run_dir=tmp_path, resume=True)
    with pytest.raises(CannotResume, match="learning_rate"):
        finetune(source, styles, quick(steps=2, learning_rate=1e-4), run_dir=tmp_path, resume=True)
    finetune(source, styles, quick(steps=2, style_name="renamed"), run_dir=tmp_path, resume=True)


def test_works_in_inference_mode_with_weights_loaded_there(styles: Tensor) -> None:
    with torch.inference_mode():
        source = make_source()
        assert next(source.generator.parameters()).is_inference()
        result = finetune(source, styles.clone(), quick(steps=3))
        parameter = next(result.generator.generator.parameters())
        assert not parameter.is_inference() and torch.is_inference_mode_enabled()
    with torch.no_grad():
        finetune(result.generator, styles, quick(steps=1))


def test_previews_show_source_now_average_and_nearest_style(source: FaceGenerator, styles: Tensor) -> None:
    pictures: list[Tensor] = []
    callbacks = Callbacks(on_preview=lambda step, picture: pictures.append(picture))
    with_previews = finetune(source, styles, quick(preview_interval=4), callbacks)
    assert [tuple(p.shape) for p in pictures] == [(3, 4 * 32, 5 * 32)] * 2
    first, last = pictures[0], pictures[1]
    assert last.min() >= 0 and last.max() <= 1
    assert torch.equal(first[:, :32], last[:, :32]) and not torch.equal(first[:, 32:96], last[:, 32:96])
    nearest = last[:, 96:, :32] * 2 - 1
    assert (styles - nearest).abs().amax((1, 2, 3)).min() < rounding(4)
    assert with_previews.history == finetune(source, styles, quick()).history, "previews change nothing"


def test_non_finite_steps_change_nothing_and_name_their_term(
    source: FaceGenerator, styles: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.training.finetune import step as module

    task = FinetuneTask(source, styles, quick())
    task.step(Step(1, 4))
    before = {k: v.clone() for k, v in task.target.state_dict().items()}
    original = module.discriminator_loss
    monkeypatch.setattr(module, "discriminator_loss", lambda *args: original(*args) * float("nan"))
    with pytest.raises(ArithmeticError, match="`discriminator`"):
        task.step(Step(2, 4))
    assert equal(before, dict(task.target.state_dict()))
    with pytest.raises(TrainingDiverged, match="`discriminator` was not a finite number in 3 steps"):
        finetune(source, styles, quick())


@pytest.mark.parametrize("term", ["r1", "generator"])
def test_every_term_can_be_named(
    source: FaceGenerator, styles: Tensor, monkeypatch: pytest.MonkeyPatch, term: str
) -> None:
    from facestylist.training.finetune import step as module

    task = FinetuneTask(source, styles, quick(r1_interval=1))
    name = {"r1": "r1_penalty", "generator": "generator_loss"}[term]
    original = getattr(module, name)

    monkeypatch.setattr(module, name, lambda *args: original(*args) * float("inf"))
    with pytest.raises(ArithmeticError, match=f"`{term}`"):
        task.step(Step(1, 4))


def test_few_pictures_also_keep_relations(source: FaceGenerator, styles: Tensor) -> None:
    assert "relation" in FinetuneTask(source, styles[:10], quick()).step(Step(1, 4))
    assert "relation" not in FinetuneTask(source, styles, quick()).step(Step(1, 4))


def test_one_picture_is_enough_for_a_batch(source: FaceGenerator, styles: Tensor) -> None:
    assert len(finetune(source, styles[:1], quick(steps=2)).history) == 2


def test_ada_raises_the_probability_when_it_overfits(source: FaceGenerator, styles: Tensor) -> None:
    history = finetune(source, styles, quick(steps=20, ada_target=0.0, ada_ramp=1.0, semantic_weight=0.0)).history
    fixed = finetune(source, styles, quick(steps=3, augment="fixed", augment_probability=0.4)).history
    assert history[0]["augment_probability"] == 0.2
    assert history[-1]["augment_probability"] != 0.2
    assert [row["augment_probability"] for row in fixed] == [0.4] * 3


def test_shallow_source_has_the_same_features(source: FaceGenerator) -> None:
    head = shallow_synthesis(source.generator.synthesis, 16)
    w_plus = source.generator.broadcast(source.generator.mapping(torch.randn(2, 16, generator=torch.Generator())))
    _, whole = source.generator.synthesis(w_plus, return_features=True)
    _, part = head(w_plus[:, : head.num_ws], return_features=True)
    assert sorted(part) == [4, 8, 16] and all(torch.equal(part[r], whole[r]) for r in part)


def test_pictures_of_another_size_are_resized(source: FaceGenerator) -> None:
    assert len(finetune(source, make_styles(4, 48), quick(steps=1)).history) == 1


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [
        (torch.zeros(0, 3, 32, 32), "There are no style pictures"),
        (torch.zeros(2, 3, 32, 24), "square RGB pictures"),
        (torch.zeros(2, 1, 32, 32), "square RGB pictures"),
        (torch.full((2, 3, 32, 32), float("nan")), "not finite numbers"),
    ],
)
def test_unusable_pictures_are_refused(source: FaceGenerator, pictures: Tensor, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        finetune(source, pictures, quick())


def test_sources_that_cannot_be_finetuned_are_refused(source: FaceGenerator, styles: Tensor) -> None:
    with pytest.raises(ValueError, match="comes without its discriminator.*Load a checkpoint that holds both"):
        finetune(source.replace(discriminator=None), styles, quick())
    with pytest.raises(ValueError, match="makes pictures of 32 px but its discriminator reads 16 px"):
        finetune(source.replace(discriminator=make_source(16).discriminator), styles, quick())


def test_precision_choice() -> None:
    cpu = torch.device("cpu")
    assert use_bf16("bf16", cpu) and not use_bf16("fp32", cpu)
    # A processor that can may still be told not to, by ONEDNN_MAX_CPU_ISA.
    native = torch.cpu._is_avx512_bf16_supported() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert use_bf16("auto", cpu) == native
    assert not use_bf16("auto", torch.device("mps"))


def test_a_guide_pulls_and_is_in_the_table(source: FaceGenerator, styles: Tensor) -> None:
    config = quick(steps=30, path_length_weight=0.0, semantic_weight=0.0, match_palette=False)
    free = finetune(source, styles, config, guides=[Darkness(0.0, below=0.5)])
    guided = finetune(source, styles, config, guides=[Darkness(300.0, below=0.5)])
    assert "guide darkness" not in free.history[0], "a weight of 0 is not computed"
    assert guided.history[0]["guide darkness"] == pytest.approx(0.25, rel=rounding(2 * 3 * 32 * 32))
    assert guided.history[-1]["guide darkness"] < 0.5 * guided.history[0]["guide darkness"]


def test_guides_are_part_of_what_a_run_is(source: FaceGenerator, styles: Tensor, tmp_path: Path) -> None:
    finetune(source, styles, quick(steps=2), run_dir=tmp_path, guides=[Darkness(1.0)])
    with pytest.raises(CannotResume, match="guide darkness"):
        finetune(source, styles, quick(steps=2), run_dir=tmp_path, resume=True, guides=[Darkness(1.0, below=0.1)])
    finetune(source, styles, quick(steps=2), run_dir=tmp_path, resume=True, guides=[Darkness(1.0)])
    with pytest.raises(ValueError, match="Two guides are called darkness"):
        finetune(source, styles, quick(), guides=[Darkness(1.0), Darkness(2.0)])
    with pytest.raises(ValueError, match="0 or more"):
        finetune(source, styles, quick(), guides=[Darkness(-1.0)])


KILLED_TEN_TIMES = """
import os, random, signal, sys, time
sys.path[:0] = {here!r}
from pathlib import Path
import torch
from tiny_networks import make_source, make_styles
from test_finetune import quick
from facestylist.training.finetune.run import finetune
run_dir, out = Path({folder!r}) / "run", Path({folder!r}) / "killed.pt"
config = quick(steps=40, snapshot_interval=1)
source, styles = make_source(), make_styles(12)

def train(folder, file):
    result = finetune(source, styles, config, run_dir=folder, resume=True).generator
    torch.save((result.generator.state_dict(), result.discriminator.state_dict()), file)

def forked():
    child = os.fork()
    if child:
        return child
    try:
        train(run_dir, out)
    finally:
        os._exit(0)

newest = lambda: max(run_dir.glob("state/*.pt"), default=None)
moments, reached = random.Random(4), []
for _ in range(10):
    before, child, deadline = newest(), forked(), time.monotonic() + 300
    # Until it has moved on: then a random moment within the next steps.
    while newest() == before and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(moments.uniform(0.0, 0.1))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, "it was killed before its end"
    reached.append(newest().name)
assert len(set(reached)) == 10 and not out.exists(), reached
os.waitpid(forked(), 0)
train(Path({folder!r}) / "never", Path({folder!r}) / "whole.pt")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kills are of forked processes")
def test_killed_ten_times_equals_never_killed(tmp_path: Path) -> None:
    """SIGKILL at ten random moments, wherever they fall: within steps, within a write."""
    script = KILLED_TEN_TIMES.format(here=[str(place) for place in Path(__file__).parents[:2]], folder=str(tmp_path))
    # One thread: a forked process has none of its parent's.
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=1800)
    killed, whole = (torch.load(tmp_path / name, weights_only=True) for name in ("killed.pt", "whole.pt"))
    assert equal(killed[0], whole[0]) and equal(killed[1], whole[1])
    tables = ((tmp_path / name / "losses.csv").read_text() for name in ("run", "never"))
    assert next(tables) == next(tables)


def test_gradients_of_another_memory_layout_reach_the_right_weights() -> None:
    """Fused Adam on the CPU pairs weights and gradients by their place in memory."""
    random = torch.Generator().manual_seed(0)
    weight, gradient = torch.randn(2, 4, 5, 3, 3, generator=random)
    ours, plain = (torch.nn.Parameter(weight.clone()) for _ in range(2))
    last = gradient.contiguous(memory_format=torch.channels_last)
    Step(1, 1).apply({}, Update("ours", lazy_adam([ours], 0.1, 1, False), [ours], [last]))
    optimiser = torch.optim.Adam([plain], lr=0.1, betas=(0.0, 0.99), eps=1e-8, fused=False)
    plain.grad = gradient
    optimiser.step()
    assert_close(ours, plain, 8)


@pytest.mark.parametrize("choice", [{"freeze_g_blocks": 2}, {"train_layers": "modulation"}])
def test_parts_of_the_generator_can_stay(
    source: FaceGenerator, styles: Tensor, weights_of: Weights, choice: dict[str, object]
) -> None:
    result = finetune(source, styles, quick(match_palette=False, **choice))
    before, after = weights_of(source), weights_of(result.generator)
    moved = {name for name in before if name.startswith("g.") and not torch.equal(before[name], after[name])}
    assert moved
    if "train_layers" in choice:
        assert all(".affine." in name for name in moved)
    else:
        assert not any(name.startswith(("g.synthesis.blocks.0", "g.synthesis.blocks.1")) for name in moved)


@pytest.mark.parametrize("choice", [{"augment": "diffaugment"}, {"precision": "fp16"}, {"batch_size": 5}])
def test_further_choices_train(source: FaceGenerator, styles: Tensor, choice: dict[str, object]) -> None:
    first, second = (finetune(source, styles, quick(steps=3, **choice)) for _ in range(2))
    assert len(first.history) == 3 and first.history == second.history


def test_fp16_scales_down_until_the_step_fits(source: FaceGenerator, styles: Tensor) -> None:
    task = FinetuneTask(source, styles, quick(precision="fp16"))
    task.loss_scale = 2.0**60
    task.step(Step(1, 4))
    assert 1.0 <= task.loss_scale < 2.0**60
    twin = FinetuneTask(source, styles, quick(precision="fp16"))
    twin.state.load_state_dict(task.state.state_dict())
    assert twin.loss_scale == task.loss_scale


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_checkpointing_gives_the_same_gradients_of_every_kind(
    source: FaceGenerator, styles: Tensor, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facestylist.models import discriminator, generator

    again: list[str] = []
    plain = generator.checkpoint

    def counted(block: object, *given: object, **how: object) -> object:
        again.append(type(block).__name__)
        return plain(block, *given, **how)

    for part in (generator, discriminator):
        monkeypatch.setattr(part, "checkpoint", counted)
    config = {"r1_interval": 1, "path_length_interval": 1, "freeze_d_blocks": 0, "precision": precision}
    tasks = [FinetuneTask(source, styles, quick(**config, checkpointing=on)) for on in (False, True)]
    found = []
    for task, expected in zip(tasks, (set(), {"SynthesisBlock", "DiscriminatorBlock"}), strict=True):
        again.clear()
        found.append(task.compute(task.batches.draw(1, task.ada.probability), Step(1, 4))[0])
        assert set(again) == expected
    for kind in ("g_gradients", "d_gradients", "r1_gradients", "path_gradients"):
        pairs = zip(getattr(found[0], kind), getattr(found[1], kind), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), kind
    assert not tasks[1].result().discriminator.checkpointing  # type: ignore[union-attr]


def test_gradients_of_the_penalties_have_to_be_finite_too(
    source: FaceGenerator, styles: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = FinetuneTask(source, styles, quick(r1_interval=1))
    plain = task.compute

    def broken(*drawn: object) -> object:
        found, logits = plain(*drawn)  # type: ignore[arg-type]
        found.r1_gradients[0].fill_(float("inf"))
        return found, logits

    monkeypatch.setattr(task, "compute", broken)
    before = {k: v.clone() for k, v in task.discriminator.state_dict().items()}
    with pytest.raises(ArithmeticError, match="`gradient of the R1 penalty`"):
        task.step(Step(1, 4))
    assert equal(before, dict(task.discriminator.state_dict()))

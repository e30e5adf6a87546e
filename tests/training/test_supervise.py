"""Stage 2: learning on from pairs, and the codes behind style pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import Darkness, make_source, make_styles
from tolerances import assert_close, rounding

from facestylist.core.callbacks import Callbacks
from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.types import FaceEncoder, FaceGenerator
from facestylist.training.kit.kept import CannotResume
from facestylist.training.kit.step import Step
from facestylist.training.losses.pictures import pixel_distance
from facestylist.training.pairs.anchors import destylise
from facestylist.training.pairs.candidates import PicturesWithLatents
from facestylist.training.pairs.making import make_pairs
from facestylist.training.pairs.renderer import PairRenderer
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.supervise import PairSupervisionTask, supervise
from facestylist.training.pairs.supervision_settings import PairSupervisionConfig
from facestylist.training.pairs.types import StylePairs

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("global_rng_untouched")]

MAKING = PairsConfig(
    count=4,
    min_contrast=0.0,
    duplicate_bits=-1,
    drop_quality=0.0,
    drop_structure=0.0,
    max_saturated=1.0,
    anchor_variants=1,
    keep_anchor_colours=True,
)
QUICK = {"steps": 4, "batch_size": 2, "discriminator_alone": 1, "preview_interval": 0, "snapshot_interval": 1}


@pytest.fixture(scope="module")
def style(source: FaceGenerator) -> FaceGenerator:
    """Another generator of the same W, standing for what stage 1 gives."""
    other = make_source(seed=1)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    return other.replace(style="test style")


@pytest.fixture(scope="module")
def pairs(source: FaceGenerator, style: FaceGenerator) -> StylePairs:
    anchors = PicturesWithLatents(sample_latent(source, range(100, 104)), make_styles(4))
    return make_pairs(source, style, MAKING, anchors)


def weights(generator: FaceGenerator) -> list[torch.Tensor]:
    return list(generator.generator.synthesis.state_dict().values())


def test_true_style_pictures_are_approached(source: FaceGenerator, style: FaceGenerator, pairs: StylePairs) -> None:
    anchors = pairs.select(pairs.origin == 2)
    settings = PairSupervisionConfig(
        steps=60, batch_size=4, discriminator_alone=1, learning_rate=1e-2, ema_decay=0.9, preview_interval=0
    )
    result = supervise(source, style, anchors, settings)
    targets = PairRenderer(anchors, source, style)(torch.arange(len(anchors)), move=False)[1]

    def distance(generator: FaceGenerator) -> float:
        predictions = generator.generator.synthesis(anchors.w_plus)
        return float((predictions - targets).abs().mean())

    assert distance(result.generator) < 0.7 * distance(style)
    assert result.history[-1]["pixel"] < result.history[1]["pixel"]
    assert result.generator.w_space == style.w_space == source.w_space


def test_same_seed_same_weights_and_both_generators_stay(
    source: FaceGenerator, style: FaceGenerator, pairs: StylePairs
) -> None:
    before = [w.clone() for w in weights(style) + weights(source)]
    first, second = (supervise(source, style, pairs, PairSupervisionConfig(**QUICK)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(weights(first.generator), weights(second.generator), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(first.generator), weights(style), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(style) + weights(source), strict=True))


def test_resumed_run_ends_in_the_same_bits(
    source: FaceGenerator, style: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    settings = PairSupervisionConfig(**QUICK)
    whole = supervise(source, style, pairs, settings)

    class Cancel(Exception):
        pass

    def cancel(step: int, total: int, losses: dict[str, float]) -> None:
        if step == 2:
            raise Cancel

    with pytest.raises(Cancel):
        supervise(source, style, pairs, settings, Callbacks(on_progress=cancel), tmp_path / "run")
    resumed = supervise(source, style, pairs, settings, run_dir=tmp_path / "run", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole.generator), weights(resumed.generator), strict=True))
    assert torch.equal(whole.codes, resumed.codes)


def test_noise_grows_only_where_it_is_asked_for(source: FaceGenerator, style: FaceGenerator, pairs: StylePairs) -> None:
    def strengths(generator: FaceGenerator) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for layer in generator.generator.synthesis.convolutions():
            found.setdefault(layer.noise_const.shape[-1], []).append(float(layer.noise_strength.detach()))
        return found

    before = strengths(style)
    assert strengths(supervise(source, style, pairs, PairSupervisionConfig(**QUICK)).generator) == before
    settings = PairSupervisionConfig(**QUICK, noise_strength=0.5, stroke_freedom=1.0)
    result = supervise(source, style, pairs, settings)
    after, finest = strengths(result.generator), style.resolution
    assert after[finest] == before[finest] and strengths(style) == before
    for side in (finest // 4, finest // 2):
        assert all(abs(a - 0.5) < 0.1 and a != 0.5 for a in after[side])


def test_a_learned_sheet_is_kept_with_the_style_and_resumes(
    source: FaceGenerator, style: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    """The noise maps learn, are what the result draws with, and survive an interruption bit for bit."""
    settings = PairSupervisionConfig(**QUICK, noise_strength=0.1, learn_noise=True)

    def sheets(generator: FaceGenerator) -> list[torch.Tensor]:
        return [layer.noise_const for layer in generator.generator.synthesis.convolutions()]

    before = [sheet.clone() for sheet in sheets(style)]
    whole = supervise(source, style, pairs, settings)
    moved = [not torch.equal(a, b) for a, b in zip(sheets(whole.generator), before, strict=True)]
    assert moved == [sheet.shape[-1] >= style.resolution // 4 for sheet in before]
    assert all(torch.equal(a, b) for a, b in zip(sheets(style), before, strict=True))
    assert not any(sheet.requires_grad for sheet in sheets(whole.generator))
    supervise(source, style, pairs, settings, Callbacks(should_stop=lambda: True), tmp_path / "run")
    resumed = supervise(source, style, pairs, settings, run_dir=tmp_path / "run", resume=True)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole.generator), weights(resumed.generator), strict=True))
    with pytest.raises(ValueError, match="no noise to learn"):
        PairSupervisionConfig(learn_noise=True)


def test_only_codes_of_anchors_are_corrected(source: FaceGenerator, style: FaceGenerator, pairs: StylePairs) -> None:
    is_anchor = pairs.origin == 2
    corrected = supervise(source, style, pairs, PairSupervisionConfig(**QUICK)).codes
    assert torch.equal(corrected[~is_anchor], pairs.w_plus[~is_anchor])
    assert not torch.equal(corrected[is_anchor], pairs.w_plus[is_anchor])
    kept = supervise(source, style, pairs, PairSupervisionConfig(**QUICK, refine_codes=0.0)).codes
    assert torch.equal(kept, pairs.w_plus)


def test_a_guide_holds_fresh_faces(
    source: FaceGenerator, style: FaceGenerator, pairs: StylePairs, tmp_path: Path
) -> None:
    alone = {"semantic_weight": 0.0, "adversarial_weight": 0.0, "learning_rate": 1e-2}
    settings = PairSupervisionConfig(**{**QUICK, **alone, "steps": 30})
    free = supervise(source, style, pairs, settings, guides=[Darkness(0.0, below=0.5)])
    assert "guide darkness" not in free.history[-1], "a weight of 0 is not computed"
    guided = supervise(source, style, pairs, settings, run_dir=tmp_path, guides=[Darkness(300.0, below=0.5)])
    first, last = guided.history[1]["guide darkness"], guided.history[-1]["guide darkness"]
    assert "guide darkness" not in guided.history[0], "the discriminator is alone there"
    assert last < 0.5 * first
    with pytest.raises(CannotResume, match="guide darkness"):
        supervise(source, style, pairs, settings, run_dir=tmp_path, resume=True)
    with pytest.raises(ValueError, match="0 or more"):
        supervise(source, style, pairs, settings, guides=[Darkness(-1.0)])


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ({"semantic_weight": 0.0}, {"feature", "self"}),
        ({"adversarial_weight": 0.0}, {"generator"}),
        ({"level_1_weight": 0.0, "level_2_weight": 0.0}, {"blurred", "structure"}),
        ({"level_3_weight": 0.0, "anchor_weight": 0.0}, {"pixel", "edges", "features"}),
        ({"pair_weight": 0.0}, {"pixel", "edges", "features", "blurred", "structure"}),
    ],
)
def test_every_term_can_be_left_out(
    source: FaceGenerator, style: FaceGenerator, pairs: StylePairs, off: dict[str, float], gone: set[str]
) -> None:
    settings = {**QUICK, "batch_size": 16, "steps": 3}
    reported = set(supervise(source, style, pairs, PairSupervisionConfig(**settings)).history[-1])
    without = set(supervise(source, style, pairs, PairSupervisionConfig(**{**settings, **off})).history[-1])
    assert gone <= reported
    assert reported - without == gone


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_own_pictures_pull_nowhere_at_the_start(
    source: FaceGenerator, style: FaceGenerator, precision: str, dtype: torch.dtype
) -> None:
    """Level 3 synthetic pairs are the generator's own output: only what targets are clamped to tells them apart."""
    own = make_pairs(source, style, PairsConfig(**{**MAKING.__dict__, "levels": "3", "affine_prob": 0.0}))
    settings = PairSupervisionConfig(**{**QUICK, "discriminator_alone": 0}, precision=precision)
    task = PairSupervisionTask(source, style, own, settings)
    random = task.random.get_state()
    drawn = PairRenderer(own, source, style)(task._rows())[1]
    task.random.set_state(random)
    clamped = pixel_distance(drawn, drawn.clamp(-1, 1), task.importance, settings.stroke_freedom)
    # Sums are taken in float32 or better: what rounds to `dtype` is what one layer gives to the next.
    layers = len(list(source.generator.synthesis.convolutions())) + 1
    tolerance = rounding(layers, float(drawn.abs().mean()), dtype)
    assert task.step(Step(1, settings.steps))["pixel"] == pytest.approx(float(clamped.mean()), abs=tolerance)


def test_what_cannot_be_used_is_refused(source: FaceGenerator, style: FaceGenerator, pairs: StylePairs) -> None:
    with pytest.raises(ValueError, match="without its discriminator"):
        supervise(source, style.replace(discriminator=None), pairs)
    with pytest.raises(ValueError, match="another target generator"):
        supervise(source, source, pairs)
    with pytest.raises(ValueError, match="none for"):
        PairSupervisionConfig(steps=10, discriminator_alone=10)


def test_destylise_reads_with_an_encoder_and_centres(source: FaceGenerator, style: FaceGenerator) -> None:
    class Brightness(torch.nn.Module):
        """A code whose every entry is the picture's mean."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(()))

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.mean((1, 2, 3))[:, None, None].expand(-1, source.num_ws, source.w_dim)

    encoder = FaceEncoder(Brightness(), 32, source.num_ws, source.w_dim)
    pictures = make_styles(5)
    plain = destylise(source, None, pictures, encoder, centre=False)
    assert_close(plain.latent.w_plus[:, 0, 0], pictures.mean((1, 2, 3)), 3 * 32 * 32, float(pictures.abs().mean()))
    own = synthesise(source, sample_latent(source, range(64))).clamp(-1, 1).mean((1, 2, 3))
    centred = destylise(source, None, pictures, encoder).latent.w_plus
    # Both means are of samples; these are four standard errors of this one's, twice.
    assert float(centred.mean()) == pytest.approx(float(own.mean()), abs=2 * 4 * float(own.std()) / 64**0.5)
    spread = (centred - centred.mean(0)) - (plain.latent.w_plus - plain.latent.w_plus.mean(0))
    assert float(spread.abs().max()) < rounding(16, float(centred.abs().max()))
    assert plain.latent.w_space == source.w_space


def test_destylise_searches_through_the_style(source: FaceGenerator, style: FaceGenerator) -> None:
    """Pictures that the style drew lead back to codes that draw them."""
    truth = sample_latent(source, range(3), 0.7)
    pictures = synthesise(style, truth).clamp(-1, 1)
    found = destylise(source, style, pictures, steps=60)
    again = synthesise(style, found.latent).clamp(-1, 1)
    mean = synthesise(style, truth.replace(w_plus=source.mean_latent.expand_as(truth.w_plus))).clamp(-1, 1)
    assert float((again - pictures).abs().mean()) < 0.5 * float((mean - pictures).abs().mean())
    with pytest.raises(ValueError, match="Nothing can find"):
        destylise(source, style, pictures)

"""Pivotal tuning comes closer to its faces, leaves W and others alone, and carries over to styles exactly."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import make_source, make_styles
from tolerances import assert_same_errors
from torch import Tensor, nn

from facestylist.core.callbacks import Callbacks
from facestylist.latents.encoding import mean_squared_error
from facestylist.latents.sampling import sample_latent, synthesise, w_statistics
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.training.inversion.pivotal import PivotalResult, align_style, tune_to_faces
from facestylist.training.inversion.settings import PivotalConfig

pytestmark = pytest.mark.numeric

QUICK = PivotalConfig(steps=40, preview_interval=0, learning_rate=5e-3)


@pytest.fixture(scope="module")
def pivots(source: FaceGenerator) -> FaceLatent:
    return sample_latent(source, [1, 2, 3], 0.7)


@pytest.fixture(scope="module")
def faces(source: FaceGenerator, pivots: FaceLatent) -> Tensor:
    """Pictures that the generator cannot draw: its own, with something across each."""
    return (0.6 * synthesise(source, pivots) + 0.4 * make_styles(3)).clamp(-1, 1)


@pytest.fixture(scope="module")
def tuned(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> PivotalResult:
    return tune_to_faces(faces, source, pivots, QUICK)


def test_it_comes_closer_to_every_face(
    source: FaceGenerator, pivots: FaceLatent, faces: Tensor, tuned: PivotalResult
) -> None:
    assert_same_errors(tuned.error_before, mean_squared_error(synthesise(source, pivots), faces), source.generator)
    assert (tuned.error_after < 0.4 * tuned.error_before).all(), (tuned.error_before, tuned.error_after)
    redrawn = mean_squared_error(synthesise(tuned.generator, pivots), faces)
    assert_same_errors(redrawn, tuned.error_after, source.generator)
    assert 0 < tuned.steps <= 40 and "3 faces" in tuned.generator.provenance["pivotal_tuning"]


def test_what_an_encoder_reads_is_compared(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    class Reader(nn.Module):
        """The picture's mean colours as a code."""

        def forward(self, images: Tensor) -> Tensor:
            colours = images.mean((2, 3))
            return nn.functional.pad(colours, (0, source.w_dim - 3))[:, None].expand(-1, source.num_ws, -1)

    encoder = FaceEncoder(Reader(), 16, source.num_ws, source.w_dim)
    seen: list[dict[str, float]] = []
    told = Callbacks(on_progress=lambda step, total, losses: seen.append(losses))
    config = replace(QUICK, code_weight=3.0, locality_weight=0.0)
    found = tune_to_faces(faces, source, pivots, config, told, encoder=encoder)
    apart = faces.mean((2, 3)) - synthesise(source, pivots).mean((2, 3))
    spread = w_statistics(source.generator, source.mean_latent, config.seed)[1]
    by_hand = float((apart / spread).square().sum(1).mean()) / source.w_dim
    assert seen[0]["code"] == pytest.approx(by_hand, rel=0.02), "read at 16 px, and by hand at full size"
    left = faces.mean((2, 3)) - synthesise(found.generator, pivots).mean((2, 3))
    assert float(left.square().mean()) < 0.05 * float(apart.square().mean())


def test_w_and_the_source_stay(source: FaceGenerator, pivots: FaceLatent, faces: Tensor, tuned: PivotalResult) -> None:
    before = make_source().generator.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in source.generator.state_dict().items())
    after = tuned.generator.generator.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.startswith("synthesis.") for name in changed)
    assert not any("noise" in name for name in changed)
    assert tuned.generator.w_space == source.w_space and tuned.generator.discriminator is source.discriminator
    assert not any(p.requires_grad for p in tuned.generator.generator.parameters())


def test_same_seed_same_weights_and_no_global_randomness(
    source: FaceGenerator, pivots: FaceLatent, faces: Tensor, global_rng_untouched: None
) -> None:
    config = PivotalConfig(steps=3, preview_interval=0, seed=4)
    one, two = (tune_to_faces(faces, source, pivots, config).generator.generator.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_locality_holds_other_faces(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    others = sample_latent(source, range(20, 28), 0.7)
    drawn = synthesise(source, others)
    drift = []
    for weight in (0.0, 2.0):
        config = PivotalConfig(steps=30, preview_interval=0, learning_rate=5e-3, locality_weight=weight)
        moved = synthesise(tune_to_faces(faces, source, pivots, config).generator, others)
        drift.append(float(mean_squared_error(moved, drawn.clamp(-1, 1)).mean()))
    assert drift[1] < 0.8 * drift[0], drift


def test_faces_in_parts_learn_the_same(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    settings = {"steps": 3, "preview_interval": 0, "locality_weight": 0.0}
    one, four = (tune_to_faces(faces, source, pivots, PivotalConfig(**settings, batch_size=size)) for size in (1, 4))
    learnt = (one.error_before - one.error_after).abs().max()
    assert (one.error_after - four.error_after).abs().max() < 0.01 * learnt


def test_cancelling_keeps_the_best(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    seen: list[int] = []
    previews: list[Tensor] = []
    callbacks = Callbacks(
        on_progress=lambda step, total, losses: seen.append(step),
        on_preview=lambda step, picture: previews.append(picture),
        should_stop=lambda: len(seen) == 6,
    )
    config = PivotalConfig(steps=40, preview_interval=5, learning_rate=5e-3)
    stopped = tune_to_faces(faces, source, pivots, config, callbacks)
    assert seen == [1, 2, 3, 4, 5, 6] and [tuple(p.shape) for p in previews] == [(3, 96, 96)] * 2
    assert stopped.error_after.mean() < stopped.error_before.mean()

    kept: list[PivotalResult] = []

    def interrupt(step: int, *_: object) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_to_faces(faces, source, pivots, config, Callbacks(on_progress=interrupt), kept.append)
    assert kept[0].error_after.mean() < kept[0].error_before.mean()
    redrawn = mean_squared_error(synthesise(kept[0].generator, pivots), faces)
    # The error is that of the weights handed over.
    assert_same_errors(redrawn, kept[0].error_after, source.generator)


def test_it_never_makes_the_faces_worse(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    config = PivotalConfig(steps=2, preview_interval=0, learning_rate=0.1)
    wild = tune_to_faces(faces, source, pivots, config)
    assert wild.error_after.mean() <= wild.error_before.mean()


def test_works_in_inference_mode(source: FaceGenerator, pivots: FaceLatent, faces: Tensor) -> None:
    with torch.inference_mode():
        made_there = make_source()
        result = tune_to_faces(faces.clone(), made_there, sample_latent(made_there, [1, 2, 3], 0.7), QUICK)
        style = align_style(made_there, made_there, result.generator)
    assert (result.error_after < result.error_before).all()
    assert not any(t.is_inference() for t in style.generator.state_dict().values())


def test_the_aligned_delta_is_exact(source: FaceGenerator, tuned: PivotalResult) -> None:
    style = source.to("cpu").replace(style="ink")
    style.generator.synthesis.blocks[2].to_rgb.weight.mul_(-1.7)
    aligned = align_style(style, source, tuned.generator)
    states = [g.generator.state_dict() for g in (style, source, tuned.generator, aligned)]
    for name, value in states[3].items():
        base, before, after = (state[name].double() for state in states[:3])
        wanted = (base + (after - before)).float() if name.startswith("synthesis.") else states[0][name]
        assert torch.equal(value, wanted), name
    assert aligned.style == "ink" and aligned.w_space == source.w_space and aligned.discriminator is None
    whole = align_style(source, source, tuned.generator).generator.state_dict()
    assert all(torch.equal(value, states[2][name]) for name, value in whole.items()), "the source becomes the tuned one"
    same = align_style(style, source, source).generator.state_dict()
    assert all(torch.equal(value, states[0][name]) for name, value in same.items()), "no tuning, no change"


def test_refusals(source: FaceGenerator, pivots: FaceLatent, faces: Tensor, tuned: PivotalResult) -> None:
    with pytest.raises(ValueError, match="for these 2 faces"):
        tune_to_faces(faces[:2], source, pivots)
    with pytest.raises(ValueError, match="belong to another generator"):
        tune_to_faces(faces, source, pivots.replace(w_space="other"))
    with pytest.raises(ValueError, match="Align the photo first"):
        tune_to_faces(faces[:, :, :20], source, pivots)
    with pytest.raises(ValueError, match="Use the generator the style was fine-tuned from"):
        align_style(make_source(seed=9), source, tuned.generator)
    with pytest.raises(ValueError, match="nothing is compared"):
        PivotalConfig(pixel_weight=0.0, feature_weight=0.0)

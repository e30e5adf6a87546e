"""Inversion recovers latents it can know, in every mode, and never forgets its best."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_networks import make_source
from tolerances import assert_close, assert_same_errors, rounding, roundings
from torch import Tensor, nn

from facestylist.core.callbacks import Callbacks
from facestylist.latents import encoding
from facestylist.latents.encoding import face_distances, invert_with_encoder, mean_squared_error, resize, unlike
from facestylist.models.encoder import Encoder, EncoderConfig
from facestylist.models.types import FaceEncoder, FaceGenerator, FaceLatent
from facestylist.training.inversion import search as inversion
from facestylist.training.inversion.search import invert_by_optimisation, noise_regulariser, reconstruct
from facestylist.training.inversion.settings import InversionConfig
from facestylist.training.losses.reconstruction import (
    codes_of,
    discriminator_features,
    feature_distance,
    peak_signal_to_noise,
    pyramid,
)

pytestmark = pytest.mark.numeric

QUICK = InversionConfig(steps=60, preview_interval=0)


@pytest.fixture(scope="module")
def truth(source: FaceGenerator) -> FaceLatent:
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(4))
    return FaceLatent(source.generator.truncate(source.generator.mapping(z), 0.7).clone())


@pytest.fixture(scope="module")
def pictures(source: FaceGenerator, truth: FaceLatent) -> Tensor:
    return source.generator.synthesis(truth.w_plus).clamp(-1, 1)


def psnr(latent: FaceLatent) -> Tensor:
    assert latent.reconstruction_error is not None
    return peak_signal_to_noise(latent.reconstruction_error)


def test_from_the_mean_it_recovers_a_known_latent(
    source: FaceGenerator, truth: FaceLatent, pictures: Tensor, global_rng_untouched: None
) -> None:
    found = invert_by_optimisation(pictures, source, config=InversionConfig(steps=100, preview_interval=0))
    mean = source.generator.broadcast(source.mean_latent[None])
    start = peak_signal_to_noise(mean_squared_error(source.generator.synthesis(mean.expand(3, -1, -1)), pictures))
    assert (psnr(found) > start + 12).all() and (psnr(found) > 30).all(), (start, psnr(found))
    distance = (found.w_plus - truth.w_plus).square().mean() / (mean - truth.w_plus).square().mean()
    assert distance < 0.3
    assert found.w_space == source.w_space and found.noise is None
    redrawn = mean_squared_error(reconstruct(source, found), pictures)
    assert_same_errors(redrawn, found.reconstruction_error, source.generator)


def test_w_comes_before_w_plus(source: FaceGenerator, pictures: Tensor) -> None:
    config = InversionConfig(steps=20, w_share=1.0, preview_interval=0)
    only_w = invert_by_optimisation(pictures, source, config=config).w_plus
    assert torch.equal(only_w, only_w[:, :1].expand_as(only_w))
    config = InversionConfig(steps=40, w_share=0.5, preview_interval=0, delta_penalty=0.0)
    both = invert_by_optimisation(pictures, source, config=config).w_plus
    assert both.std(1).mean() > 1e-3
    config = InversionConfig(steps=40, w_share=0.5, preview_interval=0, delta_penalty=10.0)
    assert invert_by_optimisation(pictures, source, config=config).w_plus.std(1).mean() < 0.5 * both.std(1).mean()


def test_a_given_start_is_improved_and_never_made_worse(
    source: FaceGenerator, truth: FaceLatent, pictures: Tensor
) -> None:
    near = truth.replace(w_plus=truth.w_plus + 0.1 * torch.randn(truth.w_plus.shape, generator=torch.Generator()))
    before = mean_squared_error(reconstruct(source, near), pictures)
    after = invert_by_optimisation(pictures, source, near, QUICK).reconstruction_error
    assert after is not None and (after < 0.5 * before).all()
    wild = invert_by_optimisation(pictures, source, near, InversionConfig(steps=3, learning_rate=1.0))
    assert wild.reconstruction_error is not None
    assert (wild.reconstruction_error <= before * 1.001).all(), "the best of all steps is kept, the start included"


def test_faces_do_not_influence_each_other(source: FaceGenerator, pictures: Tensor) -> None:
    together = invert_by_optimisation(pictures, source, config=InversionConfig(steps=10)).w_plus
    alone = invert_by_optimisation(pictures[1:2], source, config=InversionConfig(steps=10)).w_plus
    moved = float((alone - source.mean_latent).abs().max())
    assert (together[1:2] - alone).abs().max() < 0.01 * moved


def test_works_in_inference_mode_with_everything_made_there(pictures: Tensor, source: FaceGenerator) -> None:
    reference = invert_by_optimisation(pictures, source, config=InversionConfig(steps=5))
    with torch.inference_mode():
        made_there = make_source()
        start = FaceLatent(made_there.generator.broadcast(made_there.mean_latent[None]).repeat(3, 1, 1))
        found = invert_by_optimisation(pictures.clone(), made_there, config=InversionConfig(steps=5))
        invert_by_optimisation(pictures.clone(), made_there, start, InversionConfig(steps=2, noise="optimised"))
        assert torch.is_inference_mode_enabled()
    moved = float((reference.w_plus - source.mean_latent).abs().max())
    assert (found.w_plus - reference.w_plus).abs().max() < 0.01 * moved and not found.w_plus.is_inference()


def test_the_generator_is_left_alone(source: FaceGenerator, pictures: Tensor) -> None:
    before = {name: value.clone() for name, value in source.generator.state_dict().items()}
    trainable = make_source()
    trainable.generator.requires_grad_(True)
    for generator in (source, trainable):
        invert_by_optimisation(pictures, generator, config=InversionConfig(steps=2, noise="optimised"))
    after = source.generator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None and p.requires_grad for p in trainable.generator.parameters())


def test_optimised_noise_comes_closer_and_stays_noise(source: FaceGenerator, truth: FaceLatent) -> None:
    random = torch.Generator().manual_seed(9)
    other_noise = [torch.randn(3, *shape[1:], generator=random) for shape in source.generator.noise_shapes]
    noisy = source.generator.synthesis(truth.w_plus, noise=other_noise).clamp(-1, 1)
    fixed = invert_by_optimisation(noisy, source, config=QUICK)
    config = InversionConfig(steps=60, preview_interval=0, noise="optimised")
    fitted = invert_by_optimisation(noisy, source, config=config)
    assert psnr(fitted).mean() > psnr(fixed).mean() + 1
    assert fitted.noise is not None
    assert noise_regulariser(list(fitted.noise)).max() < noise_regulariser(other_noise).min(), "no structure in it"
    assert [tuple(n.shape) for n in fitted.noise] == [(3, 1, *s[2:]) for s in source.generator.noise_shapes]
    for noise in fitted.noise:
        near = rounding(2 * noise[0].numel())
        assert noise.mean((2, 3)).abs().max() < near and (noise.std((2, 3)) - 1).abs().max() < near
    redrawn = mean_squared_error(reconstruct(source, fitted), noisy)
    assert_same_errors(redrawn, fitted.reconstruction_error, source.generator)
    again = invert_by_optimisation(noisy, source, fitted, InversionConfig(steps=1))
    assert again.noise is not None, "a start brings its noise"
    assert (again.reconstruction_error <= fitted.reconstruction_error * 1.001).all()


def test_noise_regulariser_tells_noise_from_structure() -> None:
    white = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    stripes = torch.ones(4, 1, 32, 32)
    stripes[:, :, 16:] = -1
    assert noise_regulariser([stripes]).min() > 50 * noise_regulariser([white]).max()


def test_progress_previews_and_a_wish_to_stop(source: FaceGenerator, pictures: Tensor) -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    previews: list[Tensor] = []
    callbacks = Callbacks(
        on_progress=lambda step, total, losses: seen.append((step, losses)),
        on_preview=lambda step, picture: previews.append(picture),
        should_stop=lambda: len(seen) == 7,
    )
    config = InversionConfig(steps=40, preview_interval=5)
    stopped = invert_by_optimisation(pictures, source, config=config, callbacks=callbacks)
    assert len(seen) == 7 and {"pixel", "feature"} <= set(seen[0][1])
    assert seen[-1][1]["pixel"] < seen[0][1]["pixel"]
    assert [tuple(p.shape) for p in previews] == [(3, 64, 96)] * 2, "the fifth step, and where it ended"
    assert torch.isfinite(psnr(stopped)).all()


def test_interrupt_propagates(source: FaceGenerator, pictures: Tensor) -> None:
    class Interrupt(Exception):
        pass

    def on_progress(*_: object) -> None:
        raise Interrupt

    with pytest.raises(Interrupt):
        invert_by_optimisation(pictures, source, config=QUICK, callbacks=Callbacks(on_progress=on_progress))


def test_without_a_discriminator_pixels_suffice(source: FaceGenerator, pictures: Tensor) -> None:
    found = invert_by_optimisation(pictures, source.replace(discriminator=None), config=QUICK)
    assert (psnr(found) > 20).all()


def test_pictures_of_another_size_and_a_wrong_start(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    large = nn.functional.interpolate(pictures, size=(80, 80), mode="bicubic")
    assert invert_by_optimisation(large, source, config=InversionConfig(steps=2)).w_plus.shape == (3, 8, 16)
    with pytest.raises(ValueError, match="starting latent has shape"):
        invert_by_optimisation(pictures[:2], source, truth)
    with pytest.raises(ValueError, match="Align the photo first"):
        invert_by_optimisation(pictures[:, :, :20], source)
    with pytest.raises(ValueError, match="Align the photo first"):
        invert_by_optimisation(pictures[:0], source)


def test_features_are_each_faces_own(source: FaceGenerator, pictures: Tensor) -> None:
    discriminator = source.discriminator
    assert discriminator is not None
    together, alone = (discriminator_features(discriminator, p) for p in (pictures, pictures[:1]))
    assert feature_distance([f[:1] for f in together], alone).max() < rounding(roundings(discriminator))
    assert [level.shape[2] for level in pyramid(pictures)] == [32, 16, 8]


class Lookup(nn.Module):
    """An encoder that is off by a fixed amount: it sees the true latent and adds an error."""

    def __init__(self, generator: FaceGenerator, truth: Tensor) -> None:
        super().__init__()
        self.pictures = generator.generator.synthesis(truth).clamp(-1, 1)
        self.truth = truth
        self.seen: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.shape[2])
        small = nn.functional.interpolate(self.pictures, size=images.shape[2:], mode="bilinear", antialias=True)
        nearest = torch.cdist(images.flatten(1), small.flatten(1)).argmin(1)
        return self.truth[nearest]


def test_encoder_inversion(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    network = Lookup(source, truth.w_plus)
    encoder = FaceEncoder(network, 16, source.num_ws, source.w_dim)
    found = invert_with_encoder(pictures, encoder, source, batch_size=2)
    assert network.seen == [16, 16], "two batches at the encoder's size"
    assert torch.equal(found.w_plus, truth.w_plus) and found.w_space == source.w_space
    assert (psnr(found) > 50).all()


class Offset(nn.Module):
    """E(x) = true latent of x as a linear reading, plus a constant error: residual steps remove the error."""

    def __init__(self, inner: nn.Module, offset: Tensor) -> None:
        super().__init__()
        self.inner, self.offset = inner, offset

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images) + self.offset


def test_more_encoder_steps_never_make_it_worse(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    offset = 0.3 * torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    encoder = FaceEncoder(Offset(Lookup(source, truth.w_plus), offset), 32, source.num_ws, source.w_dim)
    once, thrice = (invert_with_encoder(pictures, encoder, source, steps=n) for n in (1, 3))
    assert once.reconstruction_error is not None and thrice.reconstruction_error is not None
    assert (thrice.reconstruction_error <= once.reconstruction_error).all()


class Colours(nn.Module):
    """Reads the mean colours of four quarters as a code, the same for every layer; weights `[12, w_dim]`."""

    def __init__(self, generator: FaceGenerator) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(12, generator.w_dim, generator=random), requires_grad=False)
        self.num_ws = generator.num_ws

    def forward(self, images: Tensor) -> Tensor:
        colours = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        return (colours @ self.weight)[:, None].expand(-1, self.num_ws, -1)


def test_what_an_encoder_reads_is_compared(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    encoder = FaceEncoder(Colours(source), 16, source.num_ws, source.w_dim)
    near = truth.replace(w_plus=truth.w_plus + 0.3 * torch.randn(truth.w_plus.shape, generator=torch.Generator()))
    seen: list[dict[str, float]] = []
    told = Callbacks(on_progress=lambda step, total, losses: seen.append(losses))
    config = InversionConfig(steps=40, code_weight=1.0, preview_interval=0)
    invert_by_optimisation(pictures, source, near, config, told, encoder=encoder)
    assert seen[-1]["code"] < 0.2 * seen[0]["code"]
    spread = inversion.w_statistics(source.generator, source.mean_latent, config.seed)[1]
    codes = [encoder.network(resize(x, 16)) for x in (reconstruct(source, near), pictures)]
    by_hand = float(((codes[0] - codes[1]) / spread).square().mean())
    assert seen[0]["code"] == pytest.approx(by_hand, rel=rounding(roundings(source.generator)))
    seen.clear()
    invert_by_optimisation(pictures, source, near, replace(config, code_weight=0.0, steps=1), told, encoder=encoder)
    assert set(seen[0]) == {"pixel", "feature", "delta"}


def with_face_branch(source: FaceGenerator) -> FaceEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        network = Encoder(EncoderConfig(64, source.num_ws, source.w_dim, (8, 8, 8, 8, 8), face_branch=True)).eval()
    return FaceEncoder(network.requires_grad_(False), 64, source.num_ws, source.w_dim)


def test_who_it_is_is_compared_where_an_encoder_says_so(source: FaceGenerator, pictures: Tensor) -> None:
    encoder = with_face_branch(source)
    network = encoder.network
    large = nn.functional.interpolate(pictures, size=(64, 64), mode="bilinear")
    apart = (network.describe(large[:1]) - network.describe(large[1:2])).norm()
    read = codes_of(encoder, source, 1.0, torch.tensor(1.0))
    assert read is not None
    found = (read(large[:1]) - read(large[1:2])).square().mean()
    assert float(found) == pytest.approx(float(apart / 0.6) ** 2, rel=rounding(2 * 128))
    assert codes_of(encoder, source, 0.0, torch.tensor(1.0)) is None and codes_of(None, source, 1.0, apart) is None
    other = FaceEncoder(network, 64, source.num_ws + 2, source.w_dim)
    with pytest.raises(ValueError, match="trained for this generator"):
        invert_by_optimisation(pictures, source, encoder=other)


def test_a_face_that_comes_out_as_somebody_else_is_named(source: FaceGenerator, pictures: Tensor) -> None:
    encoder = with_face_branch(source)
    large = nn.functional.interpolate(pictures, size=(64, 64), mode="bilinear")
    apart = face_distances(encoder, pictures, pictures.roll(1, 0))
    assert apart is not None and (apart > 0).all()
    described = encoder.network.describe(pictures)
    assert_close(apart, (described - described.roll(1, 0)).norm(dim=1), 2 * 128)
    assert torch.equal(face_distances(encoder, large, large), torch.zeros(len(large)))
    assert face_distances(None, large, large) is None
    assert face_distances(FaceEncoder(Colours(source), 16, source.num_ws, source.w_dim), large, large) is None

    way = "Do this."
    assert unlike(None, way) == "" and unlike(torch.tensor([0.1, 0.59]), way) == ""
    one = unlike(torch.tensor([0.1, 0.75]), way)
    assert one.startswith("Face 2 of 2 does not") and "0.75" in one and one.endswith("Do this.")
    assert unlike(torch.tensor([0.9, 0.1, 0.7]), way).startswith("Faces 1, 3 of 3 do not")
    assert "and others of 20" in unlike(torch.ones(20), way) and unlike(torch.tensor([torch.nan]), way)


def test_the_least_loss_is_the_best(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    """Of an encoder that wants what pixels do not: with nothing but its word, pixels are given up for it."""
    encoder = FaceEncoder(Colours(source), 16, source.num_ws, source.w_dim)
    target = pictures.roll(1, 0)
    config = InversionConfig(steps=30, pixel_weight=1e-6, feature_weight=0.0, code_weight=1.0, preview_interval=0)
    found = invert_by_optimisation(target, source, truth, config, encoder=encoder)

    def code(latent: FaceLatent) -> Tensor:
        prediction = resize(reconstruct(source, latent), 16)
        return (encoder.network(prediction) - encoder.network(resize(target, 16))).square().mean((1, 2))

    assert (code(found) < 0.2 * code(truth)).all()


class Iterating(nn.Module):
    """An encoder trained to be asked again: it halves what is missing, whatever the pictures show."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth


def test_an_encoder_made_to_look_again_does_so_by_itself(
    source: FaceGenerator, truth: FaceLatent, pictures: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def corrected(encoder: FaceEncoder, pictures: Tensor, codes: Tensor, prediction: Tensor, *_: object) -> Tensor:
        assert tuple(prediction.shape) == (3, 3, 32, 32)
        seen.append(len(seen))
        return (codes + truth.w_plus) / 2

    monkeypatch.setattr(encoding, "default_steps", lambda encoder: 4)
    monkeypatch.setattr(encoding, "initial_w_plus", lambda *_: torch.zeros_like(truth.w_plus))
    monkeypatch.setattr(encoding, "refined_w_plus", corrected)
    encoder = FaceEncoder(Iterating(truth.w_plus), 16, source.num_ws, source.w_dim)
    found = invert_with_encoder(pictures, encoder, source)
    assert seen == [0, 1, 2] and torch.allclose(found.w_plus, truth.w_plus * 7 / 8)
    assert len(invert_with_encoder(pictures, encoder, source, steps=1)) == 3 and len(seen) == 3


def test_an_encoder_reports_and_stops_with_its_best(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    network = Lookup(source, truth.w_plus)
    encoder = FaceEncoder(network, 16, source.num_ws, source.w_dim)
    progress: list[tuple[int, int]] = []
    previews: list[Tensor] = []
    callbacks = Callbacks(
        on_progress=lambda step, total, losses: progress.append((step, total)),
        on_preview=lambda step, picture: previews.append(picture),
        should_stop=lambda: len(progress) >= 2,
    )
    found = invert_with_encoder(pictures, encoder, source, steps=3, batch_size=2, callbacks=callbacks)
    assert progress == [(1, 6), (2, 6), (4, 6)], "the last face is looked at once although the rest is cancelled"
    assert torch.equal(found.w_plus, truth.w_plus) and [tuple(p.shape) for p in previews][0] == (3, 64, 64)


def test_a_search_in_w_gives_one_code_for_all_layers(
    source: FaceGenerator, truth: FaceLatent, pictures: Tensor
) -> None:
    config = InversionConfig(steps=8, space="w", preview_interval=0)
    start = truth.replace(w_plus=truth.w_plus + 0.2 * torch.randn(3, 8, 16, generator=torch.Generator().manual_seed(0)))
    for given in (None, start):
        found = invert_by_optimisation(pictures, source, given, config).w_plus
        assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.allclose(found, start.w_plus.mean(1, keepdim=True).expand_as(found))


def test_faces_in_parts_are_the_same_faces(source: FaceGenerator, truth: FaceLatent, pictures: Tensor) -> None:
    shapes = source.generator.noise_shapes
    start = truth.replace(noise=tuple(torch.full((3, *shape[1:]), 0.1 * k) for k, shape in enumerate(shapes)))
    steps: list[tuple[int, int]] = []
    callbacks = Callbacks(on_progress=lambda step, total, losses: steps.append((step, total)))
    for noise in ("fixed", "optimised"):
        settings = {"steps": 3, "noise": noise, "preview_interval": 0}
        whole = invert_by_optimisation(pictures, source, start, InversionConfig(**settings))
        steps.clear()
        parts = invert_by_optimisation(pictures, source, start, InversionConfig(**settings, batch_size=2), callbacks)
        moved = float((whole.w_plus - start.w_plus).abs().max())
        assert (whole.w_plus - parts.w_plus).abs().max() <= 0.01 * moved
        assert whole.noise is not None and parts.noise is not None
        assert [n.shape for n in whole.noise] == [n.shape for n in parts.noise]
    assert steps == [(k, 6) for k in range(1, 7)]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_interrupt_hands_over_the_best_so_far(
    source: FaceGenerator, truth: FaceLatent, pictures: Tensor, kind: type[BaseException]
) -> None:
    kept: list[FaceLatent] = []

    def on_progress(step: int, *_: object) -> None:
        if step == 14:
            raise kind("enough")

    config = InversionConfig(steps=12, batch_size=1, preview_interval=0)
    near = truth.replace(w_plus=truth.w_plus + 0.1)
    before = mean_squared_error(reconstruct(source, near), pictures)
    with pytest.raises(kind):
        invert_by_optimisation(pictures, source, near, config, Callbacks(on_progress=on_progress), kept.append)
    (best,) = kept
    assert best.w_plus.shape == truth.w_plus.shape and best.reconstruction_error is not None
    assert best.reconstruction_error[0] < before[0] and best.reconstruction_error[1] <= before[1] * 1.001
    assert torch.isinf(best.reconstruction_error[2]) and torch.equal(best.w_plus[2], near.w_plus[2]), "not looked at"
    redrawn = mean_squared_error(reconstruct(source, best), pictures)
    assert_same_errors(redrawn[:2], best.reconstruction_error[:2], source.generator)


def test_an_encoder_of_another_generator_is_refused(source: FaceGenerator, pictures: Tensor) -> None:
    with pytest.raises(ValueError, match="gives 18 codes of length 512, but the generator takes 8 of length 16"):
        invert_with_encoder(pictures, FaceEncoder(nn.Identity(), 32, 18, 512), source)
    with pytest.raises(ValueError, match="has to look at least once"):
        invert_with_encoder(pictures, FaceEncoder(nn.Identity(), 32, 8, 16), source, steps=0)

"""Mixing and walking: ends to the bit, lengths kept on arcs, loops without a jerk."""

from __future__ import annotations

import pytest
import torch
from small_generator import make_generator, make_style
from tolerances import assert_close, rounding, roundings

from facestylist.latents.mixing import mix_latents, slerp, walk_between_latents, walk_between_seeds, walk_positions
from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.types import FaceGenerator, FaceLatent

pytestmark = pytest.mark.usefixtures("global_rng_untouched")
ARC = 4 * 16
"""Roundings in a row of an arc between codes of 16 numbers: their lengths, its angle, the length that is measured."""


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return make_generator()


def noisy(latent: FaceLatent, value: float) -> FaceLatent:
    return latent.replace(noise=tuple(torch.full((1, 1, 4, 4), value + k) for k in range(7)))


def test_slerp_keeps_the_length_and_turns_evenly() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(50, 16, generator=random), dim=1) * 3 for _ in range(2))
    for t in (0.1, 0.5, 0.9):
        mixed = slerp(a, b, t)
        assert_close(mixed.norm(dim=1), torch.full((50,), 3.0), ARC)
        whole, part = ((x * y).sum(1).div(9).clamp(-1, 1).acos() for x, y in ((a, b), (a, mixed)))
        assert_close(part, t * whole, ARC, 1 / float(part.sin().min()))  # the slope of the arc cosine
    assert torch.equal(slerp(a, b, 0.0), a) and torch.equal(slerp(a, b, 1.0), b)
    assert torch.allclose(slerp(a, 2 * a, 0.5), 1.5 * a), "parallel: a straight line"
    assert torch.isfinite(slerp(a, -a, 0.5)).all() and torch.isfinite(slerp(a, torch.zeros_like(a), 0.5)).all()
    nearly = slerp(a, a + 1e-7 * b, 0.5)
    assert_close(nearly, a, ARC)


@pytest.mark.parametrize("mode", ["linear", "slerp"])
def test_mixing_ends_are_exact(source: FaceGenerator, mode: str) -> None:
    a, b = noisy(sample_latent(source, [1, 2]), 0.0), noisy(sample_latent(source, [3, 4]), 100.0)
    assert mix_latents(a, b, 0.0, mode) is a and mix_latents(a, b, 1.0, mode) is b
    amounts = [0.0, 1.0, 0.0, 1.0, 0.3, 0.6, 1.0, 0.0]
    mixed = mix_latents(a, b, amounts, mode, centre=source.mean_latent)
    for layer, amount in enumerate(amounts):
        if amount in (0.0, 1.0):
            assert torch.equal(mixed.w_plus[:, layer], (b if amount else a).w_plus[:, layer])
    if mode == "linear":
        wanted = 0.7 * a.w_plus[:, 4] + 0.3 * b.w_plus[:, 4]
        assert_close(mixed.w_plus[:, 4], wanted, 4, float((a.w_plus.abs() + b.w_plus.abs()).max()))
    assert mixed.noise is not None and mixed.w_space == source.w_space and mixed.reconstruction_error is None
    assert [float(n[0, 0, 0, 0]) for n in mixed.noise] == [0.0, 101.0, 2.0, 103.0, 4.0, 105.0, 106.0]
    assert mix_latents(a.replace(noise=None), b, 0.5, mode).noise is None


def test_style_mixing_takes_whole_layers(source: FaceGenerator) -> None:
    a, b = sample_latent(source, [1, 2, 3]), sample_latent(source, [9])
    mixed = mix_latents(a, b, 1.0, layers=(4, 5, 6, 7)).w_plus
    assert torch.equal(mixed[:, :4], a.w_plus[:, :4]) and torch.equal(mixed[:, 4:], b.w_plus[:, 4:].expand(3, -1, -1))
    assert torch.equal(mix_latents(b, a, 1.0).w_plus, a.w_plus), "one face meets all"


def test_slerp_in_w_turns_about_its_centre(source: FaceGenerator) -> None:
    a, b, mean = sample_latent(source, [1]), sample_latent(source, [2]), source.mean_latent
    half = mix_latents(a, b, 0.5, "slerp", centre=mean).w_plus - mean
    lengths = [(x.w_plus - mean).norm(dim=2) for x in (a, b)]
    assert_close(half.norm(dim=2), (lengths[0] + lengths[1]) / 2, ARC)
    straight = mix_latents(a, b, 0.5).w_plus - mean
    assert (half.norm(dim=2) > straight.norm(dim=2)).all()


def test_what_cannot_be_mixed(source: FaceGenerator) -> None:
    a, other = sample_latent(source, [1, 2]), sample_latent(make_generator(seed=3), [1, 2])
    with pytest.raises(ValueError, match="belong to different generators"):
        mix_latents(a, other, 0.5)
    with pytest.raises(ValueError, match="8 codes of length 16 and 18 codes of length 512"):
        mix_latents(a, FaceLatent(torch.zeros(2, 18, 512)), 0.5)
    with pytest.raises(ValueError, match="2 faces cannot be mixed with 3"):
        mix_latents(a, sample_latent(source, [1, 2, 3]), 0.5)
    with pytest.raises(ValueError, match="2 amounts were given for 8 layers"):
        mix_latents(a, a, [0.5, 0.5])
    nobody = sample_latent(source, [])
    assert len(mix_latents(nobody, sample_latent(source, [1]), 0.5)) == 0


def test_a_walk_meets_its_faces_and_closes(source: FaceGenerator) -> None:
    faces = noisy(sample_latent(source, [1, 2, 3]), 0.0)
    walk = walk_between_latents(faces, 12)
    assert torch.equal(walk.w_plus[[0, 4, 8]], faces.w_plus) and walk.noise is faces.noise
    steps = torch.cat([walk.w_plus, walk.w_plus[:1]]).diff(dim=0).flatten(1).norm(dim=1)
    for segment in steps.split(4):
        # Also from the last frame to the first. Each is the length of 128 differences of codes.
        assert_close(segment, segment[0].expand(4), 128, float(faces.w_plus.abs().max()))
    there = walk_between_latents(faces, 9, loop=False)
    assert torch.equal(there.w_plus[[0, 4, 8]], faces.w_plus)
    own = faces.replace(noise=tuple(n.expand(3, -1, -1, -1) for n in faces.noise or ()))
    assert walk_between_latents(own, 6).noise is None


def test_a_smooth_walk_slows_down_at_the_faces() -> None:
    even, smooth = ([t for _, _, t in walk_positions(2, 20, easing=easing)] for easing in ("none", "smooth"))
    assert even[:10] == [k / 10 for k in range(10)]
    assert smooth[0] == 0 and smooth[5] == 0.5 and smooth[1] < even[1] / 3 and smooth[9] > even[9]
    assert [(a, b) for a, b, _ in walk_positions(3, 6)] == [(0, 1), (0, 1), (1, 2), (1, 2), (2, 0), (2, 0)]
    assert walk_positions(3, 5, loop=False)[-1] == (2, 2, 0.0)
    with pytest.raises(ValueError, match="at least 2"):
        walk_positions(1, 5)
    with pytest.raises(ValueError, match="at least 3"):
        walk_positions(3, 2)


@pytest.mark.parametrize("space", ["z", "w"])
def test_a_walk_through_seeds(source: FaceGenerator, space: str) -> None:
    walk = walk_between_seeds(source, [4, 7], 8, truncation_psi=0.7, space=space)
    keys = sample_latent(source, [4, 7], 0.7)
    assert_close(walk.w_plus[[0, 4]], keys.w_plus, roundings(source.generator.mapping))
    assert walk.w_space == source.w_space
    straight = (walk.w_plus[0] + walk.w_plus[4]) / 2
    apart = (walk.w_plus[0] - walk.w_plus[4]).norm()
    gap = (walk.w_plus[2] - straight).norm() / apart
    assert gap < rounding(8, float(keys.w_plus.norm() / apart)) if space == "w" else gap > 0.01
    style = make_style(source)
    assert synthesise(style, walk).shape == (8, 3, 32, 32), "a style draws its source's walk"


def test_select_takes_what_is_known_of_each_face() -> None:
    own, shared = torch.arange(3.0).view(3, 1, 1, 1), torch.zeros(1, 1, 4, 4)
    latent = FaceLatent(torch.arange(6.0).view(3, 2, 1), (shared, own), "w", torch.tensor([0.1, 0.2, 0.3]), "g")
    for faces in ([2, 0], slice(2, None)):
        part = latent.select(faces)
        assert torch.equal(part.w_plus, latent.w_plus[faces]) and (part.w_space, part.generator) == ("w", "g")
        assert part.noise is not None and part.noise[0] is shared and torch.equal(part.noise[1], own[faces])
        assert part.reconstruction_error is not None and part.reconstruction_error[0] == latent.reconstruction_error[2]
        assert part.identity_distance is None

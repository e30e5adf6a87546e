"""Codes exchanged from a layer on: what stays, what changes, and that nothing changes when nothing is asked for."""

from __future__ import annotations

import pytest
import torch
from small_generator import make_generator
from tolerances import assert_close, roundings

from facestylist.latents.appearance import (
    default_layer_cut,
    depth_weights,
    layer_amounts,
    random_appearances,
    style_at_depth,
    swap_appearance,
)
from facestylist.latents.sampling import sample_latent, synthesise
from facestylist.models.blending import blend_generators
from facestylist.models.types import FaceGenerator, FaceLatent

pytestmark = pytest.mark.usefixtures("global_rng_untouched")


@pytest.fixture(scope="module")
def source() -> FaceGenerator:
    return make_generator(resolution=64)


@pytest.fixture(scope="module")
def faces(source: FaceGenerator) -> FaceLatent:
    return sample_latent(source, [1, 2])


def test_the_cut_follows_the_resolution() -> None:
    assert {r: default_layer_cut(r) for r in (1024, 256, 128, 64, 32, 16, 8)} == {
        1024: 7,
        256: 7,
        128: 7,
        64: 5,
        32: 3,
        16: 1,
        8: 1,
    }


def test_an_amount_of_0_is_the_identity_to_the_bit(source: FaceGenerator, faces: FaceLatent) -> None:
    random = torch.Generator().manual_seed(3)
    noise = tuple(torch.randn(2, *shape[1:], generator=random) for shape in source.generator.noise_shapes)
    noisy = faces.replace(noise=noise)
    varied = random_appearances(source, noisy, [7, 8, 9], amount=0.0)
    assert torch.equal(varied.w_plus, faces.w_plus.repeat_interleave(3, 0))
    assert varied.noise is not None
    assert torch.equal(varied.noise[0], noise[0].repeat_interleave(3, 0)), "each face's own noise, face by face"
    once = random_appearances(source, noisy, [7], amount=0.0)
    assert torch.equal(synthesise(source, once), synthesise(source, noisy)), (
        "noise that belongs to a face stays with it"
    )
    # Batches of another size are computed in another order.
    assert_close(synthesise(source, varied)[::3], synthesise(source, noisy), roundings(source.generator))
    style = make_style_of(source)
    assert style_at_depth(None, style) is style


def test_the_face_stays_and_the_rest_is_the_seeds(source: FaceGenerator, faces: FaceLatent) -> None:
    varied = random_appearances(source, faces, [7, 8, 9], truncation_psi=0.7)
    looks = sample_latent(source, [7, 8, 9], 0.7)
    assert varied.w_plus.shape[0] == 6 and varied.w_space == source.w_space
    for number in range(6):
        face, look = divmod(number, 3)
        assert torch.equal(varied.w_plus[number, :5], faces.w_plus[face, :5])
        assert torch.equal(varied.w_plus[number, 5:], looks.w_plus[look, 5:])
    half = random_appearances(source, faces, [7], amount=0.5, truncation_psi=0.7, layer_cut=3)
    assert torch.equal(half.w_plus[:, :3], faces.w_plus[:, :3])
    mean = (faces.w_plus[:, 3:] + looks.w_plus[:1, 3:]) / 2
    assert_close(half.w_plus[:, 3:], mean, 4, float(faces.w_plus.abs().max() + looks.w_plus.abs().max()))


def test_preserving_colour_leaves_the_projections_alone(source: FaceGenerator, faces: FaceLatent) -> None:
    varied = random_appearances(source, faces, [7], preserve_colour=True)
    changed = (varied.w_plus != faces.w_plus).any(2).any(0).nonzero().flatten().tolist()
    assert changed == [6, 8], "the second convolutions from the cut on; odd codes drive projections to RGB"
    assert layer_amounts(12, 7, 0.8, 0.3, preserve_colour=True).tolist() == pytest.approx(
        [0, 0, 0, 0, 0.3, 0.3, 0.3, 0, 0.8, 0, 0.8, 0]
    )


def test_borrowed_structure_begins_at_code_4() -> None:
    assert layer_amounts(12, 7, 0.8, 0.3).tolist() == pytest.approx([0] * 4 + [0.3] * 3 + [0.8] * 5)
    with pytest.raises(ValueError, match="`structure` is 1.5"):
        layer_amounts(12, 7, 0.8, 1.5)


def test_strength_along_the_depth(source: FaceGenerator, faces: FaceLatent) -> None:
    assert depth_weights((4, 8, 16, 32, 64, 128), 0.1, 0.5, 0.9) == {
        4: 0.1,
        8: 0.1,
        16: 0.5,
        32: 0.5,
        64: 0.9,
        128: 0.9,
    }
    style = make_style_of(source)
    swapped = style_at_depth(source, style, coarse=0.0, middle=1.0, fine=1.0)
    wanted = blend_generators(source, style, {4: 0, 8: 0, 16: 1, 32: 1, 64: 1})
    assert torch.equal(synthesise(swapped, faces), synthesise(wanted, faces))
    assert style_at_depth(source, style, 0.0, 0.0, 0.0) is source
    with pytest.raises(ValueError, match="Connect the generator"):
        style_at_depth(None, style, fine=0.5)


def test_other_generators_are_refused(source: FaceGenerator, faces: FaceLatent) -> None:
    with pytest.raises(ValueError, match="different generators"):
        swap_appearance(faces, faces.replace(w_space="another"), torch.ones(10))
    with pytest.raises(ValueError, match="has the codes 0 to 9"):
        random_appearances(source, faces, [1], layer_cut=10)


def make_style_of(source: FaceGenerator) -> FaceGenerator:
    other = make_generator(seed=7, resolution=source.resolution)
    other.generator.mapping.load_state_dict(source.generator.mapping.state_dict())
    other.generator.mean_latent.copy_(source.mean_latent)
    return other.replace(style="ink")

"""Parameters, labels, landmarks and the renderer's arguments; `test_looks.py` has the looks."""

from __future__ import annotations

import pytest
import torch
from tolerances import GREY_LEVEL, assert_close

from facestylist.faces.align import crop_to_photo_from_landmarks
from facestylist.procedural import (
    LABEL_COLOURS,
    NUM_LABELS,
    Z_DIM,
    Label,
    Renderer,
    features,
    five_points,
    parameters_from_z,
    render,
    sample_parameters,
    sample_z,
    select,
)
from facestylist.procedural.parameters import concatenate, to_linear, to_srgb


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_seed_decides_the_faces(global_rng_untouched: None) -> None:
    first, again, other = (sample_parameters(5, seeded(s)) for s in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(features(first), features(other))
    one, two = (render(p, 48, supersample=1) for p in (first, again))
    assert torch.equal(one.image, two.image)
    assert torch.equal(one.labels, two.labels)
    assert torch.equal(one.landmarks, two.landmarks)


def test_a_face_does_not_depend_on_its_neighbours() -> None:
    """Ten faces are rendered as a full chunk and a padded one."""
    faces = sample_parameters(10, seeded(4))
    together = Renderer().render(faces, 48, supersample=1)
    alone = Renderer().render(select(faces, [9]), 48, supersample=1)
    assert together.image.shape[0] == 10
    # Rounding may move an outline by less than can be seen: half a level of -1..1.
    assert torch.allclose(together.image[9], alone.image[0], rtol=0, atol=GREY_LEVEL)
    assert torch.equal(together.labels[9], alone.labels[0])


def test_z_is_normalised_and_complete() -> None:
    z = sample_z(3, seeded(0))
    assert z.shape == (3, Z_DIM)
    assert_close(z.square().mean(1), torch.ones(3), 2 * Z_DIM)
    with pytest.raises(ValueError, match="columns"):
        parameters_from_z(z[:, :20])


def test_select_features_concatenate() -> None:
    faces = sample_parameters(6, seeded(7))
    rows = features(faces)
    assert rows.shape == (6, sum(v.shape[1] for v in faces.values()))
    joined = concatenate([select(faces, slice(0, 2)), select(faces, slice(2, 6))])
    pairs = ((select(faces, [4, 1]), rows[[4, 1]]), (select(faces, slice(2, 5)), rows[2:5]), (joined, rows))
    # A power is rounded differently within a vector of eight and in its remainder, so not to the last bit.
    for given, expected in pairs:
        assert_close(features(given), expected, 8)
    assert all(torch.equal(joined[name], value) for name, value in faces.items())
    colours = torch.rand(2, 3, generator=seeded(1))
    assert_close(to_linear(to_srgb(colours)), colours, 8)  # two powers


def test_every_class_appears_and_every_face_has_its_parts() -> None:
    assert len(LABEL_COLOURS) == NUM_LABELS == 14
    faces = sample_parameters(64, seeded(0))
    labels = Renderer().render(faces, 48, supersample=1).labels
    share = torch.stack([(labels == k).flatten(1).float().mean(1) for k in range(NUM_LABELS)], 1)
    assert (share.amax(0) > 0).all()
    assert (share[:, Label.EYE] > 0.002).all()
    assert (share[:, [Label.UPPER_LIP, Label.LOWER_LIP]].sum(1) > 0.001).all()
    assert (share[:, [Label.SKIN, Label.NOSE, Label.BEARD]].sum(1) > 0.10).all()
    assert (share[:, Label.BACKGROUND] > 0.05).all()
    assert torch.equal(share[:, Label.GLASSES] > 0, faces["glasses"][:, 0] > 0)
    assert (share[:, Label.HAIR][faces["bald"][:, 0] == 0] > 0.02).all()
    assert (share[:, Label.HAIR][faces["bald"][:, 0] > 0] == 0).all()


def test_pictures_are_ffhq_crops_of_their_own_landmarks() -> None:
    """Aligning a rendered face by its landmarks changes next to nothing."""
    rendered = Renderer().render(sample_parameters(4, seeded(8)), 64, supersample=1)
    crop_to_photo = crop_to_photo_from_landmarks(five_points(rendered.landmarks), 64)
    corners = torch.tensor([[0.0, 0, 1], [64, 0, 1], [0, 64, 1], [64, 64, 1]])
    moved = torch.einsum("nij,kj->nki", crop_to_photo, corners)
    assert (moved - corners[:, :2]).abs().max() < 0.10 * 64
    assert rendered.alpha.shape == (4, 64, 64)
    assert torch.equal(rendered.alpha == 0, rendered.labels == 0)


def test_size_scales_landmarks() -> None:
    faces = sample_parameters(2, seeded(9))
    small, large = (render(faces, size, supersample=1).landmarks for size in (32, 64))
    assert_close(small * 2, large, 4)


def test_arguments_that_cannot_be_rendered_are_refused_with_advice() -> None:
    faces = sample_parameters(1, seeded(0))
    with pytest.raises(ValueError, match="no look 'oil'.*photo, cartoon"):
        render(faces, 48, look="oil")
    for size in (50, 8, -4):
        with pytest.raises(ValueError, match="multiple of 4"):
            render(faces, size)
    with pytest.raises(ValueError, match="no faces"):
        render(select(faces, slice(0, 0)), 48)

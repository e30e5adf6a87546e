"""The stylised looks: same person, same truth, their own picture."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from tolerances import GREY_LEVEL, assert_close

from facestylist.core.filters import box_blur, dilate, luma, saturate, shift
from facestylist.procedural import LOOKS, Label, Rendered, Renderer, five_points, sample_parameters, select
from facestylist.procedural.labels import among, boundaries
from facestylist.procedural.parameters import FaceParameters

STYLISED = [name for name in LOOKS if name != "photo"]
SAME_GEOMETRY = ("impasto", "sketch")
LIPS = (Label.UPPER_LIP, Label.MOUTH, Label.LOWER_LIP)


@pytest.fixture(scope="module")
def crowd() -> FaceParameters:
    return sample_parameters(64, torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def people(crowd: FaceParameters) -> FaceParameters:
    """Two without glasses or moustache, and the two with the darkest skin."""
    plain = ((crowd["glasses"] == 0) & (crowd["moustache"] < 0.1))[:, 0].nonzero()[:2, 0]
    return select(crowd, torch.cat([plain, crowd["skin"].mean(1).argsort()[:2]]))


@pytest.fixture(scope="module")
def pictures(people: FaceParameters) -> dict[str, Rendered]:
    renderer = Renderer()
    return {look: renderer.render(people, 96, look, supersample=1) for look in LOOKS}


def distance_to(labels: torch.Tensor, points: torch.Tensor, classes: tuple[Label, ...]) -> torch.Tensor:
    """Pixels from every point `[K, 2]` to the nearest pixel (a unit square) of `classes` in a label map `[S, S]`."""
    y, x = among(labels, *classes).nonzero(as_tuple=True)
    dx = ((x[None] + 0.5 - points[:, :1]).abs() - 0.5).clamp(min=0)
    dy = ((y[None] + 0.5 - points[:, 1:]).abs() - 0.5).clamp(min=0)
    return (dx.square() + dy.square()).sqrt().min(1).values


def test_looks_come_in_their_order() -> None:
    assert tuple(LOOKS)[:5] == ("photo", "cartoon", "impasto", "sketch", "chibi")
    assert all(look.name == name and look.description.endswith(".") for name, look in LOOKS.items())


@pytest.mark.parametrize("look", LOOKS)
def test_pictures_are_finite_in_range_and_not_flat(pictures: dict[str, Rendered], look: str) -> None:
    rendered = pictures[look]
    assert rendered.image.shape == (4, 3, 96, 96)
    assert rendered.image.dtype == torch.float32
    assert torch.isfinite(rendered.image).all()
    assert rendered.image.abs().max() <= 1
    assert rendered.image.flatten(1).std(1).min() > 0.1
    assert rendered.labels.dtype == torch.uint8
    assert rendered.labels.max() <= max(Label)


@pytest.mark.parametrize("look", STYLISED)
def test_a_look_differs_from_the_photo(pictures: dict[str, Rendered], look: str) -> None:
    assert (pictures[look].image - pictures["photo"].image).abs().mean() > 0.08


@pytest.mark.parametrize("look", STYLISED)
def test_rendering_again_or_alone_gives_the_same_picture(
    pictures: dict[str, Rendered], people: FaceParameters, look: str, global_rng_untouched: None
) -> None:
    alone = Renderer().render(select(people, [1]), 96, look, supersample=1)
    # Rounding may move an outline by less than can be seen: half a level of -1..1.
    assert torch.allclose(alone.image[0], pictures[look].image[1], rtol=0, atol=GREY_LEVEL)
    assert torch.equal(alone.labels[0], pictures[look].labels[1])


@pytest.mark.parametrize("look", SAME_GEOMETRY)
def test_looks_that_keep_the_person_keep_labels_and_landmarks(pictures: dict[str, Rendered], look: str) -> None:
    assert torch.equal(pictures[look].labels, pictures["photo"].labels)
    assert torch.equal(pictures[look].landmarks, pictures["photo"].landmarks)


@pytest.mark.parametrize("look", [name for name in STYLISED if name not in SAME_GEOMETRY])
def test_looks_that_change_the_person_keep_who_it_is(pictures: dict[str, Rendered], look: str) -> None:
    ours, photo = pictures[look].labels, pictures["photo"].labels
    assert not torch.equal(ours, photo)
    for part in (Label.HAIR, Label.GLASSES):
        assert torch.equal((ours == part).flatten(1).any(1), (photo == part).flatten(1).any(1))
    both = ((ours == Label.HAIR) & (photo == Label.HAIR)).sum()
    assert both / ((ours == Label.HAIR) | (photo == Label.HAIR)).sum() > 0.45


def test_chibi_changes_proportions_strongly(pictures: dict[str, Rendered]) -> None:
    eyes = {look: (pictures[look].labels == Label.EYE).sum() for look in ("photo", "chibi")}
    nose_to_mouth = {
        look: (pictures[look].landmarks[:, 57, 1] - pictures[look].landmarks[:, 27, 1]).mean() for look in eyes
    }
    assert eyes["chibi"] > 2.5 * eyes["photo"]
    assert nose_to_mouth["chibi"] < 0.8 * nose_to_mouth["photo"]


@pytest.mark.parametrize("look", LOOKS)
def test_landmarks_lie_on_their_labels(pictures: dict[str, Rendered], look: str) -> None:
    rendered = pictures[look]
    for labels, landmarks in zip(rendered.labels[:2], rendered.landmarks[:2], strict=True):
        points = five_points(landmarks)
        # Label maps are sampled at pixel centres: a corner narrower than a pixel may be missing from them.
        limit = 0.04 * (points[1] - points[0]).norm() + 0.5
        assert distance_to(labels, landmarks[36:48], (Label.EYE,)).max() < limit
        assert distance_to(labels, points[:2], (Label.EYE,)).max() == 0
        assert distance_to(labels, landmarks[48:68], LIPS).max() < limit
        assert distance_to(labels, landmarks[30:31], (Label.NOSE,)).max() < limit


@pytest.mark.parametrize("look", LOOKS)
def test_dark_skin_keeps_its_features(pictures: dict[str, Rendered], look: str) -> None:
    for picture, labels in zip(pictures[look].image[2:], pictures[look].labels[2:], strict=True):
        bright = luma(picture[None] * 0.5 + 0.5)[0, 0]
        skin = bright[among(labels, Label.SKIN, Label.NOSE)].median()
        assert (bright[labels == Label.EYE] - skin).abs().mean() > 0.12
        assert (bright[among(labels, *LIPS)] - skin).abs().mean() > 0.04
        if look != "photo":  # where brows of the skin's own darkness may take its shine
            assert (bright[labels == Label.BROW] - skin).mean() < -0.015


@pytest.mark.parametrize("look", ("photo", "cartoon", "impasto", "sketch", "chibi"))
def test_darker_sitters_stay_darker(crowd: FaceParameters, look: str) -> None:
    order = crowd["skin"].mean(1).argsort()
    rendered = Renderer().render(select(crowd, order[[0, -1]]), 48, look, supersample=1)
    bright, on_skin = luma(rendered.image)[:, 0], rendered.labels == Label.SKIN
    assert bright[0][on_skin[0]].mean() + 0.2 < bright[1][on_skin[1]].mean()


def test_filters() -> None:
    ramp = torch.arange(5.0).expand(1, 1, 5, 5)
    assert shift(ramp, 1, 0)[0, 0, 0].tolist() == [0, 0, 1, 2, 3]
    assert shift(ramp, -2, 0)[0, 0, 0].tolist() == [2, 3, 4, 4, 4]
    assert shift(ramp.mT, 0, 1)[0, 0, :, 0].tolist() == [0, 0, 1, 2, 3]
    assert torch.allclose(box_blur(ramp, 1)[0, 0, 0], torch.tensor([1 / 3, 1, 2, 3, 11 / 3]))
    dot = torch.zeros(1, 1, 5, 5)
    dot[..., 2, 2] = 1
    assert dilate(dot, 1).sum() == 9
    assert boundaries(dot.long()).sum() == 5
    grey = torch.full((1, 3, 1, 1), 0.3)
    assert_close(saturate(grey, 2.0), grey, 8)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
@pytest.mark.skipif(not os.environ.get("FACESTYLIST_SLOW_TESTS"), reason="set FACESTYLIST_SLOW_TESTS=1: takes minutes")
@pytest.mark.parametrize("look", ("photo", "cartoon"))
def test_compiled_and_eager_agree(people: FaceParameters, look: str) -> None:
    eager = Renderer().render(people, 48, look, supersample=1)
    compiled = Renderer(compiled=True).render(people, 48, look, supersample=1)
    assert (eager.image - compiled.image).abs().mean() < GREY_LEVEL
    assert (eager.labels != compiled.labels).float().mean() < 1 / 48, "less than a pixel of each row"

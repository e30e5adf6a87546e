"""Strokes laid by rule: where they lie, and that tiles agree with the whole."""

from __future__ import annotations

import pytest
import torch
from tolerances import GREY_LEVEL

from facestylist.core.filters import box_blur
from facestylist.models import media
from facestylist.models.media.flat import kuwahara
from facestylist.models.media.flow import flow
from facestylist.models.media.strokes import lay_strokes, paper


def picture(height: int = 120, width: int = 150, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return box_blur(box_blur(noise, 4), 4) * 4


@pytest.mark.parametrize("medium", media.MEDIA)
def test_channels_and_range(medium: str) -> None:
    fields = media.medium_fields(medium, picture())
    assert fields.shape == (1, media.FIELDS[medium], 120, 150)
    assert torch.isfinite(fields).all()
    assert fields.numel() == 0 or fields.abs().max() < 4
    assert torch.equal(fields, media.medium_fields(medium, picture()))


def test_unknown_medium() -> None:
    with pytest.raises(ValueError, match="pencil, paint"):
        media.medium_fields("chalk", picture())


def test_paper_of_a_tile_is_that_of_the_whole() -> None:
    whole = paper(144, 192)
    assert torch.equal(paper(96, 96, (96, 48)), whole[:, :, 48:144, 96:192])


def test_strokes_of_a_tile_are_those_of_the_whole() -> None:
    large = picture(240, 288)
    whole = media.medium_fields("paint", large)
    part = media.medium_fields("paint", large[:, :, 48:240, 96:288], (96, 48))
    inside = (slice(None), slice(3, 4), slice(60, 130), slice(60, 130))
    same = (part[inside] - whole[:, :, 48:, 96:][inside]).abs() < GREY_LEVEL
    assert same.float().mean() > 0.9
    elsewhere = media.medium_fields("paint", large[:, :, 48:240, 96:288], (0, 0))
    assert ((elsewhere[inside] - part[inside]).abs() < GREY_LEVEL).float().mean() < 0.3


def test_flow_runs_along_an_edge() -> None:
    step = torch.zeros(1, 1, 60, 60)
    step[..., 30:] = 1
    direction, coherence = flow(step, 3)
    assert direction[0, 0, 30, 30].cos().abs() < 0.05  # an upright edge: the direction is vertical
    assert coherence[0, 0, 30, 30] > 0.8
    assert coherence[0, 0, 30, 3] < 0.3


def test_kuwahara_evens_out_noise_and_keeps_edges() -> None:
    clean = torch.zeros(1, 3, 60, 60)
    clean[..., 30:] = 1
    noisy = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    even = kuwahara(noisy, 4)
    assert (even - clean).abs().mean() < 0.5 * (noisy - clean).abs().mean()
    assert (even[..., 31] - even[..., 28]).mean() > 0.8


def test_small_features_survive_the_broad_brush() -> None:
    """Dots of four pixels on even ground: the fine brushes come where the broad strokes lose them."""
    guide = torch.full((1, 3, 96, 96), 0.4)
    places = [(y, x) for y in (20, 50, 74) for x in (20, 50, 74)]
    for y, x in places:
        guide[:, :, y - 2 : y + 2, x - 2 : x + 2] = -0.8
    canvas, _, fine = lay_strokes(guide, guide)
    seen = torch.stack([canvas[0, :, y - 1 : y + 1, x - 1 : x + 1].mean() for y, x in places])
    assert float(seen.mean()) < -0.3 and float(seen.max()) < 0.2
    assert float(fine.mean()) < 0.25
    plain = lay_strokes(guide * 0 + 0.4, guide * 0 + 0.4)
    assert float(plain[2].max()) == 0.0 and float((plain[0] - 0.4).abs().mean()) < 0.06

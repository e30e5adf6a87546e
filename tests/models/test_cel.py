"""The cartoon's medium: even areas between edges, tones in steps, ink along edges."""

from __future__ import annotations

import torch
from tolerances import GREY_LEVEL

from facestylist.models.media import cel


def two_halves(noise: float = 0.0) -> torch.Tensor:
    """A dark and a light half of 64 x 64, with noise."""
    picture = torch.full((1, 3, 64, 64), 0.3)
    picture[..., 32:] = 0.7
    return picture + noise * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))


def test_noise_goes_and_the_edge_stays() -> None:
    even = cel.even_areas(two_halves(0.04))
    inner = (..., slice(8, 56), slice(8, 24))
    assert even[inner].std() < 0.4 * two_halves(0.04)[inner].std()
    assert even[..., 35].mean() - even[..., 28].mean() > 0.36


def test_ink_runs_along_edges_alone() -> None:
    clean = two_halves()
    ink = cel.ink_lines(clean, cel.even_areas(clean))
    assert ink[..., 10:54, 28:33].amax(3).min() > 0.8
    assert ink[..., 8:20].max() < 0.05 and ink[..., 44:56].max() < 0.05
    assert ink[..., 10:54, 28:32].mean() > ink[..., 10:54, 32:36].mean(), "ink lies on the dark side"


def test_a_ramp_becomes_a_few_tones() -> None:
    ramp = torch.linspace(0.05, 0.95, 256).expand(1, 3, 64, -1)
    tones = cel.cut_tones(ramp)[0, 0, 32]
    steps = (tones[1:] - tones[:-1])[24:-24]
    assert (steps > -GREY_LEVEL / 2).float().mean() > 0.95
    assert steps.topk(len(steps) // 3).values.sum() > 0.6 * steps.sum(), "a third of the way does most of the rise"


def test_what_the_medium_adds() -> None:
    picture = torch.rand(2, 3, 40, 52, generator=torch.Generator().manual_seed(1)) * 2 - 1
    fields = cel.cel(picture)
    assert fields.shape == (2, 7, 40, 52) and fields.abs().max() <= 1.001
    # Rounding may move what is drawn by less than can be seen: half a level of -1..1.
    assert torch.allclose(fields[:1], cel.cel(picture[:1]), rtol=0, atol=GREY_LEVEL)
    dark = fields[:, 6:] > 0.5
    assert fields[:, cel.DRAWING].mean(1, keepdim=True)[dark].mean() < -0.5

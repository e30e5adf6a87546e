"""Latents of a video: one offset per person and shot, less flicker, nothing mixed between people."""

from __future__ import annotations

import pytest
import torch
from tolerances import assert_close

from facestylist.latents.smoothing import steady_latents
from facestylist.models.types import FaceLatent

FRAMES = torch.arange(20).repeat_interleave(2)
TRACK = torch.tensor([0, 1]).repeat(20)
DEPTH = 2 * 20 + 4
"""Roundings in a row: two means of 20 frames, taken off and added again."""


def shaky(num_ws: int = 12) -> FaceLatent:
    """Two people who turn slowly, with an error of their own in each frame."""
    generator = torch.Generator().manual_seed(0)
    person = torch.randn(2, num_ws, 4, generator=generator)[TRACK]
    turning = 0.02 * FRAMES[:, None, None] * torch.ones(1, num_ws, 4)
    return FaceLatent(person + turning + 0.3 * torch.randn(40, num_ws, 4, generator=generator), w_space="w")


def flicker(latent: FaceLatent, layers: slice = slice(None)) -> float:
    return float(latent.w_plus[0::2, layers].diff(n=2, dim=0).abs().mean())


def test_flicker_falls_and_everybody_stays_who_they_are() -> None:
    latent = shaky()
    steady = steady_latents(latent, FRAMES, TRACK, structure=0.8)
    assert steady.w_space == "w" and len(steady) == 40
    assert flicker(steady) < 0.1 * flicker(latent)
    assert flicker(steady, slice(7, None)) < 0.2 * flicker(steady, slice(0, 7)), "colours least of all"
    for person in (0, 1):
        before, after = (x.w_plus[person == TRACK].mean(0) for x in (latent, steady))
        assert_close(before, after, DEPTH)
    other = latent.replace(w_plus=torch.where((TRACK == 1)[:, None, None], latent.w_plus + 5, latent.w_plus))
    again = steady_latents(other, FRAMES, TRACK, structure=0.8)
    assert torch.equal(again.w_plus[0::2], steady.w_plus[0::2])


def test_the_amounts_go_from_the_mean_to_what_was_there() -> None:
    latent = shaky()
    same = steady_latents(latent, FRAMES, TRACK, 0, 1, 1)
    assert_close(same.w_plus, latent.w_plus, DEPTH)
    mean = steady_latents(latent, FRAMES, TRACK, 2, 0, 0)
    assert_close(mean.w_plus[0::2], latent.w_plus[0::2].mean(0).expand(20, -1, -1), DEPTH)
    mixed = steady_latents(latent, FRAMES, TRACK, 0, 1, 0, layer_cut=3)
    assert_close(mixed.w_plus[:, :3], latent.w_plus[:, :3], DEPTH)
    assert_close(mixed.w_plus[:, 3:], mean.w_plus[:, 3:], DEPTH)
    usual = steady_latents(latent, FRAMES, TRACK, 0, 1, 0)
    assert torch.equal(usual.w_plus, steady_latents(latent, FRAMES, TRACK, 0, 1, 0, layer_cut=7).w_plus)


def test_the_order_of_the_faces_does_not_matter() -> None:
    latent = shaky()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    mixed = steady_latents(latent.replace(w_plus=latent.w_plus[order]), FRAMES[order], TRACK[order])
    assert_close(mixed.w_plus, steady_latents(latent, FRAMES, TRACK).w_plus[order], DEPTH)


def test_one_grain_for_a_person() -> None:
    noise = (torch.randn(1, 1, 4, 4), torch.arange(40.0).reshape(40, 1, 1, 1).expand(40, 1, 4, 4).contiguous())
    errors = torch.full((40,), 0.5)
    errors[6], errors[9] = 0.1, 0.2
    steady = steady_latents(shaky().replace(noise=noise, reconstruction_error=errors), FRAMES, TRACK)
    assert steady.noise is not None and torch.equal(steady.noise[0], noise[0])
    assert steady.noise[1][:, 0, 0, 0].tolist() == [6, 9] * 20, "that of the frame inverted best"
    assert steady.reconstruction_error is None, "they are not those codes any more"


def test_what_does_not_belong_together_is_a_sentence() -> None:
    latent = shaky()
    with pytest.raises(ValueError, match="40 latents were given for 39 faces"):
        steady_latents(latent, FRAMES[1:], TRACK[1:])
    with pytest.raises(ValueError, match="`structure` is 1.5"):
        steady_latents(latent, FRAMES, TRACK, structure=1.5)
    with pytest.raises(ValueError, match="`layer_cut` is 12"):
        steady_latents(latent, FRAMES, TRACK, layer_cut=12)
    assert len(steady_latents(latent.replace(w_plus=latent.w_plus[:0]), FRAMES[:0], TRACK[:0])) == 0

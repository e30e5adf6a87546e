"""What holds for every IMAGE: there and back, transparency, pixels that are no numbers."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from facestylist.core.pictures import (
    alpha_of,
    are_numbers,
    finite,
    image_to_tensor,
    tensor_to_image,
    to_pil,
    with_alpha,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
sides = st.integers(1, 19)
BAD = (float("nan"), float("inf"), float("-inf"))
STEP = 2.0**-23
"""The rounding of a float32 between 1 and 2."""


def picture(seed: int, count: int, height: int, width: int, channels: int) -> Tensor:
    return torch.rand(count, height, width, channels, generator=torch.Generator().manual_seed(seed))


@quick
@given(st.integers(0, 99), st.integers(0, 3), sides, sides, st.sampled_from([1, 3]))
def test_there_and_back(seed: int, count: int, height: int, width: int, channels: int) -> None:
    image = picture(seed, count, height, width, channels)
    tensor = image_to_tensor(image)
    assert tensor.shape == (count, 3, height, width) and tensor.dtype == torch.float32
    # Doubled, shifted and back: two roundings of numbers below 2.
    assert torch.allclose(tensor_to_image(tensor), image.expand(-1, -1, -1, 3), rtol=0, atol=2 * STEP)
    for one in image:
        assert to_pil(one).size == (width, height)


@quick
@given(st.integers(0, 99), sides, sides)
def test_transparency_comes_back_and_what_nobody_sees_does_not_matter(seed: int, height: int, width: int) -> None:
    image = picture(seed, 1, height, width, 4)
    image[..., 3] = (image[..., 3] * 3).round() / 3
    wild = image.clone()
    wild[..., :3][image[..., 3] == 0] = BAD[seed % 3]
    assert torch.equal(image_to_tensor(wild), image_to_tensor(image))
    alpha = alpha_of(wild)
    assert alpha is not None
    back = with_alpha(tensor_to_image(image_to_tensor(wild)), alpha)
    assert torch.equal(back[..., 3], image[..., 3])
    seen = image[..., 3] > 0
    # Taking the white out divides the rounding by the alpha, which is at least a third.
    assert torch.allclose(back[..., :3][seen], image[..., :3][seen], rtol=0, atol=3 * 6 * STEP)
    assert bool(back.isfinite().all())


@quick
@given(st.integers(0, 99), sides, sides, st.integers(1, 40), st.sampled_from(BAD))
def test_pixels_that_are_no_numbers_are_filled_and_nothing_else(
    seed: int, height: int, width: int, bad: int, value: float
) -> None:
    clean = image_to_tensor(picture(seed, 2, height, width, 3))
    broken = clean.clone()
    places = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))[:bad]
    broken[1, seed % 3].view(-1)[places] = value
    repaired = finite(broken)
    good = are_numbers(broken).expand_as(clean)
    assert bool(repaired.isfinite().all())
    assert torch.equal(repaired[good], clean[good])
    if bool(good[1].any()):
        assert clean[1][good[1]].min() <= repaired[1].min() and repaired[1].max() <= clean[1][good[1]].max()


def test_a_picture_of_no_numbers_is_named() -> None:
    image = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    image[1] = float("nan")
    with pytest.raises(ValueError, match="Picture 2 of 3 holds no numbers"):
        image_to_tensor(image)


def test_repairing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    image = torch.full((2, 8, 8, 3), 0.25)
    image[1, 2:4, 2:4, 1] = float("inf")
    assert torch.equal(image_to_tensor(image), torch.full((2, 3, 8, 8), -0.5))
    assert "Picture 2 of 2 has 4 pixels that are no numbers" in caplog.text

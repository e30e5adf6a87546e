"""Numbers that tremble over time, made steady: as much smoothing as the noise calls for, and none where there is none.

Each moment is read off a parabola fitted to its neighbours under Gaussian weights (local polynomial regression: Fan and
Gijbels, "Local Polynomial Modelling and Its Applications", 1996; on even frames a Savitzky-Golay filter with soft
edges). It has no lag, and keeps steady speed and steady acceleration to the ends of a shot. A width that suits a
trembling detector would still round off a quick nod, so the width is not the user's but the data's: the noise is
measured in the fourth differences, in which movement all but vanishes, and of several widths each stretch of time takes
the one with the least expected error (Stein, "Estimation of the Mean of a Multivariate Normal Distribution", 1981).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LADDER = 2**0.5
"""From one width that is tried to the next."""
_NARROWEST = 0.7
"""Narrower than this, in frames, a parabola goes through every point and smooths nothing."""
_STRETCH = 10.0
"""Standard deviation in frames of the window over which an expected error is averaged before widths are compared."""
_LEAST = 8
"""Moments below which the noise cannot be told from the movement, and nothing is smoothed."""
_ROWS = 256
"""Moments that are smoothed at once, which bounds the memory that long shots take."""


def wide(values: Tensor) -> Tensor:
    """Values in double precision, on the CPU: they are few, and MPS has none."""
    return values.cpu().double()


def local_parabola(values: Tensor, times: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Values [T,C] at distinct times [T], each replaced by the parabola through its neighbourhood.

    Args:
        values: any numbers; angles must be unwrapped.
        times: in frames, with gaps where there are any.
        width: standard deviation of the Gaussian weights in frames, above 0.

    Returns:
        The values [T,C], parabolas in time unchanged; and the leverage [T], how much of each value is its own: 1 where
        nothing was smoothed.
    """
    given, when = wide(values), wide(times)
    rows, own = [], []
    for start in range(0, len(when), _ROWS):
        ahead = (when[None] - when[start : start + _ROWS, None]) / width
        weight = torch.exp(-0.5 * ahead.square())
        basis = torch.stack([torch.ones_like(ahead), ahead, ahead.square()], 2)
        moments = torch.einsum("rt,rti,rtj->rij", weight, basis, basis)
        # Where too few frames have weight for a parabola, the pseudo-inverse takes the line or the mean instead.
        first = torch.linalg.pinv(moments, rtol=1e-5, hermitian=True)[:, 0]
        share = weight * torch.einsum("ri,rti->rt", first, basis)
        rows.append(share @ given)
        own.append(share.diagonal(start) if start else share.diagonal())
    return torch.cat(rows).to(values), torch.cat(own).to(values)


def noise_variance(values: Tensor, times: Tensor) -> float:
    """Variance of the noise in values [T,C], taken together, from the fourth differences of successive frames.

    Of a movement with a period of p frames about (2 pi / p)^4 is left in them: a nod within a second of film leaves
    half a percent of its height. White noise is multiplied by 70 (the sum of the squares of 1, 4, 6, 4, 1).

    Returns:
        0 where there are too few moments in a row to tell.
    """
    if len(values) < _LEAST:
        return 0.0
    differences = wide(values).diff(n=4, dim=0)
    row = (times[4:] - times[:-4]).cpu() == 4
    return float(differences[row].square().mean()) / 70 if int(row.sum()) >= _LEAST - 4 else 0.0


def widths_up_to(most: float) -> list[float]:
    """The widths in frames that are compared, the widest is `most`."""
    if most < _NARROWEST:
        return []
    count = int(math.log(most / _NARROWEST) / math.log(_LADDER) + 1e-9)
    return [most / _LADDER**k for k in range(count, -1, -1)]


def smooth_series(values: Tensor, times: Tensor, most: float) -> Tensor:
    """Values [T,C] at increasing times [T], smoothed by as much as their noise calls for.

    Args:
        values: columns that tremble and move together, in one unit: x and y of a point, or an angle alone.
        times: in frames, whole numbers.
        most: the widest smoothing to consider, in frames; 0 returns the values.

    Returns:
        [T,C] in the values' precision.

    Raises:
        ValueError: `most` is no number from 0.
    """
    if not math.isfinite(most) or most < 0:
        raise ValueError(f"The smoothing is {most} frames; give a number from 0.")
    noise = noise_variance(values, times)
    widths = widths_up_to(most)
    if noise == 0 or not widths:
        return values
    given, when = wide(values), wide(times)
    tried, expected = [given], [torch.full_like(when, noise)]
    for width in widths:
        smooth, own = local_parabola(given, when, width)
        tried.append(smooth)
        # Stein's unbiased estimate of the squared error, for each moment.
        expected.append((smooth - given).square().mean(1) + noise * (2 * own - 1))
    window = torch.exp(-0.5 * ((when[None] - when[:, None]) / _STRETCH).square())
    window = window / window.sum(1, keepdim=True)
    best = (window @ torch.stack(expected, 1)).argmin(1)
    # The choice changes from stretch to stretch; a step in it would be a jump in the picture.
    level = window @ best.to(given.dtype)
    below = level.floor().long().clamp(max=len(tried) - 2)
    stack, row = torch.stack(tried), torch.arange(len(when))
    result = torch.lerp(stack[below, row], stack[below + 1, row], (level - below)[:, None])
    return result.to(values)

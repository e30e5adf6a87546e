"""Random numbers that follow from a seed and a step's number alone, so that a resumed run draws what it would have."""

from __future__ import annotations

import torch

RANGE = 2**63


def at_step(seed: int, step: int) -> torch.Generator:
    """The generator of step `step` (from -1) of a run with any seed 0..2^63 - 1."""
    # torch takes 64 bits: the seed's upper half is folded into the place of the lower, and the step stands below.
    return torch.Generator().manual_seed((((seed << 32) ^ seed >> 31) + step) % RANGE)

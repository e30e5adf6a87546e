"""Choices and values that settings of several trainings share."""

from __future__ import annotations

AUTOMATIC = -1
"""The value of `r1_gamma` and `freeze_d_blocks` that stands for "derive it from resolution and batch size"."""
SCHEDULES = ("cosine", "constant", "ramp_up")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

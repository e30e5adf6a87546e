"""Rendered faces with exact landmarks, label maps and stylised twins."""

from __future__ import annotations

from .labels import LABEL_COLOURS, NUM_LABELS, Label
from .landmarks import five_points
from .looks import LOOKS
from .parameters import Z_DIM, FaceParameters, features, parameters_from_z, sample_parameters, sample_z, select
from .renderer import Rendered, Renderer, can_compile, render

__all__ = [
    "LABEL_COLOURS",
    "LOOKS",
    "NUM_LABELS",
    "Z_DIM",
    "FaceParameters",
    "Label",
    "Rendered",
    "Renderer",
    "can_compile",
    "features",
    "five_points",
    "parameters_from_z",
    "render",
    "sample_parameters",
    "sample_z",
    "select",
]

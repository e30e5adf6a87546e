"""`model_ir_se50.pth`: the ArcFace embedding network as pSp, e4e and others publish it, a bare state dict."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...irse import arcface_config
from ..contents import Contents, Weights
from ..state_dicts import find_state

FAMILY = "arcface"
ENTRIES = ("state_dict", "model", "backbone")
MARKS = ("input_layer.0.weight", "output_layer.3.weight")


def detect(contents: Contents) -> bool:
    """Whether the file holds an embedding network."""
    return _state(contents.data) is not None


def read(contents: Contents) -> Weights:
    """The embedding network; its names are ours."""
    state = _state(contents.data) or {}
    return Weights(family=FAMILY, embedding=(arcface_config(state), state))


def _state(data: Any) -> dict[str, Tensor] | None:
    """The file's tensors by name, without the prefixes of DataParallel and of a loss that holds the network."""
    return find_state(data, MARKS, ENTRIES)

"""`model_ir_se50.pth`: the ArcFace embedding network as pSp, e4e and others publish it, a bare state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..irse import arcface_config
from .contents import Contents, Weights

FAMILY = "arcface"
MARKS = ("input_layer.0.weight", "output_layer.3.weight")


def detect(contents: Contents) -> bool:
    """Whether the file holds an embedding network."""
    return all(mark in _state(contents.data) for mark in MARKS)


def read(contents: Contents) -> Weights:
    """The embedding network; its names are ours."""
    state = _state(contents.data)
    return Weights(family=FAMILY, embedding=(arcface_config(state), state))


def _state(data: Any) -> dict[str, Tensor]:
    """The file's tensors by name, without the prefixes of DataParallel and of a loss that holds the network."""
    if not isinstance(data, Mapping):
        return {}
    state = data.get("state_dict", data)
    if not isinstance(state, Mapping):
        return {}
    return {
        str(name).removeprefix("module.").removeprefix("facenet."): tensor
        for name, tensor in state.items()
        if isinstance(tensor, Tensor)
    }

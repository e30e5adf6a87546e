"""StyleGAN-nada's styles: a rosinality generator under `g_ema`, with its optimiser's state and no discriminator."""

from __future__ import annotations

from collections.abc import Mapping

from ..contents import Contents, Weights
from . import rosinality

FAMILY = "stylegan_nada"
TRAINING_ENTRIES = ("g", "d", "args")
"""What a training file of rosinality has besides."""


def detect(contents: Contents) -> bool:
    """Whether the file holds `g_ema` and `g_optim`, and is no training file of rosinality."""
    data = contents.data
    if not isinstance(data, Mapping) or not {"g_ema", "g_optim"} <= set(data):
        return False
    return not any(entry in data for entry in TRAINING_ENTRIES) and rosinality.find_generator(data) is not None


def read(contents: Contents) -> Weights:
    """The generator under our names; the optimiser's state is left where it is."""
    state = rosinality.find_generator(contents.data)
    assert state is not None  # noqa: S101 - `detect` has seen it
    config, tensors = rosinality.read_generator(state)
    mean = rosinality.mean_latent(contents.data, state, config.w_dim)
    return Weights(family=FAMILY, generator=(config, tensors), mean_latent=mean)

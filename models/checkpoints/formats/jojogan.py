"""JoJoGAN's styles: a rosinality generator under `g` alone, with neither a discriminator nor an averaged generator."""

from __future__ import annotations

from collections.abc import Mapping

from ..contents import Contents, Weights
from ..state_dicts import tensors_of
from . import rosinality

FAMILY = "jojogan"
TRAINING_ENTRIES = ("g_ema", "d", "args")
"""What a training file of rosinality has beside `g`."""


def detect(contents: Contents) -> bool:
    """Whether the file is a mapping with a generator under `g`, and is no training file."""
    data = contents.data
    if not isinstance(data, Mapping) or any(entry in data for entry in TRAINING_ENTRIES):
        return False
    return rosinality.GENERATOR_MARK in tensors_of(data.get("g"))


def read(contents: Contents) -> Weights:
    """The generator under our names. JoJoGAN keeps the mapping of its source, so both share their W."""
    state = tensors_of(contents.data["g"])
    config, tensors = rosinality.read_generator(state)
    mean = rosinality.mean_latent(contents.data, state, config.w_dim)
    return Weights(family=FAMILY, generator=(config, tensors), mean_latent=mean)

"""DualStyleGAN: a rosinality generator as `generator.*`, and beside it an extrinsic path (`style.*`, `res.*`).

Only the inner generator is read. At an extrinsic weight of zero DualStyleGAN draws exactly what it draws.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..contents import Contents, Weights
from ..state_dicts import mappings, tensors_of
from . import rosinality

FAMILY = "dualstylegan"
ENTRIES = ("g_ema", "g", "state_dict")
INNER = "generator."
EXTRINSIC_MARK = "res.0.conv.0.weight"
NOTE = (
    "the inner generator of DualStyleGAN; its extrinsic style path (style.*, res.*) is not used, so reference styles "
    "of DualStyleGAN do not appear"
)


def detect(contents: Contents) -> bool:
    """Whether the file holds an inner generator and an extrinsic path."""
    return _state(contents.data) is not None


def read(contents: Contents) -> Weights:
    """The inner generator under our names, and the discriminator of a training file."""
    state = _state(contents.data) or {}
    inner = {name.removeprefix(INNER): tensor for name, tensor in state.items() if name.startswith(INNER)}
    config, tensors = rosinality.read_generator(inner)
    discriminator = rosinality.find_discriminator(contents.data)
    return Weights(
        family=FAMILY,
        generator=(config, tensors),
        discriminator=None if discriminator is None else rosinality.read_discriminator(discriminator),
        mean_latent=rosinality.mean_latent(contents.data, inner, config.w_dim),
        metadata={"not_used": NOTE},
    )


def _state(data: Any) -> dict[str, Tensor] | None:
    for mapping in mappings(data, ENTRIES):
        state = tensors_of(mapping)
        if INNER + rosinality.GENERATOR_MARK in state and EXTRINSIC_MARK in state:
            return state
    return None

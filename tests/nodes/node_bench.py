"""Tiny networks that stand in for the shipped ones, and a way to run a node as ComfyUI does."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor, nn

from facestylist.core.settings import fields_of
from facestylist.faces.types import Detection
from facestylist.models.discriminator import Discriminator, DiscriminatorConfig
from facestylist.models.generator import Generator, GeneratorConfig
from facestylist.models.types import FaceGenerator
from facestylist.nodes import NODE_CLASS_MAPPINGS

RESOLUTION = 32
INFERENCE = True
"""As in ComfyUI; tensors that pretend to lie elsewhere know nothing of it."""


class ConstantEncoder(nn.Module):
    """Answers with latents that depend on the picture's mean colour only."""

    def __init__(self, num_ws: int, w_dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_ws, w_dim))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None, None] * self.scale


class FixedDetector:
    """Finds the same faces in every photo that is not black."""

    def __init__(self, *centres: tuple[float, float]) -> None:
        self.centres = centres

    def find(self, photo: Tensor, min_confidence: float) -> list[Detection]:
        if float(photo.max()) <= -1.0:
            return []
        return [self._face(x, y) for x, y in self.centres]

    def _face(self, x: float, y: float) -> Detection:
        offsets = torch.tensor([[-5.0, -4.0], [5.0, -4.0], [0.0, 0.0], [-4.0, 6.0], [4.0, 6.0]])
        return Detection(torch.tensor([x - 10, y - 12, x + 10, y + 12]), offsets + torch.tensor([x, y]), 0.9)


def build_generator(seed: int) -> FaceGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = Generator(GeneratorConfig.make(RESOLUTION, 512, 16, z_dim=8, w_dim=8, mapping_layers=2))
        discriminator = Discriminator(DiscriminatorConfig(RESOLUTION, generator.config.channels))
    return FaceGenerator(generator.requires_grad_(False), discriminator.requires_grad_(False))


def run_node(name: str, /, **given: Any) -> Any:
    """Runs a node as ComfyUI does: in inference mode, its own defaults for every widget that is not given. What is a
    line of its `settings` may be given by its name.

    Returns what the node puts on its sockets, without what it shows.
    """
    node = NODE_CLASS_MAPPINGS["FaceStylist" + name]
    types = node.INPUT_TYPES()  # type: ignore[attr-defined]
    values = {}
    for key, (kind, options) in {**types["required"], **types.get("optional", {})}.items():
        if key in given:
            values[key] = given.pop(key)
        elif isinstance(kind, list) or "default" in options:
            values[key] = options.get("default", kind[0] if isinstance(kind, list) else None)
    lines = [spec.name for spec in fields_of(node.CONFIG) if spec.place == "text"] if hasattr(node, "CONFIG") else []
    written = [f"{key} = {json.dumps(given.pop(key))}" for key in lines if key in given]
    if written:
        values["settings"] = "\n".join(written)
    assert not given, f"{name} has no input {', '.join(given)}"
    with torch.inference_mode(INFERENCE), torch.no_grad():
        result = getattr(node(), node.FUNCTION)(**values)  # type: ignore[attr-defined]
    return result["result"] if isinstance(result, dict) else result

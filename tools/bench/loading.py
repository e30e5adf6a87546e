"""Files of generators as other projects write them, and what loading one takes.

They are made from random weights of the published sizes (config-f), 1.3 GB in all at 1024 px. Each is loaded from the
system's cache, in a process of its own that has loaded a small network before; what stays of the peak is the network.
"""

from __future__ import annotations

import argparse
import json
import pickle  # noqa: S403 - to write files as others write them
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...models.checkpoints import load_generator, save_generator
from ...models.checkpoints.export import to_rosinality
from ...models.checkpoints.formats import nvidia
from ...models.discriminator import Discriminator, DiscriminatorConfig
from ...models.generator import Generator, GeneratorConfig
from ...models.ops import fir_kernel
from ...models.types import FaceGenerator
from .speed import memory, start_of_peak

MOST_SECONDS = 3.0
MOST_MEMORY = {".pt": 1.5, ".safetensors": 1.5, ".pkl": 2.5}
"""What loading may take: by the wall clock, and in sizes of the file."""


def make_networks(size: int) -> FaceGenerator:
    """A generator and a discriminator of the published widths with random weights."""
    with torch.random.fork_rng(devices=()):
        generator = Generator(GeneratorConfig.make(size))
        discriminator = Discriminator(DiscriminatorConfig.make(size))
    return FaceGenerator(generator.eval(), discriminator.eval())


def write_converted(networks: FaceGenerator, path: Path) -> None:
    """As rosinality's converter writes it: the generator and its mean latent."""
    torch.save(to_rosinality(networks.replace(discriminator=None)), path)


def write_training(networks: FaceGenerator, path: Path) -> None:
    """As rosinality's training writes it, without the optimisers' state."""
    content = to_rosinality(networks)
    twin = {name: tensor.clone() for name, tensor in content["g_ema"].items()}
    torch.save({"g": twin, "d": content["d"], "g_ema": content["g_ema"], "args": argparse.Namespace(size=1024)}, path)


def write_legacy(networks: FaceGenerator, path: Path) -> None:
    """The converter's file in the layout that torch.save had before 1.6."""
    content = to_rosinality(networks.replace(discriminator=None))
    torch.save(content, path, _use_new_zipfile_serialization=False)


class _Persistent:
    """Pickles as a network of NVIDIA's does."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.state: dict[str, Any] = {"_parameters": {}, "_buffers": {}, "_modules": {}}

    def at(self, name: str) -> _Persistent:
        """The sub-module of this dotted name, made where there is none."""
        module = self
        for part in name.split(".") if name else ():
            module = module.state["_modules"].setdefault(part, _Persistent("Module"))
        return module

    def put(self, name: str, tensor: torch.Tensor, group: str = "_parameters") -> None:
        parent, _, last = name.rpartition(".")
        value = nn.Parameter(tensor.clone()) if group == "_parameters" else tensor.clone()
        self.at(parent).state[group][last] = value

    def __reduce__(self) -> tuple[Any, ...]:
        meta = {"type": "class", "version": 6, "module_src": "#", "class_name": self.class_name, "state": self.state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,)


def write_nvidia(networks: FaceGenerator, path: Path) -> None:
    """As stylegan2-ada-pytorch writes it: G, D and G_ema."""
    package, module = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")

    def reconstruct(meta: Any) -> None:
        return None

    reconstruct.__module__, reconstruct.__qualname__ = module.__name__, "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = reconstruct  # type: ignore[attr-defined]
    sys.modules.update({"torch_utils": package, "torch_utils.persistence": module})
    config = networks.generator.config
    generators = []
    for _ in range(2):
        record = _Persistent("Generator")
        state = networks.generator.state_dict()
        for ours, theirs in nvidia.generator_names(config.resolution, config.mapping_layers, False):
            record.put(theirs, state[ours], "_buffers" if "noise_const" in theirs else "_parameters")
        record.put("mapping.w_avg", networks.mean_latent, "_buffers")
        for r in config.resolutions:
            for layer in ("conv1",) if r == 4 else ("conv0", "conv1"):
                record.put(f"synthesis.b{r}.{layer}.resample_filter", fir_kernel(), "_buffers")
        generators.append(record)
    critic = _Persistent("Discriminator")
    if networks.discriminator is not None:
        state = networks.discriminator.state_dict()
        for ours, theirs in nvidia.discriminator_names(config.resolution, 0):
            critic.put(theirs, state[ours])
    with path.open("wb") as file:
        pickle.dump({"G": generators[0], "D": critic, "G_ema": generators[1], "augment_pipe": None}, file)


def write_ours(networks: FaceGenerator, path: Path) -> None:
    """As Save Face Generator writes it at full precision."""
    save_generator(networks, path)


FORMATS: dict[str, tuple[str, Callable[[FaceGenerator, Path], None]]] = {
    "rosinality, converted": ("converted.pt", write_converted),
    "rosinality, converted, legacy layout": ("legacy.pt", write_legacy),
    "rosinality, training (g, d, g_ema)": ("training.pt", write_training),
    "NVIDIA (G, D, G_ema)": ("network.pkl", write_nvidia),
    "ours (generator, discriminator)": ("ours.safetensors", write_ours),
}


def load_once(path: Path) -> dict[str, float | None]:
    """Loads a file in this process: `seconds` of the processor, `wall_seconds`, and the rise of its `peak` in bytes."""
    load_generator("rendered")
    before, wall, processor = start_of_peak(), time.perf_counter(), time.process_time()
    loaded = load_generator(path)
    seconds = {"seconds": time.process_time() - processor, "wall_seconds": time.perf_counter() - wall}
    assert loaded.resolution  # noqa: S101 - it is still there when memory is read
    after = memory("VmHWM")
    return {**seconds, "peak": None if before is None or after is None else after - before}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(load_once(Path(sys.argv[1]))))

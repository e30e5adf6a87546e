"""Writes files as other projects write them, from our own random networks."""

from __future__ import annotations

import pickle
import sys
import types
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from facestylist.models.checkpoints.formats import nvidia
from facestylist.models.ops import fir_kernel
from facestylist.models.types import FaceGenerator


class FakeModules:
    """Puts attributes into modules of any name, so that pickles can refer to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def put(self, module: str, name: str, value: Any) -> Any:
        value.__module__, value.__qualname__, value.__name__ = module, name, name
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            path = ".".join(parts[:i])
            self.monkeypatch.setitem(sys.modules, path, sys.modules.get(path) or types.ModuleType(path))
        self.monkeypatch.setattr(sys.modules[module], name, value, raising=False)
        return value


class Persistent:
    """Pickles as the official code pickles a network: a call of the function that would execute the source text."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": "import pathlib; pathlib.Path('source-was-run').touch()",
            "class_name": class_name,
            "state": state,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


class Tree(dict[str, Any]):
    """A nested record of modules, filled by dotted names."""

    def at(self, name: str) -> Tree:
        """The module of this dotted name, made where there is none."""
        tree = self
        for part in name.split("."):
            tree = tree.setdefault("_modules", {}).setdefault(part, Tree())
        return tree

    def put(self, name: str, tensor: Tensor, buffer: bool) -> None:
        parent, _, last = name.rpartition(".")
        tree = self.at(parent) if parent else self
        group = tree.setdefault("_buffers" if buffer else "_parameters", {})
        group[last] = tensor if buffer else nn.Parameter(tensor)

    def persistent(self, class_name: str = "Module") -> Persistent:
        modules = {name: tree.persistent() for name, tree in self.get("_modules", {}).items()}
        return Persistent(class_name, {**self, "_modules": modules, "_non_persistent_buffers_set": set()})


def nvidia_pickle(
    original: FaceGenerator,
    fake: FakeModules,
    protocol: int = 4,
    old_numpy: bool = False,
    nested: bool = True,
    **attributes: Any,
) -> bytes:
    """`{G, D, G_ema, ...}` as stylegan2-ada-pytorch saves it.

    Args:
        original: the networks; the generator's condition, clamp and architecture are written as they are.
        fake: where the official classes are put while it is pickled.
        protocol: of pickle.
        old_numpy: numpy's scalars under the name they had before numpy 2.
        nested: synthesis_kwargs as ada has them; False: flat, as the stylegan3 repository has.
        attributes: further attributes of the 4x4 synthesis block.
    """
    generator = nvidia_tree(original, fake, nested, **attributes)
    options_class = sys.modules["dnnlib.util"].EasyDict
    assert original.discriminator is not None
    config = original.generator.config
    discriminator = Tree()
    theirs = original.discriminator.state_dict()
    layers = 0 if original.discriminator.mapping is None else 8
    for name, native in nvidia.discriminator_names(config.resolution, layers):
        discriminator.put(native, theirs[name].clone(), False)
    discriminator.at("b4.mbstd").update(group_size=4, num_channels=1)
    discriminator.at(f"b{config.resolution}.conv0")["conv_clamp"] = original.discriminator.config.conv_clamp
    data = pickle.dumps(
        {
            "G": None,
            "D": discriminator.persistent("Discriminator"),
            "G_ema": generator.persistent("Generator"),
            "training_set_kwargs": options_class(num_gpus=1),
            "augment_pipe": None,
        },
        protocol,
    )
    if old_numpy:
        new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
        data = data.replace(b"c" + new, b"c" + old).replace(b"\x8c\x16" + new, b"\x8c\x15" + old)
    return data


def nvidia_tree(original: FaceGenerator, fake: FakeModules, nested: bool = True, **attributes: Any) -> Tree:
    """The generator as a record of modules; arguments as in `nvidia_pickle`."""
    fake.put("torch_utils.persistence", "_reconstruct_persistent_obj", lambda meta: None)
    options_class = fake.put("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {}))
    config = original.generator.config
    synthesis = {"channel_base": 32768, "conv_clamp": config.conv_clamp, "architecture": config.architecture}
    asked = {"synthesis_kwargs": options_class(synthesis)} if nested else synthesis
    generator = Tree(z_dim=config.z_dim, w_dim=config.w_dim, c_dim=config.c_dim, _init_kwargs=options_class(asked))
    ours = original.generator.state_dict()
    names = nvidia.generator_names(config.resolution, config.mapping_layers, bool(config.c_dim), config.architecture)
    for name, native in names:
        generator.put(native, ours[name].clone(), "noise_const" in native)
    generator.put("mapping.w_avg", original.mean_latent, True)
    for i in range(config.mapping_layers):
        generator.at(f"mapping.fc{i}")["bias_gain"] = np.float64(config.mapping_lr_multiplier)
    for r in config.resolutions:
        block = generator.at(f"synthesis.b{r}")
        block.update(architecture=config.architecture, resolution=r)
        for layer in ("conv1",) if r == 4 else ("conv0", "conv1"):
            block.at(layer).update(conv_clamp=config.conv_clamp, activation="lrelu", act_gain=np.float64(2**0.5))
            block.put(f"{layer}.resample_filter", fir_kernel(), True)
    generator.at("synthesis.b4").update(attributes)

    return generator

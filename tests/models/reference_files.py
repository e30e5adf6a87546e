"""Networks of public implementations with seeded random weights, and what those make of them: tests/goldens/README.md.

With the environment variable FACESTYLIST_REFERENCE at a folder of files that the implementations themselves wrote, such
as `nv_g64_narrow.pkl`, whatever reads a file rebuilt here reads those, too.
"""

from __future__ import annotations

import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_files import FakeModules, Tree
from torch import Tensor

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"
ORIGINALS = Path(os.environ.get("FACESTYLIST_REFERENCE", os.devnull))
ORIGINS = ["rebuilt", "original"] if (ORIGINALS / "nv_g64_narrow.pkl").is_file() else ["rebuilt"]
BUFFERS = ("resample_filter", "noise_const", "w_avg")

EXACTNESS = 1e-4
"""Of the largest value: what is asked of every format that is read, whatever the network's depth."""


def assert_close(ours: Tensor, reference: Tensor) -> None:
    assert (ours - reference).abs().max() <= EXACTNESS * reference.abs().max()


def description(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((GOLDENS / f"{case}.json").read_text(encoding="utf-8"))
    return content


def tensors(case: str) -> dict[str, Tensor]:
    """Every tensor of a case under its implementation's name; the same bits everywhere, as RandomState's are."""
    return {name: _tensor(f"{case}/{name}", *row) for name, row in description(case)["tensors"].items()}


def _tensor(seed: str, shape: list[int], kind: str, *values: Any) -> Tensor:
    if kind not in ("normal", "half-normal"):
        return torch.tensor(values[0], dtype=getattr(torch, kind)).reshape(shape)
    mean, std = values
    drawn = np.random.RandomState(zlib.crc32(seed.encode()) & 0x7FFFFFFF).standard_normal(shape)
    drawn = mean + std * (np.abs(drawn) if kind == "half-normal" else drawn)
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32))


def outputs(case: str) -> dict[str, Tensor]:
    """Inputs and the implementation's outputs."""
    with np.load(GOLDENS / f"{case}.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def on_meta(name: str) -> dict[str, Tensor]:
    """Tensors of a public network's names and shapes, without values."""
    shapes = json.loads((GOLDENS / "shapes" / f"{name}.json").read_text(encoding="utf-8"))
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def write(name: str, folder: Path, fake: FakeModules) -> Path:
    """A file as the implementation writes it: `nv_g64_narrow.pkl`, `ros_g64_cm1.pt` and the other generators and
    discriminators.
    """
    case = name.partition(".")[0]
    state, path = tensors(case), folder / name
    if case.startswith("nv"):
        path.write_bytes(_nvidia(case, state, fake))
    elif case.startswith("ros_d"):
        torch.save({"d": state}, path)
    else:
        torch.save({"latent_avg": state.pop("__latent_avg__"), "g_ema": state}, path)
    return path


def _nvidia(case: str, state: dict[str, Tensor], fake: FakeModules) -> bytes:
    """`{G, D, G_ema, ...}` with the attributes of stylegan2-ada-pytorch's modules that say how they compute."""
    fake.put("torch_utils.persistence", "_reconstruct_persistent_obj", lambda meta: None)
    options_class = fake.put("dnnlib.util", "EasyDict", type("EasyDict", (dict,), {}))
    asked = [options_class(description(name)["init_kwargs"]) for name in (case, f"{case}_D")]
    generator, discriminator = _modules(state), _modules(tensors(f"{case}_D"))
    generator.update(z_dim=64, c_dim=0, w_dim=64, img_resolution=64, _init_kwargs=asked[0])
    for name, layer in generator.at("mapping")["_modules"].items():
        assert name.startswith("fc")
        layer.update(activation="lrelu", weight_gain=0.00125, bias_gain=0.01)
    for block in generator.at("synthesis")["_modules"].values():
        block.update(architecture="skip", use_fp16=False)
    discriminator.update(c_dim=0, img_resolution=64, _init_kwargs=asked[1])
    for block in discriminator["_modules"].values():
        block.update(architecture="resnet")
    discriminator.at("b4.mbstd").update(group_size=4, num_channels=1)
    content = {
        "G": generator.persistent("Generator"),
        "D": discriminator.persistent("Discriminator"),
        "G_ema": generator.persistent("Generator"),
        "augment_pipe": Tree(xflip=1.0, imgfilter_bands=[1, 1, 1, 1]).persistent("AugmentPipe"),
        "training_set_kwargs": options_class(path="x.zip", xflip=True, resolution=64),
    }
    return pickle.dumps(content, 4)


def _modules(state: dict[str, Tensor]) -> Tree:
    tree = Tree()
    for name, tensor in state.items():
        parent, _, last = name.rpartition(".")
        tree.put(name, tensor, last in BUFFERS)
        if parent.rpartition(".")[2] in ("conv0", "conv1", "conv", "fromrgb"):
            tree.at(parent).update(activation="lrelu", conv_clamp=None, act_gain=np.float64(2**0.5))
    return tree

"""Networks that only judge pictures: LPIPS, DINO and DINOv2, BiSeNet, each from the files that their authors publish.

They are read as every other checkpoint is: nothing in a file is executed, and a network is built once its tensors are
known to fit. Which files there are and where to get them: docs/training.md#guides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bisenet import BiSeNet, bisenet_config
from ..dinov2 import Vit, vit_config
from ..lpips import BACKBONES, Lpips, LpipsConfig, convolution_indices
from .build import build_network, check_config, outside_inference_mode
from .errors import CheckpointError, in_words
from .reader import read_contents
from .state_dicts import tensors_of
from .tensors import MappedFile

LINEAR_STAGES = 5
LPIPS_SLICES = {
    # lpips keeps the backbone in slices and torchvision's index within them.
    "vgg": {0: 1, 2: 1, 5: 2, 7: 2, 10: 3, 12: 3, 14: 3, 17: 4, 19: 4, 21: 4, 24: 5, 26: 5, 28: 5},
    "alex": {0: 1, 3: 2, 6: 3, 8: 4, 10: 5},
}
DINO_BLOCK = {
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "ls1.gamma": "scale1",
    "ls2.gamma": "scale2",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "mlp.w12": "fc1",
    "mlp.w3": "fc2",
}
TRANSFORMERS_BLOCK = {
    "attention.output.dense": "proj",
    "attention.o_proj": "proj",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "mlp.weights_in": "fc1",
    "mlp.weights_out": "fc2",
}
TRANSFORMERS_QKV = (
    tuple(f"attention.attention.{part}" for part in ("query", "key", "value")),
    tuple(f"attention.{part}_proj" for part in "qkv"),  # from its version 5 on
)
State = dict[str, Tensor]


def load_lpips(backbone: str | Path, linear: str | Path | None = None) -> Lpips:
    """LPIPS with VGG16 or AlexNet, told from the file; on the CPU, float32, in eval mode, not trainable.

    backbone  torchvision's `vgg16-397923af.pth` or `alexnet-owt-7be5be79.pth` (also as timm saves them), or the whole
              state dict of an `lpips.LPIPS`.
    linear    lpips' `vgg.pth` or `alex.pth`; may be None where `backbone` is the whole.

    Raises:
        CheckpointError: a file cannot be used, or the two do not belong together.
    """
    file, state, mapped = _read(backbone)
    kind, features = _lpips_features(state)
    if kind is None:
        raise CheckpointError(
            f"{file}: it holds {_described(state)}, not the convolutions of VGG16 or AlexNet. Choose torchvision's "
            "`vgg16-397923af.pth` or `alexnet-owt-7be5be79.pth`."
        )
    linear_file, weights = file, lpips_linear_layers(state)
    if weights is None:
        if linear is None:
            raise CheckpointError(
                f"{file}: it holds the convolutions alone. Choose LPIPS' linear layers, `{kind}.pth` of lpips, too."
            )
        linear_file, linear_state, _ = _read(linear)
        weights = lpips_linear_layers(linear_state)
        if weights is None:
            raise CheckpointError(
                f"{linear_file}: it holds {_described(linear_state)}, not the linear layers of LPIPS. Choose "
                f"`{kind}.pth` of lpips (`lpips/weights/v0.1`)."
            )
    indices = convolution_indices(kind)
    with in_words(file):
        config = LpipsConfig(kind, tuple(features[f"features.{index}.weight"].shape[0] for index in indices))
        check_config(config)
    ends = stage_widths(config)
    found = [weight.numel() for weight in weights]
    if ends != found:
        raise CheckpointError(
            f"{linear_file}: its linear layers have {found} channels, where {ends} belong; they are another "
            f"backbone's. Take `{kind}.pth` of lpips."
        )
    state = {**features, **{f"lin.{stage}": weight for stage, weight in enumerate(weights)}}
    return _built(lambda: Lpips(config), state, file, mapped)


def lpips_linear_layers(state: Mapping[str, Tensor]) -> list[Tensor] | None:
    """The five linear layers of LPIPS, `[1, C, 1, 1]` each, or None where a state dict has none (or SqueezeNet's)."""
    weights = [state.get(f"lin{stage}.model.1.weight") for stage in range(LINEAR_STAGES)]
    if "lin5.model.1.weight" in state or any(weight is None for weight in weights):
        return None
    return [weight for weight in weights if weight is not None]


def stage_widths(config: LpipsConfig) -> list[int]:
    """Channels of each compared feature map."""
    slices = LPIPS_SLICES[config.backbone]
    last = {slices[index]: width for index, width in zip(slices, config.widths, strict=True)}
    return [last[stage] for stage in sorted(last)]


def find_lpips_linear(backbone: str | Path, places: list[Path]) -> Path | None:
    """The first of the files in `places` that holds the linear layers of this backbone, None where none does.

    Only small files are opened: the layers are a few kilobytes.

    Raises:
        CheckpointError: the backbone's file cannot be used.
    """
    _, state, _ = _read(backbone)
    kind, features = _lpips_features(state)
    if kind is None or lpips_linear_layers(state) is not None:
        return None
    widths = [features[f"features.{index}.weight"].shape[0] for index in convolution_indices(kind)]
    wanted = stage_widths(LpipsConfig(kind, tuple(widths)))
    for path in places:
        try:
            if not path.is_file() or path.stat().st_size > 1 << 20:
                continue
            weights = lpips_linear_layers(_read(path)[1])
        except (CheckpointError, OSError):
            continue
        if weights is not None and [weight.numel() for weight in weights] == wanted:
            return path
    return None


def load_dino(path: str | Path) -> Vit:
    """A DINO or DINOv2 transformer; on the CPU, float32, in eval mode, not trainable.

    Read are the authors' files (`dinov2_vits14_pretrain.pth`, with or without registers, `dino_vitbase8_pretrain.pth`)
    and `model.safetensors` of transformers, which ComfyUI's CLIP vision loader reads too.

    Raises:
        CheckpointError: the file cannot be used, or holds no such network.
    """
    file, state, mapped = _read(path)
    return _dino(file, state, mapped)


def dino_from_state(state: Mapping[str, Tensor]) -> Vit:
    """The same from the state dict of a network in memory, such as that of ComfyUI's CLIP_VISION; it is copied.

    Raises:
        CheckpointError: it is no DINO or DINOv2.
    """
    with torch.inference_mode(False):
        plain = {str(name): tensor.detach().to("cpu").clone() for name, tensor in state.items()}
    return _dino(Path("The CLIP vision model"), plain, None)


def load_bisenet(path: str | Path) -> BiSeNet:
    """The face-parsing network of `79999_iter.pth`; on the CPU, float32, in eval mode, not trainable.

    Raises:
        CheckpointError: the file cannot be used, or holds no such network.
    """
    file, state, mapped = _read(path)
    if "cp.resnet.conv1.weight" not in state or "ffm.convblk.conv.weight" not in state:
        raise CheckpointError(
            f"{file}: it holds {_described(state)} and no face-parsing network. Choose `79999_iter.pth` of "
            "face-parsing.PyTorch."
        )
    with in_words(file):
        config = bisenet_config(state)
        check_config(config)
    return _built(lambda: BiSeNet(config), state, file, mapped)


def _dino(file: Path, state: State, mapped: MappedFile | None) -> Vit:
    renamed = None
    with in_words(file):
        if "patch_embed.proj.weight" in state and "blocks.0.attn.qkv.weight" in state:
            renamed = _from_authors(state)
        elif "embeddings.patch_embeddings.projection.weight" in state:
            renamed = _from_transformers(state)
        if renamed is None:
            raise CheckpointError(
                f"{file}: it holds {_described(state)} and no DINOv2 network. Choose `dinov2_vits14_pretrain.pth`, or "
                "`model.safetensors` of facebook/dinov2-small."
            )
        config = vit_config(renamed)
        check_config(config)
        for index in range(config.depth):
            # DINO has no layer scale, which is one of 1.
            for name in (f"blocks.{index}.scale1", f"blocks.{index}.scale2"):
                renamed.setdefault(name, torch.ones(config.width))
    return _built(lambda: Vit(config), renamed, file, mapped)


def _from_authors(state: State) -> State:
    """Names of the authors' files, and timm's, to ours."""
    renamed: State = {}
    for name, tensor in state.items():
        if name in ("cls_token", "pos_embed") or name.startswith("norm."):
            renamed[name] = tensor
        elif name in ("register_tokens", "reg_token"):
            renamed["registers"] = tensor
        elif name.startswith("patch_embed.proj."):
            renamed[name.replace(".proj", "")] = tensor
        elif name.startswith("blocks."):
            _, index, rest = name.split(".", 2)
            ours = _renamed(rest, DINO_BLOCK)
            if ours:
                renamed[f"blocks.{index}.{ours}"] = tensor
    return renamed


def _from_transformers(state: State) -> State:
    """Names of transformers' files, and of ComfyUI's network, to ours; query, key and value become one matrix."""
    top = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.register_tokens": "registers",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }
    renamed: State = {top[name]: tensor for name, tensor in state.items() if name in top}
    for name, tensor in state.items():
        if not name.startswith("encoder.layer."):
            continue
        index, rest = name.removeprefix("encoder.layer.").split(".", 1)
        ours = _renamed(rest, TRANSFORMERS_BLOCK)
        if ours:
            renamed[f"blocks.{index}.{ours}"] = tensor
            continue
        module, _, kind = rest.rpartition(".")
        for query, *others in TRANSFORMERS_QKV:
            if module == query:
                parts = [state[f"encoder.layer.{index}.{part}.{kind}"] for part in (query, *others)]
                renamed[f"blocks.{index}.qkv.{kind}"] = torch.cat(parts)
    return renamed


def _renamed(rest: str, names: Mapping[str, str]) -> str | None:
    """`attn.proj.weight` -> `proj.weight`, by the longest known beginning; None for a name that is not needed."""
    if rest in names:
        return names[rest]
    module, _, kind = rest.rpartition(".")
    return f"{names[module]}.{kind}" if module in names else None


def _lpips_features(state: State) -> tuple[str | None, State]:
    """Which backbone a state dict holds, and its convolutions under torchvision's names."""
    for kind in BACKBONES:
        indices = convolution_indices(kind)
        for places in (
            {index: f"features.{index}" for index in indices},
            {index: f"net.slice{part}.{index}" for index, part in LPIPS_SLICES[kind].items()},
        ):
            if all(f"{place}.weight" in state and f"{place}.bias" in state for place in places.values()):
                found = {
                    f"features.{index}.{what}": state[f"{place}.{what}"]
                    for index, place in places.items()
                    for what in ("weight", "bias")
                }
                if _is_backbone(kind, found):
                    return kind, found
    return None, {}


def _is_backbone(kind: str, features: State) -> bool:
    """Whether the kernels are those of this backbone: VGG19 has convolutions at AlexNet's places, too."""
    first = 3 if kind == "vgg" else 11
    last = max(convolution_indices(kind))
    shape = features["features.0.weight"].shape
    return len(shape) == 4 and shape[-1] == first and features[f"features.{last}.weight"].ndim == 4


def _read(path: str | Path) -> tuple[Path, State, MappedFile | None]:
    """A state dict by its names, without the prefixes that wrappers leave."""
    file = Path(path)
    with in_words(file), torch.inference_mode(False):
        contents = read_contents(file)
    return file, _state(contents.data), contents.file


def _state(data: Any) -> State:
    if not isinstance(data, Mapping):
        return {}
    for wrapper in ("state_dict", "teacher", "model"):
        if isinstance(data.get(wrapper), Mapping):
            data = data[wrapper]
            break
    return {name.removeprefix("backbone."): tensor for name, tensor in tensors_of(data).items()}


def _described(state: Mapping[str, Tensor]) -> str:
    """What a file of the wrong kind holds, as far as the files that belong to guides go."""
    if lpips_linear_layers(state) is not None:
        return "the linear layers of LPIPS"
    if "lin5.model.1.weight" in state:
        return "the linear layers of LPIPS for SqueezeNet, which is not supported"
    if "cp.resnet.conv1.weight" in state:
        return "a face-parsing network"
    if "input_layer.0.weight" in state:
        return "a face embedding network"
    if any(name.startswith(("embeddings.", "patch_embed.", "vision_model.")) for name in state):
        return "a vision transformer"
    if _lpips_features(dict(state))[0] is not None:
        return "a classifier (VGG16 or AlexNet)"
    shown = ", ".join(sorted(name[:60] for name in list(state)[:1000])[:3])
    return f"other tensors ({shown}, ...)" if shown else "no tensors"


def _built(make: Callable[[], Any], state: State, file: Path, mapped: MappedFile | None) -> Any:
    with outside_inference_mode():
        return build_network(make, state, file, mapped).requires_grad_(False)

"""Small random networks saved as their authors save the large ones: the names are public, the widths ours."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from facestylist.models.checkpoints import save_identity
from facestylist.models.dlib import DlibConfig, DlibFace
from facestylist.models.irse import ArcFace, ArcFaceConfig, TrunkConfig
from facestylist.models.lpips import LpipsConfig, convolution_indices

VGG = (4, 4, 6, 6, 8, 8, 8, 8, 8, 8, 8, 8, 8)
ALEX = (4, 6, 8, 8, 8)


def random_like(shape: tuple[int, ...], random: torch.Generator, scale: float = 0.3) -> Tensor:
    return torch.randn(shape, generator=random) * scale


def lpips_states(backbone: str, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(torchvision's state dict of a narrow backbone, lpips' state dict of its linear layers)."""
    random = torch.Generator().manual_seed(seed)
    widths = VGG if backbone == "vgg" else ALEX
    kernels = {"alex": (11, 5, 3, 3, 3)}.get(backbone, (3,) * len(widths))
    state: dict[str, Tensor] = {}
    before = 3
    for index, width, kernel in zip(convolution_indices(backbone), widths, kernels, strict=True):
        fan_in = before * kernel * kernel
        state[f"features.{index}.weight"] = random_like((width, before, kernel, kernel), random, (2 / fan_in) ** 0.5)
        state[f"features.{index}.bias"] = random_like((width,), random, 0.1)
        before = width
    state["classifier.0.weight"] = random_like((5, before), random)
    LpipsConfig(backbone, widths)
    ends = (4, 6, 8, 8, 8)
    linear = {
        f"lin{stage}.model.1.weight": random_like((1, width, 1, 1), random).abs() for stage, width in enumerate(ends)
    }
    return state, linear


def arcface() -> ArcFace:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = ArcFace(ArcFaceConfig(TrunkConfig(stem=4, widths=(4, 6, 8, 10), units=(1, 1, 1, 1)), 32, 8)).eval()
    return network


def save_dlib(path: Path) -> DlibFace:
    """A narrow network of dlib's kind, in our own format."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = DlibFace(DlibConfig((8, 8, 8), (1, 1, 1), 8)).eval().requires_grad_(False)
    network.fc.weight.mul_(4)
    save_identity(network, path)
    return network


def dino_state(
    width: int = 128, depth: int = 2, patch: int = 14, grid: int = 4, registers: int = 0, scale: bool = True
) -> dict[str, Tensor]:
    """DINOv2's own names, or DINO's without layer scale."""
    random = torch.Generator().manual_seed(2)
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + grid * grid, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    if registers:
        shapes["register_tokens"] = (1, registers, width)
    for block in range(depth):
        for name, shape in {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
            **({"ls1.gamma": (width,), "ls2.gamma": (width,)} if scale else {}),
        }.items():
            shapes[f"blocks.{block}.{name}"] = shape
    shapes |= {"norm.weight": (width,), "norm.bias": (width,)}
    return {name: random_like(shape, random, 0.1) for name, shape in shapes.items()}


def as_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """DINOv2's state dict under the names that transformers and ComfyUI have."""
    renamed: dict[str, Tensor] = {}
    top = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "mask_token": "embeddings.mask_token",
        "register_tokens": "embeddings.register_tokens",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    inner = {
        "attn.proj": "attention.output.dense",
        "ls1.gamma": "layer_scale1.lambda1",
        "ls2.gamma": "layer_scale2.lambda1",
        "norm1": "norm1",
        "norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for name, tensor in state.items():
        if name in top:
            renamed[top[name]] = tensor
            continue
        _, block, rest = name.split(".", 2)
        place = f"encoder.layer.{block}."
        if rest.startswith("attn.qkv."):
            kind = rest.rpartition(".")[2]
            for part, values in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[f"{place}attention.attention.{part}.{kind}"] = values.clone()
        elif rest in inner:
            renamed[place + inner[rest]] = tensor
        else:
            module, _, kind = rest.rpartition(".")
            renamed[f"{place}{inner[module]}.{kind}"] = tensor
    return renamed


def bisenet_state(classes: int = 5) -> dict[str, Tensor]:
    """face-parsing.PyTorch's names, written out from its description, with the outputs that only training used."""
    random = torch.Generator().manual_seed(3)
    widths, context, fused = (4, 6, 8, 8), 4, 8
    state: dict[str, Tensor] = {}

    def convolution(name: str, after: int, before: int, kernel: int) -> None:
        state[f"{name}.weight"] = random_like((after, before, kernel, kernel), random, (2 / before) ** 0.5 / kernel)

    def norm(name: str, width: int) -> None:
        plain = nn.BatchNorm2d(width).state_dict()
        plain["running_mean"] = random_like((width,), random, 0.1)
        plain["running_var"] = random_like((width,), random, 0.1).abs() + 0.5
        state.update({f"{name}.{key}": value for key, value in plain.items()})

    def both(name: str, after: int, before: int, kernel: int) -> None:
        convolution(f"{name}.conv", after, before, kernel)
        norm(f"{name}.bn", after)

    convolution("cp.resnet.conv1", widths[0], 3, 7)
    norm("cp.resnet.bn1", widths[0])
    before = widths[0]
    for stage, width in enumerate(widths, start=1):
        for block in range(2):
            place = f"cp.resnet.layer{stage}.{block}"
            convolution(f"{place}.conv1", width, before, 3)
            norm(f"{place}.bn1", width)
            convolution(f"{place}.conv2", width, width, 3)
            norm(f"{place}.bn2", width)
            if stage > 1 and block == 0:
                convolution(f"{place}.downsample.0", width, before, 1)
                norm(f"{place}.downsample.1", width)
            before = width
    for name, width in (("arm16", widths[2]), ("arm32", widths[3])):
        both(f"cp.{name}.conv", context, width, 3)
        convolution(f"cp.{name}.conv_atten", context, context, 1)
        norm(f"cp.{name}.bn_atten", context)
    both("cp.conv_head32", context, context, 3)
    both("cp.conv_head16", context, context, 3)
    both("cp.conv_avg", context, widths[3], 1)
    both("ffm.convblk", fused, widths[1] + context, 1)
    convolution("ffm.conv1", fused // 4, fused, 1)
    convolution("ffm.conv2", fused, fused // 4, 1)
    for name, width, between in (("conv_out", fused, fused), ("conv_out16", context, 4), ("conv_out32", context, 4)):
        both(f"{name}.conv", between, width, 3)
        convolution(f"{name}.conv_out", classes, between, 1)
    return state


def save_all(folder: Path) -> dict[str, list[Path]]:
    """The files of every guide in a folder, by kind."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone, linear = lpips_states("vgg")
    torch.save(backbone, folder / "vgg16-397923af.pth")
    torch.save(linear, folder / "vgg.pth")
    torch.save(arcface().state_dict(), folder / "model_ir_se50.pth")
    torch.save(dino_state(), folder / "dinov2_vits14_pretrain.pth")
    torch.save(bisenet_state(), folder / "79999_iter.pth")
    return {
        "lpips": [folder / "vgg16-397923af.pth", folder / "vgg.pth"],
        "identity": [folder / "model_ir_se50.pth"],
        "dino": [folder / "dinov2_vits14_pretrain.pth"],
        "parsing": [folder / "79999_iter.pth"],
    }

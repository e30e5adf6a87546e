"""Files that people try and that cannot work here: each is told apart and refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .contents import ACCEPTED, Contents
from .entries import WRAPPERS
from .foreign import DIFFUSION, LORA

DIFFUSION_PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "first_stage_model.",
    "cond_stage_model.",
    "conditioner.",
    "ip_adapter.",
    "image_proj.",
    "double_blocks.",
    "single_blocks.",
    "transformer_blocks.",
    "transformer.",
    "unet.",
    "down_blocks.",
    "up_blocks.",
    "time_embedding.",
    "time_embed.",
    "control_model.",
    "encoder.down.",
    "encoder.down_blocks.",
    "text_model.",
    "joint_blocks.",
)
LORA_MARKS = (".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", ".lora.up.", ".lora.down.")
LUCIDRAINS_PREFIXES = ("G.", "GE.", "S.net.", "SE.net.", "D.")
SENTENCES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("synthesis.L0_", "synthesis.input."),
        "this is a StyleGAN3 checkpoint (-t or -r), whose architecture is another; only StyleGAN2 networks work here.",
    ),
    (
        (
            "generator.progression.",
            "progression.",
            "g_mapping.",
            "g_synthesis.",
            "mapping.dense0.",
            "synthesis.layer0.",
        ),
        "this is a StyleGAN1 checkpoint or one of another project's layout; only StyleGAN2 networks work here.",
    ),
    (
        ("style_conv1.modulated_conv.", "constant_input.", "stylegan_decoder."),
        "this is a StyleGAN2 in the layout of BasicSR (GFPGAN and its kin), which is not supported; take the original "
        "of rosinality or NVIDIA.",
    ),
    (
        ("cp.resnet.", "lin0.model.", "cls_token", "blocks.0.attn.", "encoder.layer.0.attention."),
        "this is a network that only judges pictures (BiSeNet, LPIPS, DINO); it belongs in `face_guides`, for the "
        "guide nodes.",
    ),
    (
        ("layer1.0.bn1.", "bn1.", "layer1.0.conv1."),
        "this is a ResNet (insightface's ArcFace networks are such, too); of those that tell people apart, only "
        "dlib's and IR-SE trunks (`model_ir_se50.pth`) work here.",
    ),
    (
        ("step.", "stylegan.", "mapping_network.", "generator.main."),
        "this is a generator of another project's layout, which is not supported.",
    ),
)


def reason(contents: Contents) -> str:
    """Why a file that no format recognised is refused, as the rest of a sentence."""
    names = list(_names(contents.data))
    top = {name for name in names[:50_000] if "." not in name}
    if isinstance(contents.data, Mapping) and _is_latent(contents.data):
        return (
            "this is a face's latent (W+ code), not a network. Open it with Load Latent; as a generator choose the "
            "checkpoint it belongs to."
        )
    if {"GAN"} & top or sum(name.startswith(LUCIDRAINS_PREFIXES) for name in names) > 4 and _has(names, ("S.net.",)):
        return f"this is a checkpoint of lucidrains' stylegan2-pytorch, whose networks are others. {ACCEPTED}."
    if any(name.startswith("lora_") or any(mark in name for mark in LORA_MARKS) for name in names):
        return LORA
    if _has(names, DIFFUSION_PREFIXES):
        return DIFFUSION
    for prefixes, sentence in SENTENCES:
        if _has(names, prefixes):
            return f"{sentence} {ACCEPTED}."
    if isinstance(contents.data, Tensor):
        shape = list(contents.data.shape)
        return f"this is a single tensor of shape {shape}, not a checkpoint of a known kind. {ACCEPTED}."
    example = ", ".join(sorted(name[:60] for name in names[:1000])[:3])
    shown = example.encode("unicode_escape").decode()
    return f"this is not a checkpoint of a known kind{f' (it holds {shown}, ...)' if shown else ''}. {ACCEPTED}."


def _names(data: Any) -> Iterable[str]:
    """Names at the top, or one level below it in what usually wraps a state dict."""
    if not isinstance(data, Mapping):
        return
    for name, value in data.items():
        yield WRAPPERS.sub("", str(name))
        if isinstance(value, Mapping):
            for inner in value:
                yield WRAPPERS.sub("", str(inner))


def _has(names: Iterable[str], prefixes: tuple[str, ...]) -> bool:
    return any(name.startswith(prefixes) for name in names)


def _is_latent(data: Mapping[Any, Any]) -> bool:
    return any(isinstance(data.get(name), Tensor) for name in ("latent", "w_plus", "latents")) and len(data) <= 6

"""Files that are no checkpoints of ours though people try them: told by their first bytes or their names, and refused
with a sentence that says what they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from .contents import Contents
from .errors import ACCEPTED, CheckpointError
from .state_dicts import WRAPPERS

LFS = b"version https://git-lfs.github.com/spec"
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"RIFF", "a picture or a sound"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it, and choose the file that was in it"),
    (b"BZh", "a bzip2 archive; unpack it, and choose the file that was in it"),
    (b"\xfd7zXZ", "an xz archive; unpack it, and choose the file that was in it"),
    (b"Rar!", "a RAR archive; unpack it, and choose the file that was in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it, and choose the file that was in it"),
    (b"\x93NUMPY", "a numpy array (.npy)"),
    (b"\x89HDF", "a Keras or HDF5 file"),
    (b"GGUF", "a GGUF language or diffusion model"),
    (b"%PDF", "a PDF document"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it, and choose the file that was in it"),
    (b"\x01\x01", "one of dlib's files, of which only dlib_face_recognition_resnet_model_v1.dat is read"),
)
ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x3a\x42]")
"""Its version, and then the name of its producer or another field of an ONNX model."""
OLD_TORCH_TAR = (b"storages\0", b"sys_info\0", b"tensors\0", b"pickle\0")
"""The first file in the tar archives that PyTorch wrote before 0.2."""
TEXT_PICKLE = re.compile(rb"[(}\])]?(?:[dl]p\d*\n|q\x00|c[A-Za-z_][\w.]*\n\w+\n)")
"""How a pickle of protocol 0 or 1 begins: a container and its number, or a class."""
WEB = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")
DIFFUSION_MARKS = (b"model.diffusion_model.", b"cond_stage_model.", b"first_stage_model.", b"conditioner.embedders")
SEARCHED = 1 << 24
LORA = f"this is a LoRA of a diffusion or language model, not a network; it belongs in another loader. {ACCEPTED}."
DIFFUSION = f"this is a diffusion model, not a face generator; it belongs in another loader. {ACCEPTED}."
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


def describe_bytes(head: bytes, size: int) -> str | None:
    """What a file is that begins with `head` (512 bytes), as the rest of a sentence; None where it is anything."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.lower().startswith(WEB):
        return (
            "this is a web page and not a checkpoint: the link led to a page that asks for something first (a login, a "
            "consent, Google Drive's warning). Open the link in a browser, and save what the page offers."
        )
    if start.startswith(LFS):
        return (
            "this is a git-LFS pointer, a note of 130 bytes in place of the checkpoint. Run `git lfs pull` where it "
            "came from, or download the file itself."
        )
    if TEXT_PICKLE.match(head):
        return (
            "this is a pickle of protocol 0 or 1, which Python 2 wrote and which is not read here. Save it again where "
            "it was made, with `torch.save` or pickle protocol 2 or later."
        )
    if head[257:262] == b"ustar" and head.startswith(OLD_TORCH_TAR):
        return (
            "this is a tar archive of a PyTorch from before 2017, which is not read here. Load it with `torch.load` "
            "where you trust it, save its state dict with `torch.save`, and choose that file."
        )
    if head[257:262] == b"ustar":
        return f"this is a tar archive; unpack it, and choose the file that was in it. {ACCEPTED}."
    if start[:1] in (b"{", b"["):
        return "this is a JSON text and not a checkpoint; it may be a server's error message. Open it to see."
    for magic, name in MAGIC:
        if head.startswith(magic):
            return f"this is {name}{'' if ';' in name else ', not a checkpoint'}. {ACCEPTED}."
    if ONNX.match(head):
        return f"this is an ONNX model, not a checkpoint. {ACCEPTED}."
    if not any(head):
        return "it begins with zeros only, as after an interrupted download. Download it again."
    if size < 4096 and start.isascii() and start.decode("ascii").replace("\n", "").replace("\r", "").isprintable():
        return f"this is a text and not a checkpoint; open it to see what it says. {ACCEPTED}."
    return None


def clarified(error: CheckpointError, data: memoryview) -> CheckpointError:
    """`error`, or a sentence that names the kind of file where its text gives that away.

    Diffusion checkpoints of PyTorch Lightning ask for Python objects and would be refused for those.
    """
    if not any(word in str(error) for word in ("Python object", "whole network")):
        return error
    text = bytes(data[:SEARCHED])
    return CheckpointError(DIFFUSION) if any(mark in text for mark in DIFFUSION_MARKS) else error


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

"""What the workflows with a diffusion model have in common: the model, the prompts, and a face on its way there."""

from __future__ import annotations

from typing import NamedTuple

from ...runtime.folders import SAMPLE
from .canvas import PURPLE, Canvas, Model, Source

CHECKPOINT = Model(
    "v1-5-pruned-emaonly-fp16.safetensors",
    "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    "checkpoints",
)
"""Stable Diffusion 1.5 as ComfyUI's own templates name it: most people have it, and 512 px faces are its home."""
CANNY = Model(
    "control_v11p_sd15_canny_fp16.safetensors",
    "https://huggingface.co/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/"
    "control_v11p_sd15_canny_fp16.safetensors",
    "controlnet",
)
SIDE = 512
POSITIVE = "portrait of a person, cartoon style, clean lines, smooth shading, detailed eyes and hair"
NEGATIVE = "photo, blurry, deformed, extra eyes, text, watermark"


class Faces(NamedTuple):
    """Faces of a photo, and the same stylised."""

    found: Source
    crops: Source
    stylised: Source


class Diffusion(NamedTuple):
    """A loaded diffusion model and its prompts."""

    model: Source
    vae: Source
    positive: Source
    negative: Source


def stylised_faces(canvas: Canvas, look: str, scaled: bool = True) -> Faces:
    """Groups 1 to 3: photo, faces, faces in the style; `scaled` to what the diffusion model draws best."""
    with canvas.group("1. Photo", width=380):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
        if not scaled:
            (photo,) = canvas.node(
                "ImageScaleToTotalPixels", image=photo, upscale_method="lanczos", megapixels=0.5, resolution_steps=8
            )
    with canvas.group("2. Find the faces"):
        found, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo, size=SIDE)
        canvas.node("PreviewImage", "Faces found", images=crops)
    with canvas.group("3. Stylise them"):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        latent, _ = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
        canvas.column()
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name=f"embedded:{look}")
        (stylised,) = canvas.node("FaceStylistStyliseFaces", style=style, latent=latent, source=source)
        if scaled:
            (stylised,) = canvas.node(
                "ImageScale",
                "To the diffusion model's size",
                image=stylised,
                upscale_method="lanczos",
                width=SIDE,
                height=SIDE,
                crop="disabled",
            )
        canvas.node("PreviewImage", "Stylised faces", images=stylised)
    return Faces(found, crops, stylised)


def diffusion_model(canvas: Canvas, title: str, positive: str = POSITIVE) -> Diffusion:
    """A group with the checkpoint and the prompts."""
    with canvas.group(title, PURPLE, 380):
        model, clip, vae = canvas.node("CheckpointLoaderSimple", fetch=CHECKPOINT, ckpt_name=CHECKPOINT.name)
        (yes,) = canvas.node("CLIPTextEncode", "What it should look like", clip=clip, text=positive, height=150)
        (no,) = canvas.node("CLIPTextEncode", "What it should not", clip=clip, text=NEGATIVE, height=120)
    return Diffusion(model, vae, yes, no)


def sample(canvas: Canvas, diffusion: Diffusion, start: Source, steps: int, denoise: float, cfg: float = 6.0) -> Source:
    """The latents after sampling from `start`."""
    (drawn,) = canvas.node(
        "KSampler",
        model=diffusion.model,
        seed=1,
        steps=steps,
        cfg=cfg,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        positive=diffusion.positive,
        negative=diffusion.negative,
        latent_image=start,
        denoise=denoise,
    )
    return drawn

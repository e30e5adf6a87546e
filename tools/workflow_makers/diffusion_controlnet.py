"""Stylised faces as a start, and their edges as a guide, for a diffusion model with a ControlNet."""

from __future__ import annotations

from .canvas import GREEN, PURPLE, Canvas
from .diffusion import CANNY, diffusion_model, sample, stylised_faces

THUMBNAIL = ("Faces found", "Stylised faces", "Edges", "Photo with new faces")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "The style's shapes, through a ControlNet",
        "The edges of the stylised face hold its proportions in place, so that the diffusion model may repaint it far "
        "more freely (*denoise* 0.7) and in any look that the prompt names.\n\nTo keep the **person's** proportions "
        "and take only colours from the style, connect *Edges* to `crops` of *Detect & Align Faces* instead.\n\nNeeds "
        "a Stable Diffusion 1.5 checkpoint and its Canny ControlNet.",
        width=520,
    )
    faces = stylised_faces(canvas, "caricature")
    with canvas.group("4. Edges of the stylised faces", PURPLE):
        (edges,) = canvas.node("Canny", image=faces.stylised, low_threshold=0.1, high_threshold=0.3)
        canvas.node("PreviewImage", "Edges", images=edges)
    diffusion = diffusion_model(canvas, "5. Diffusion model", "portrait, watercolour illustration, big eyes")
    with canvas.group("6. Repaint along the edges", PURPLE):
        (network,) = canvas.node("ControlNetLoader", fetch=CANNY, control_net_name=CANNY.name)
        positive, negative = canvas.node(
            "ControlNetApplyAdvanced",
            positive=diffusion.positive,
            negative=diffusion.negative,
            control_net=network,
            image=edges,
            strength=0.8,
            vae=diffusion.vae,
        )
        (start,) = canvas.node("VAEEncode", pixels=faces.stylised, vae=diffusion.vae)
        canvas.column()
        along = diffusion._replace(positive=positive, negative=negative)
        drawn = sample(canvas, along, start, 25, denoise=0.7, cfg=6.5)
    with canvas.group("7. Put them back", GREEN):
        (repainted,) = canvas.node("VAEDecode", samples=drawn, vae=diffusion.vae)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces.found, stylised=repainted)
        canvas.node("PreviewImage", "Repainted faces", images=repainted)
        canvas.column(460)
        canvas.node("SaveImage", "Photo with new faces", images=image, filename_prefix="facestylist/controlnet")
    return canvas

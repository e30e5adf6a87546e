"""Stylised faces, drawn over by a diffusion model at low denoise."""

from __future__ import annotations

from .canvas import GREEN, PURPLE, Canvas
from .diffusion import diffusion_model, sample, stylised_faces

THUMBNAIL = ("Photo", "Faces found", "Stylised faces", "Photo with new faces")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Stylised faces, redrawn by a diffusion model",
        "The face generator decides **who** it is and **which style**; the diffusion model adds the detail that its "
        "128 pixels lack.\n\n*denoise* is the dial: 0.25 keeps every line, 0.35 adds hair and texture, above 0.5 the "
        "person starts to change.\n\nNeeds a Stable Diffusion 1.5 checkpoint; for SDXL choose yours and set the sizes "
        "of *Detect & Align Faces* and *Upscale Image* to 1024.",
        width=520,
    )
    faces = stylised_faces(canvas, "cartoon")
    diffusion = diffusion_model(canvas, "4. Diffusion model")
    with canvas.group("5. Redraw", PURPLE):
        (start,) = canvas.node("VAEEncode", pixels=faces.stylised, vae=diffusion.vae)
        drawn = sample(canvas, diffusion, start, 20, denoise=0.35)
    with canvas.group("6. Put them back", GREEN):
        (redrawn,) = canvas.node("VAEDecode", samples=drawn, vae=diffusion.vae)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces.found, stylised=redrawn)
        canvas.node("PreviewImage", "Redrawn faces", images=redrawn)
        canvas.column(460)
        canvas.node("SaveImage", "Photo with new faces", images=image, filename_prefix="facestylist/redrawn")
    return canvas

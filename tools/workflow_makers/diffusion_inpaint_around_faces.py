"""Stylised faces stay, and everything around them is repainted to match."""

from __future__ import annotations

from .canvas import GREEN, PURPLE, Canvas
from .diffusion import diffusion_model, sample, stylised_faces

THUMBNAIL = ("Photo", "Stylised faces", "Photo with stylised faces", "What is repainted (white)")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Hair, clothes and background in the style of the faces",
        "The stylised faces are put back first. Their **mask**, turned around, tells the sampler what it may repaint: "
        "everything else. The faces themselves are put on top again, so that no pixel of them is changed.\n\n*denoise* "
        "0.6 keeps the scene, 0.9 invents a new one. *region* `head` of *Paste Faces Back* leaves the hair to the face "
        "generator too.\n\nNeeds a Stable Diffusion 1.5 checkpoint.",
        width=520,
    )
    faces = stylised_faces(canvas, "cartoon", scaled=False)
    with canvas.group("4. Put them back"):
        pasted, mask = canvas.node(
            "FaceStylistPasteFaces", faces=faces.found, stylised=faces.stylised, region="face", feather=0.15
        )
        canvas.node("PreviewImage", "Photo with stylised faces", images=pasted)
    prompt = "cartoon illustration of an astronaut before a flag, clean lines, flat colours, soft shading"
    diffusion = diffusion_model(canvas, "5. Diffusion model", prompt)
    with canvas.group("6. Repaint around the faces", PURPLE):
        (around,) = canvas.node("InvertMask", "Everything but the faces", mask=mask)
        (white,) = canvas.node("MaskToImage", mask=around)
        canvas.node("PreviewImage", "What is repainted (white)", images=white)
        canvas.column()
        (start,) = canvas.node("VAEEncode", pixels=pasted, vae=diffusion.vae)
        (start,) = canvas.node("SetLatentNoiseMask", samples=start, mask=around)
        (soft,) = canvas.node("DifferentialDiffusion", "Soft edges", model=diffusion.model)
        drawn = sample(canvas, diffusion._replace(model=soft), start, 25, denoise=0.6)
    with canvas.group("7. Faces on top", GREEN):
        (repainted,) = canvas.node("VAEDecode", samples=drawn, vae=diffusion.vae)
        (image,) = canvas.node(
            "ImageCompositeMasked", destination=repainted, source=pasted, x=0, y=0, resize_source=False, mask=mask
        )
        canvas.column(460)
        canvas.node("SaveImage", "Everything in the style", images=image, filename_prefix="facestylist/inpainted")
    return canvas

"""One photo in three styles: the demo's workflow."""

from __future__ import annotations

from ...runtime.folders import SAMPLE
from .canvas import GREEN, Canvas

STYLES = ("oil", "cartoon", "sketch")
THUMBNAIL = ("Photo", *(f"Save: {look}" for look in STYLES))


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Stylise a photo",
        "**Press Run.** The sample picture comes out in three styles.\n\nThen drop your own photo on *Photo*. To use "
        "your own style, choose it in one of the *Load Face Generator* nodes: a file in `models/stylegan`, made with "
        "*Fine-tune Generator* or brought along.\n\n*Fast stylizer on a photo* draws whole photographs, and keeps "
        "what no generator can draw: hats, hands, anything.",
    )
    with canvas.group("1. Photo", width=380):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
    with canvas.group("2. Find the faces"):
        faces, crops, _ = canvas.node("FaceStylistAlignFaces", image=photo)
        canvas.node("PreviewImage", "Faces found", images=crops)
    with canvas.group("3. Find their latents"):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (encoder,) = canvas.node("FaceStylistLoadEncoder")
        latent, seen = canvas.node("FaceStylistInvertWithEncoder", image=crops, encoder=encoder, generator=source)
        canvas.node("PreviewImage", "As the generator knows them", images=seen)
    for row, look in enumerate(STYLES):
        with canvas.group(f"4. {look.capitalize()}", GREEN, 300, below=row > 0):
            (style,) = canvas.node("FaceStylistLoadGenerator", f"Style: {look}", name=f"embedded:{look}")
            (stylised,) = canvas.node(
                "FaceStylistStyliseFaces", style=style, latent=latent, source=source, strength=1.0
            )
            image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised)
            canvas.column(460)
            canvas.node("SaveImage", f"Save: {look}", images=image, filename_prefix=f"facestylist/{look}")
    return canvas

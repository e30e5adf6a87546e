"""One photo in three styles: the demo's workflow."""

from __future__ import annotations

from .canvas import GREEN, Canvas
from .opening import inverted_photo

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
    with inverted_photo(canvas) as photo:
        canvas.node("PreviewImage", "As the generator knows them", images=photo.seen)
    for row, look in enumerate(STYLES):
        with canvas.group(f"4. {look.capitalize()}", GREEN, 300, below=row > 0):
            (style,) = canvas.node("FaceStylistLoadGenerator", f"Style: {look}", name=f"embedded:{look}")
            (stylised,) = canvas.node(
                "FaceStylistStyliseFaces", style=style, latent=photo.latent, source=photo.source, strength=1.0
            )
            image, _ = canvas.node("FaceStylistPasteFaces", faces=photo.faces, stylised=stylised)
            canvas.column(460)
            canvas.node("SaveImage", f"Save: {look}", images=image, filename_prefix=f"facestylist/{look}")
    return canvas

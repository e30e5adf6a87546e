"""Everybody in a group photo, at two strengths."""

from __future__ import annotations

from ...runtime.folders import SAMPLE_GROUP
from .canvas import GREEN, Canvas
from .opening import inverted_photo

THUMBNAIL = ("Group photo", "Faces found", "Half the style", "Whole style")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Several faces in one photo",
        "Every face is found, read, stylised and put back in its own place; the order is left to right.\n\n"
        "*Invert by Optimisation* refines what the encoder found. Bypass it (Ctrl+B) when you are in a hurry.\n\n"
        "*max_faces* keeps only the largest ones, *on_no_face* = skip lets photos without faces pass unchanged: useful "
        "for batches and video frames.",
    )
    with inverted_photo(canvas, "Group photo", SAMPLE_GROUP) as photo:
        faces, crops, source, encoder, latent, _ = photo
        latent, seen = canvas.node(
            "FaceStylistInvertByOptimisation", image=crops, generator=source, start=latent, encoder=encoder, steps=30
        )
        canvas.column()
        canvas.node("PreviewImage", "As the generator knows them", images=seen)
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
    for row, (title, strength, match) in enumerate([("Whole style", 1.0, 0.0), ("Half the style", 0.5, 0.5)]):
        with canvas.group(f"4. {title}", GREEN, 300, below=row > 0):
            (stylised,) = canvas.node(
                "FaceStylistStyliseFaces", style=style, latent=latent, source=source, strength=strength
            )
            image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised, colour_match=match)
            canvas.column(460)
            canvas.node(
                "SaveImage", title, images=image, filename_prefix=f"facestylist/everybody_{round(strength * 100)}"
            )
    return canvas

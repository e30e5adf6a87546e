"""Faces in the look of a drawing."""

from __future__ import annotations

from .canvas import GREEN, Canvas
from .opening import inverted_photo

THUMBNAIL = ("Photo", "Reference", "The style as it is", "In the look of the reference")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "In the look of a reference",
        "**Press Run.** The reference is a drawing of somebody else in the style. *Encode Reference Style* finds the "
        "code of its colours and textures, *Apply Reference Style* draws your faces with it. Nothing is trained.\n\n"
        "Use your own: connect a *Load Image* to *Encode Reference Style* in place of the rendered drawing. It has to "
        "be in the style; the face in it is found and cut out. Several pictures in one batch give the look between "
        "them.\n\n*amount* says how much of the look is taken, *structure* borrows a little of its eyes, nose and "
        "mouth too.",
    )
    with inverted_photo(canvas) as photo:
        faces, crops, source, encoder, latent, _ = photo
    with canvas.group("4. Read the reference", GREEN):
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
        drawing, _, _ = canvas.node(
            "FaceStylistRenderFaces", "Reference: rendered", count=1, seed=35, look="cartoon", size=256
        )
        reference, seen, aligned = canvas.node(
            "FaceStylistEncodeReference", image=drawing, style=style, source=source, encoder=encoder, steps=60
        )
        canvas.column()
        canvas.node("PreviewImage", "Reference", images=aligned)
        canvas.node("PreviewImage", "As the style knows it", images=seen)
    with canvas.group("5. Draw the faces in its look", GREEN, 300):
        stylised, _, _ = canvas.node(
            "FaceStylistApplyReference", style=style, latent=latent, reference=reference, source=source
        )
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=stylised)
        canvas.column(460)
        canvas.node("SaveImage", "In the look of the reference", images=image, filename_prefix="facestylist/reference")
    with canvas.group("6. To compare: without a reference", width=300, below=True):
        (plain,) = canvas.node("FaceStylistStyliseFaces", style=style, latent=latent, source=source)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=plain)
        canvas.column(460)
        canvas.node("PreviewImage", "The style as it is", images=image)
    with canvas.group("7. Report", width=460):
        canvas.node(
            "FaceStylistStylisationReport",
            "Stylisation Report",
            height=560,
            image=crops,
            source=source,
            latent=latent,
            style=style,
            stylised=stylised,
            name="reference_report",
        )
    return canvas

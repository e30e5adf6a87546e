"""A style's generator taught to a small network, which then draws a photo in one pass."""

from __future__ import annotations

from ...runtime.folders import SAMPLE
from .canvas import GREEN, PURPLE, Canvas

THUMBNAIL = ("Photo", "Pairs it learns from", "Given, drawn, wanted", "The photo in one pass")


def build() -> Canvas:
    canvas = Canvas()
    canvas.note(
        "Train a fast stylizer and use it",
        "**Press Run.** Pairs of faces before and after the style are drawn, and a small network learns to go from "
        "one to the other in one pass: no generator and no inversion any more, fast enough for video.\n\n**Your own "
        "style:** choose it in *Style*. Raise *count* to 300 and *steps* to 2000 for one to keep; on two CPU cores "
        "that takes an hour, on a graphics card minutes.\n\n**Your own pictures:** instead of pairs connect photos to "
        "*before* and the same photos in the style to *after*.\n\n*medium* gives the network something to draw with: "
        "cel for flat colours and outlines, pencil and paint for strokes, none for anything else.",
    )
    with canvas.group("1. Pairs", PURPLE, width=340):
        (source,) = canvas.node("FaceStylistLoadGenerator", "Source generator")
        (style,) = canvas.node("FaceStylistLoadGenerator", "Style", name="embedded:cartoon")
        pairs, _ = canvas.node(
            "FaceStylistMakePairs",
            source=source,
            target=style,
            count=40,
            levels="1,2,3",
            flip_prob=0.0,
            settings="affine_prob = 0.0",
        )
        canvas.column(560)
        (sheet,) = canvas.node("FaceStylistPreviewPairs", pairs=pairs, source=source, target=style, per_row=3)
        canvas.node("PreviewImage", "Pairs it learns from", images=sheet)
    with canvas.group("2. Teach it", PURPLE, width=360):
        stylizer, rows, _ = canvas.node(
            "FaceStylistTrainFastStylizer",
            "Train Fast Stylizer",
            pairs=pairs,
            source=source,
            target=style,
            style_name="my style",
            steps=300,
            size=96,
            medium="cel",
        )
        canvas.column(480)
        canvas.node("PreviewImage", "Given, drawn, wanted", images=rows)
        canvas.node("FaceStylistSaveFastStylizer", stylizer=stylizer, name="my_style")
    with canvas.group("3. A photo", width=340):
        photo, _ = canvas.node("LoadImage", "Photo", image=SAMPLE)
        faces, _, _ = canvas.node("FaceStylistAlignFaces", image=photo, size=256)
    with canvas.group("4. Its faces in one pass", GREEN):
        (drawn,) = canvas.node("FaceStylistRunFastStylizer", stylizer=stylizer, faces=faces)
        image, _ = canvas.node("FaceStylistPasteFaces", faces=faces, stylised=drawn)
        canvas.column(480)
        canvas.node("SaveImage", "The photo in one pass", images=image, filename_prefix="facestylist/my_fast_style")
    return canvas
